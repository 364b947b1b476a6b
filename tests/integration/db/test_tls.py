"""Addresses as providers of databases give them: encrypted, and verified."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from kroma.config import SettingsError
from kroma.db.engine import Database
from kroma.db.wait_for_database import wait_for_answer
from support.builders.certificates import certificate

pytestmark = pytest.mark.timeout(60)

SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
"""What a client of PostgreSQL asks first that would like TLS."""


class Front:
    """Takes encrypted connections only, and hands them on to the test's own server."""

    def __init__(self, url: str, pem: Path) -> None:
        self._behind = urlsplit(url)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(pem)
        self.served = 0

    def address(self, port: int, query: str) -> str:
        user, _, _ = self._behind.netloc.rpartition("@")
        return f"postgresql://{user}@localhost:{port}{self._behind.path}?{query}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(8) != SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.start_tls(self._tls)
            self.served += 1
            behind = await asyncio.open_connection(self._behind.hostname, self._behind.port)
            await asyncio.gather(_passed(reader, behind[1]), _passed(behind[0], writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client did not like the certificate
        finally:
            writer.close()


async def _passed(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    finally:
        target.close()


@asynccontextmanager
async def front(url: str, pem: Path) -> AsyncIterator[tuple[Front, int]]:
    served = Front(url, pem)
    server = await asyncio.start_server(served.handle, "localhost", 0)
    async with server:
        yield served, server.sockets[0].getsockname()[1]


async def asked(url: str) -> int:
    """What a service does first with its database."""
    db = Database.connect(url)

    async def one() -> int:
        async with db.transaction() as session:
            return await session.scalar(text("SELECT 1")) or 0

    try:
        return await wait_for_answer(one, url=url, limit=timedelta(seconds=20))
    finally:
        await db.close()


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=require",
        "sslmode=verify-ca&sslrootcert={pem}",
        "sslmode=verify-full&sslrootcert={pem}&target_session_attrs=read-write",
    ],
)
async def test_an_encrypted_database_is_used(fresh_database_url: str, tmp_path: Path, query: str) -> None:
    pem = certificate(tmp_path, "localhost")
    async with front(fresh_database_url, pem) as (served, port):
        url = served.address(port, query.format(pem=pem))
        assert await asked(url) == 1
    assert served.served == 1


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sslmode=verify-full&sslrootcert={pem}", "its certificate is not accepted"),
        ("sslmode=verify-ca&sslrootcert=/nowhere/ca.pem", "names a file in sslrootcert that does not exist"),
        ("sslmode=perhaps", "sslmode (disable,"),
    ],
)
async def test_what_no_waiting_mends_is_said_at_once(
    fresh_database_url: str, tmp_path: Path, query: str, told: str
) -> None:
    pem = certificate(tmp_path, "elsewhere.example")
    async with front(fresh_database_url, pem) as (served, port):
        url = served.address(port, query.format(pem=pem))
        with pytest.raises(SettingsError, match="KROMA_DATABASE_URL") as caught:
            await asked(url)
    assert told in caught.value.message
