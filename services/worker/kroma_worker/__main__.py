"""``python -m kroma_worker``."""

from kroma_worker.main import main

if __name__ == "__main__":
    main()
