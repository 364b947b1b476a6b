"""A tool's input and output files; nothing is overwritten without ``--overwrite``."""

import contextlib
import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Final, NamedTuple

from kroma.imaging.errors import PictureTooLargeError
from kroma.imaging.header import IMAGE_EXTENSIONS, MAX_BYTES
from kroma.tools.errors import (
    InputMissingError,
    NoImagesFoundError,
    OutputTakenError,
    OutputTwiceError,
    UnwritableError,
)

_SUFFIXES: Final = frozenset(f".{extension}" for extension in IMAGE_EXTENSIONS)


class Item(NamedTuple):
    """A file to work on."""

    path: Path
    relative: PurePath
    """Relative to the named folder, to keep its tree; just the name for a named file."""


def collected(inputs: Sequence[Path], *, without: Path | None = None) -> list[Item]:
    """The named files, whatever their extensions, and every picture in the named folders, in order.

    Args:
        inputs: Files and folders.
        without: A folder to skip, such as the output folder.

    Raises:
        InputMissingError: An input does not exist.
        NoImagesFoundError: A folder contains no pictures.
    """
    items: dict[Path, Item] = {}
    skipped = None if without is None else without.resolve()
    for named in inputs:
        if named.is_dir():
            found = [path for path in _pictures(named) if skipped not in path.resolve().parents]
            if not found:
                raise NoImagesFoundError(str(named))
            prefix = PurePath(named.resolve().name) if len(inputs) > 1 else PurePath()
            for path in found:
                items.setdefault(path.resolve(), Item(path, prefix / path.relative_to(named)))
        elif named.exists():
            items.setdefault(named.resolve(), Item(named, PurePath(named.name)))
        else:
            raise InputMissingError(str(named))
    return list(items.values())


def _pictures(folder: Path) -> Iterable[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if Path(name).suffix.lower() in _SUFFIXES)


def read_picture(path: Path) -> bytes:
    """Read a file.

    Raises:
        PictureTooLargeError: It is over 64 MiB.
        UnwritableError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise UnwritableError(str(path), exc) from exc
    if len(data) > MAX_BYTES:
        raise PictureTooLargeError(str(path), f"{path.stat().st_size} bytes", "64 MiB")
    return data


class Outputs:
    """Where a tool's results go; each file is written once, and replaced only with ``overwrite``."""

    def __init__(self, output: Path, items: Sequence[Item], *, overwrite: bool) -> None:
        is_file = len(items) == 1 and output.suffix.lower() in _SUFFIXES and not output.is_dir()
        self._file = output if is_file else None
        self._folder = output.parent if is_file else output
        self._overwrite = overwrite
        self._taken: set[Path] = set()

    def target(self, item: Item, extension: str, *, mark: str = "") -> Path:
        """The file for a result.

        Args:
            item: The input.
            extension: Without a dot; ignored if the output was named as a file.
            mark: Appended to the name if an input has several results.

        Raises:
            OutputTwiceError: Another result has this target.
            OutputTakenError: The file exists and may not be overwritten.
        """
        if self._file is None:
            target = self._folder / item.relative.with_name(f"{item.relative.stem}{mark}.{extension}")
        else:
            target = self._file.with_name(f"{self._file.stem}{mark}{self._file.suffix}")
        if target in self._taken:
            raise OutputTwiceError(str(target))
        self._taken.add(target)
        if target.exists() and not self._overwrite:
            raise OutputTakenError(str(target))
        return target

    def write(self, target: Path, data: bytes) -> None:
        """Write a result atomically.

        Raises:
            OutputTakenError: The file has been created in the meantime.
            UnwritableError: It cannot be written.
        """
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            if self._overwrite:
                partial.replace(target)
            elif not _linked(partial, target):
                raise OutputTakenError(str(target))
        except OSError as exc:
            raise UnwritableError(str(target), exc) from exc
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()


def moved_to_archive(item: Item, archive: Path) -> Path:
    """Move a picture and its sidecar into an archive under a free name, and return that path.

    Raises:
        UnwritableError: It cannot be moved.
    """
    folder = archive / item.relative.parent
    stem, suffix = item.path.stem, item.path.suffix
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            target = folder / f"{stem}_bad{'' if number == 1 else f'_{number}'}{suffix}"
            if _renamed(item.path, target):
                beside = item.path.with_name(f"{item.path.name}.json")
                if beside.is_file():
                    _renamed(beside, target.with_name(f"{target.name}.json"))
                return target
    except OSError as exc:
        raise UnwritableError(str(item.path), exc) from exc
    raise UnwritableError(str(item.path), "the archive already has 10,000 files of this name")


def _renamed(source: Path, target: Path) -> bool:
    """Rename to a free name; False if it is taken."""
    if not _linked(source, target):
        return False
    source.unlink()
    return True


def _linked(source: Path, target: Path) -> bool:
    """Link a file, or copy it if the file system has no links; False if the target name is taken."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return False
    except OSError as exc:
        if exc.errno not in {errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK}:
            raise
        try:
            with target.open("xb") as file:
                file.write(source.read_bytes())
        except FileExistsError:
            return False
    return True
