"""``adamantine trace``."""
