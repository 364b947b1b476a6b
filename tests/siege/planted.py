"""Secrets of many kinds, planted where they belong and where people put them, and the search for them."""

import base64
import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import asyncpg
import msgspec
import psutil
import redis

LEAST_KINDS = 25
CHUNK = 1 << 20
OVERLAP = 512
SEEN_BY_OTHERS = (
    "logs/",
    "output of ",
    "Redis ",
    "command line ",
    "environment of ",
    "the metrics",
    "kroma up",
)
"""Sources that show no data of a project, by how they begin."""
SEARCHED = frozenset({"text", "bytea", "json", "jsonb", "character varying", "ARRAY"})


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """One planted secret."""

    kind: str
    value: str
    lies_in: tuple[str, ...] = ()
    """Files of the data directory that are there to hold it."""
    is_given_back: bool = False
    """Whether it stands in a field that its project reads again: then only what others see is searched."""

    def forms(self) -> dict[str, bytes]:
        """How it may show: as it is, in a URL, in base64 at each of the three offsets, in hex."""
        raw = self.value.encode()
        shown = {"plain": raw, "hex": raw.hex().encode()}
        if (quoted := quote(self.value, safe="").encode()) != raw:
            shown["in a URL"] = quoted
        for offset in range(3):
            encoded = base64.b64encode(b"\0" * offset + raw)
            # The first and the last characters depend on what stands around it.
            shown[f"base64 at {offset}"] = encoded[(0, 2, 3)[offset] : -4]
        return shown


class Planted:
    """Everything that was planted so far."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.secrets: list[Secret] = []

    def make(self, kind: str, *, like: str = "sk-{}", is_given_back: bool = False) -> str:
        """A new secret of a kind, the same for the same seed."""
        value = like.format(self.bytes_for(kind).hex()[:40])
        self.secrets.append(Secret(kind=kind, value=value, is_given_back=is_given_back))
        return value

    def bytes_for(self, kind: str) -> bytes:
        """32 bytes that nothing else has."""
        return hashlib.sha256(f"{self._seed}/{kind}/{len(self.secrets)}".encode()).digest()

    def add(self, kind: str, value: str, *, lies_in: tuple[str, ...] = ()) -> str:
        """One that somebody else made."""
        self.secrets.append(Secret(kind=kind, value=value, lies_in=lies_in))
        return value

    @property
    def kinds(self) -> list[str]:
        return sorted({secret.kind for secret in self.secrets})


def found_in(secrets: Iterable[Secret], source: str, data: bytes) -> Iterator[str]:
    """A line for each secret that the bytes hold, in whatever form."""
    for secret in secrets:
        if source in secret.lies_in or (secret.is_given_back and not source.startswith(SEEN_BY_OTHERS)):
            continue
        # PostgreSQL's own files hold what the tables do, and are many.
        forms = {"plain": secret.value.encode()} if source.startswith("postgres/") else secret.forms()
        for form, pattern in forms.items():
            if pattern in data:
                yield f"{secret.kind} ({form}) in {source}"
                break


def file_contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder by its relative path, in overlapping pieces; of large pictures both ends."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        try:
            with path.open("rb") as file:
                if name.startswith("var/projects/") and path.stat().st_size > 4 * CHUNK:
                    yield name, file.read(CHUNK)
                    file.seek(-CHUNK, os.SEEK_END)
                tail = b""
                while piece := file.read(CHUNK):
                    yield name, tail + piece
                    tail = piece[-OVERLAP:]
        except FileNotFoundError:
            continue  # a log that was turned, or a file of PostgreSQL's that it took away


async def table_rows(database_url: str) -> list[tuple[str, bytes]]:
    """Every text, JSON and bytea of every table."""
    found: list[tuple[str, bytes]] = []
    connection = await asyncpg.connect(database_url)
    try:
        columns = await connection.fetch(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        )
        for table, column, data_type in columns:
            if data_type not in SEARCHED:
                continue
            cast = "" if data_type == "bytea" else "::text"
            query = f'SELECT "{column}"{cast} FROM "{table}" WHERE "{column}" IS NOT NULL'  # noqa: S608 - names from the catalog
            for (value,) in await connection.fetch(query):
                data = value if isinstance(value, bytes) else str(value).encode()
                found.append((f"column {table}.{column}", data))
    finally:
        await connection.close()
    return found


def redis_values(redis_url: str) -> Iterator[tuple[str, bytes]]:
    """Every key of every database of Redis, with its value as it is stored."""
    with redis.Redis.from_url(redis_url) as client:
        for number in range(16):
            client.execute_command("SELECT", str(number))
            for key in client.scan_iter(count=1000):
                yield f"Redis key in database {number}", key
                yield f"Redis value of {key!r}", client.dump(key) or b""


def command_lines(pids: Iterable[int]) -> Iterator[tuple[str, bytes]]:
    """What every user of the machine can see of these processes."""
    for pid in pids:
        try:
            yield f"command line of process {pid}", "\0".join(psutil.Process(pid).cmdline()).encode()
        except psutil.Error:
            continue


def environments(pids: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """The environment of foreign programs, which need none of ours."""
    for name, pid in pids.items():
        yield f"environment of {name}", Path(f"/proc/{pid}/environ").read_bytes()


def open_modes(data_dir: Path, *, passed_through: Iterable[str]) -> Iterator[str]:
    """Files and folders below the data directory that other accounts may read or write.

    Args:
        data_dir: The folder, itself included.
        passed_through: Folders that another account must pass to reach the database's: they may be entered,
            not read.
    """
    passable = set(passed_through)
    for path in (data_dir, *sorted(data_dir.rglob("*"))):
        name = path.relative_to(data_dir).as_posix()
        if path.is_symlink() or not path.exists():
            continue
        mode = path.stat().st_mode & 0o777
        allowed = 0o711 if name in passable else 0o700
        if mode & ~allowed:
            yield f"{name or '.'} has mode {mode:04o}"


def printed(command: "subprocess.CompletedProcess[str]") -> Iterator[tuple[str, bytes]]:
    """What a command said."""
    name = " ".join(command.args[2:6])
    yield f"output of {name}", (command.stdout + command.stderr).encode()
