"""Where the command line keeps its token."""

from pathlib import Path


def token_path(data_dir: Path) -> Path:
    """The file; only its owner reads it."""
    return data_dir / "token"


def find_token(data_dir: Path) -> str | None:
    """The token kept there."""
    try:
        return token_path(data_dir).read_text().strip() or None
    except OSError:
        return None
