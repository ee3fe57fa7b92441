"""``adamantine train``."""
