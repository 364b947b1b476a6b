"""``python -m kroma.cli``."""

from kroma.cli.main import main

if __name__ == "__main__":
    main()
