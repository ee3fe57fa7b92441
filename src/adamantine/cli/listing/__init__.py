"""``adamantine list``."""
