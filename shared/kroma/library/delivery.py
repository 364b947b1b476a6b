"""The pictures of one upload on their way in: received, known or decoded; nothing is in the store yet."""

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from kroma.assets.models import Asset
from kroma.cpu import CpuPool, remote
from kroma.db.engine import Database
from kroma.imaging.header import PictureHeader
from kroma.library.deduplication import find_known
from kroma.library.project_files import ProjectFiles
from kroma.library.spool import Spool, Spooled

if TYPE_CHECKING:
    from kroma.imaging.accept import accept
else:
    accept = remote("kroma.imaging.accept").accept


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that may be kept."""

    name: str
    """As it was sent, fit to be shown."""
    sent: Spooled
    kept: Spooled
    """What was sent, or the PNG that it became."""
    spool: Spool
    """Where ``kept`` lies."""
    header: PictureHeader | None
    """Of ``kept``; None where the project has these bytes already, so that nobody decoded them."""
    sent_mime_type: str
    extension: str


class Delivery:
    """Takes files one after the other, and decodes each while the next one comes."""

    def __init__(self, db: Database, cpu: CpuPool, files: ProjectFiles, *, spool_folder: Path) -> None:
        self._db = db
        self._cpu = cpu
        self._files = files
        self._folder = spool_folder
        self._spool = Spool(spool_folder)
        self._converted: list[Spool] = []
        self._names: list[str] = []
        self._checks: list[asyncio.Task[Picture]] = []
        self._by_hash: dict[str, asyncio.Task[Picture]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for check in self._by_hash.values():
            check.cancel()
        await asyncio.gather(*self._by_hash.values(), return_exceptions=True)
        for spool in (self._spool, *self._converted):
            spool.close()

    @property
    def count(self) -> int:
        return len(self._checks)

    async def take(self, name: str, chunks: AsyncIterable[bytes]) -> None:
        """Receive one file whole.

        Raises:
            PictureError: It is over 64 MiB, or an earlier file of the upload is no picture.
            StoreFullError: There is no space to receive it.
        """
        file = await self._spool.take(name, chunks)
        check = self._by_hash.get(file.sha256)
        if check is None:
            known = await find_known(self._db, self._files, file.sha256)
            picture = self._decode(file) if known is None else self._as_known(file, known)
            check = self._by_hash[file.sha256] = asyncio.create_task(picture)
        self._names.append(name)
        self._checks.append(check)
        for check in self._checks:
            if check.done():
                check.result()  # the sender learns early that it can stop

    async def pictures(self) -> list[Picture]:
        """All of them, in the order they came.

        Raises:
            PictureError: One is no whole picture, or too large; the first that came decides.
            PictureWorkLostError: The process that decoded one has died.
        """
        for outcome in await asyncio.gather(*self._checks, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        return [
            msgspec.structs.replace(check.result(), name=name)
            for check, name in zip(self._checks, self._names, strict=True)
        ]

    async def decode(self, picture: Picture) -> Picture:
        """The picture with its header, after all: what the project had of it is gone."""
        return picture if picture.header is not None else await self._decode(picture.sent)

    async def _as_known(self, file: Spooled, known: Asset) -> Picture:
        return Picture(
            name=file.name,
            sent=file,
            kept=file,
            spool=self._spool,
            header=None,
            sent_mime_type=known.mime_type or "",
            extension="",
        )

    async def _decode(self, file: Spooled) -> Picture:
        async with self._cpu.room(file.size_bytes):
            accepted = await self._cpu.run(accept, await self._spool.source(file), name=file.name)
            kept, spool = file, self._spool
            if accepted.converted is not None:
                spool = Spool(self._folder)
                self._converted.append(spool)
                kept = await spool.keep(file.name, accepted.converted)
        return Picture(
            name=file.name,
            sent=file,
            kept=kept,
            spool=spool,
            header=accepted.header,
            sent_mime_type=accepted.sent.mime_type,
            extension=accepted.extension,
        )
