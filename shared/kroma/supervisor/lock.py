"""One supervisor for one data directory."""

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from kroma.supervisor.errors import AlreadyRunningError, DataDirError


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock, in its file's words."""

    pid: int
    address: str = ""
    started_at: str = ""


class StackLock:
    """``kroma.lock``: held by the kernel's ``flock``, so no kill leaves it held.

    The file's content only says who; it goes with an orderly end. Content without a holder is
    therefore the trace of a supervisor that was killed.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = data_dir / "kroma.lock"
        self._descriptor = -1
        self.killed: Holder | None = None
        """The supervisor before us, if it never got to its end."""

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            AlreadyRunningError: A living process holds it.
            DataDirError: The folder cannot be made or written.
        """
        try:
            self._data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._descriptor = self._taken()
        except OSError as exc:
            raise DataDirError(self._data_dir, exc.strerror or str(exc)) from exc
        self.killed = find_holder(self._data_dir)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def describe(self, address: str) -> None:
        """Write who holds it, for the next one who asks."""
        holder = Holder(os.getpid(), address, datetime.now(UTC).isoformat(timespec="seconds"))
        content = msgspec.json.encode(holder)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)

    def _taken(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                holder = find_holder(self._data_dir)
                raise AlreadyRunningError(
                    self._data_dir,
                    pid=None if holder is None else holder.pid,
                    address="" if holder is None else holder.address,
                ) from None
            if self._is_current(descriptor):
                return descriptor
            os.close(descriptor)  # its holder removed it between our open and our lock

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False


def find_holder(data_dir: Path) -> Holder | None:
    """What the lock's file says, whether or not anyone holds it."""
    try:
        return msgspec.json.decode((data_dir / "kroma.lock").read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


def is_held(data_dir: Path) -> bool:
    """Whether a living supervisor holds the data directory."""
    try:
        descriptor = os.open(data_dir / "kroma.lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
