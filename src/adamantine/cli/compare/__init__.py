"""``adamantine compare``."""
