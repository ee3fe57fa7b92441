"""``adamantine demo``."""
