"""What a running stack tells the other commands."""

import os
from pathlib import Path

import msgspec

from kroma.config import Bind


class StackState(msgspec.Struct, frozen=True, kw_only=True):
    """``run/stack.json``: there while a stack is ready, readable by its owner only."""

    address: str
    """Base URL of the API."""
    database_url: str
    """With its password."""
    redis_url: str
    """With its password."""
    pids: dict[str, int]
    """Process ids by part; ``supervisor`` is one."""

    @property
    def bind(self) -> Bind:
        """The API's address as host and port."""
        return Bind.parsed(self.address.removeprefix("http://"))


def state_path(data_dir: Path) -> Path:
    """Where it lies."""
    return data_dir / "run" / "stack.json"


def find_state(data_dir: Path) -> StackState | None:
    """The running stack's addresses; None when none is ready."""
    try:
        return msgspec.json.decode(state_path(data_dir).read_bytes(), type=StackState)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)


def write_json(path: Path, value: msgspec.Struct) -> None:
    """`write_private` of a struct as indented JSON."""
    write_private(path, msgspec.json.format(msgspec.json.encode(value)) + b"\n")
