"""``python -m adamantine`` is the command ``adamantine``."""

from adamantine.cli import main

if __name__ == "__main__":
    main()
