"""``adamantine lr-find``."""
