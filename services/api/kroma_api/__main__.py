"""``python -m kroma_api``."""

from kroma_api.main import main

if __name__ == "__main__":
    main()
