"""``adamantine data``."""
