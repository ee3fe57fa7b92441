"""``adamantine tune``."""
