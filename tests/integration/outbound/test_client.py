"""The client for users' addresses, over real sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from kroma.allow_list import AllowList
from kroma.outbound.client import OutboundClient, OutboundReply
from kroma.outbound.errors import (
    CallTimedOutError,
    ConnectionFailedError,
    ReplyTooLargeError,
    UrlRefusedError,
)
from kroma.outbound.guard import UrlGuard
from support.builders.certificates import certificate
from support.doubles.agent_server import AgentServer, http, said, served

pytestmark = pytest.mark.timeout(60)

HOST = "agent.example"


class Names:
    """A resolver that gives the next of its answers, and the last one over and over."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        assert host == HOST
        assert port
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
async def agent() -> AsyncIterator[AgentServer]:
    async with served() as server:
        yield server


async def post(
    url: str,
    names: Names,
    *,
    allow: str = "127.0.0.0/8",
    tls: ssl.SSLContext | None = None,
    max_bytes: int = 1000,
    limit: timedelta = timedelta(seconds=10),
) -> OutboundReply:
    client = OutboundClient(UrlGuard(AllowList.parsed([allow]), resolve=names), tls=tls)
    try:
        return await client.post_json(url, b"{}", headers={}, limit=limit, max_bytes=max_bytes)
    finally:
        await client.close()


async def test_it_connects_to_the_judged_address_under_the_name_it_was_given(agent: AgentServer) -> None:
    names = Names(["127.0.0.1"], ["10.9.9.9"])
    reply = await post(f"http://{HOST}:{agent.port}/run", names)

    assert reply.is_success
    assert names.asked == 1
    assert agent.received[0].headers["host"] == f"{HOST}:{agent.port}"


async def test_it_takes_the_next_address_of_a_name_when_one_does_not_listen(agent: AgentServer) -> None:
    reply = await post(f"http://{HOST}:{agent.port}/", Names(["127.0.0.2", "127.0.0.1"]))

    assert reply.is_success


async def test_a_name_that_leads_inside_gets_no_connection(agent: AgentServer) -> None:
    with pytest.raises(UrlRefusedError):
        await post(f"http://{HOST}:{agent.port}/", Names(["127.0.0.1"]), allow="10.0.0.0/8")
    assert agent.received == []


async def test_each_call_is_judged_anew(agent: AgentServer) -> None:
    names = Names(["127.0.0.1"], ["192.168.0.1"])
    url = f"http://{HOST}:{agent.port}/"
    await post(url, names)

    with pytest.raises(UrlRefusedError):
        await post(url, names)


async def test_proxies_of_the_environment_are_not_used(
    agent: AgentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert (await post(f"http://{HOST}:{agent.port}/", Names(["127.0.0.1"]))).is_success


async def test_a_redirect_is_a_reply(agent: AgentServer) -> None:
    agent.script(http(302, b"", Location="http://169.254.169.254/"))
    reply = await post(f"http://{HOST}:{agent.port}/", Names(["127.0.0.1"]))

    assert (reply.status, reply.is_success, len(agent.received)) == (302, False, 1)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(http(200, b"x" * 1001), id="announced"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 1001, id="until it hangs up"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
            id="in chunks",
        ),
    ],
)
async def test_a_reply_has_a_size_limit(agent: AgentServer, reply: bytes) -> None:
    agent.script(reply)

    with pytest.raises(ReplyTooLargeError):
        await post(f"http://{HOST}:{agent.port}/", Names(["127.0.0.1"]))


async def test_a_compressed_reply_is_not_unpacked(agent: AgentServer) -> None:
    agent.script(http(200, b"\x1f\x8b not really", Content_Encoding="gzip"))
    reply = await post(f"http://{HOST}:{agent.port}/", Names(["127.0.0.1"]))

    assert reply.body == b"\x1f\x8b not really"
    assert agent.received[0].headers["accept-encoding"] == "identity"


async def test_the_time_limit_holds_for_a_reply_that_trickles() -> None:
    hung_up = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            writer.close()
            hung_up.set()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(CallTimedOutError):
        await post(f"http://{HOST}:{port}/", Names(["127.0.0.1"]), limit=timedelta(seconds=0.3))
    server.close()
    await hung_up.wait()


def answer_once(listener: socket.socket, tls: ssl.SSLContext) -> bool:
    """Serve one connection; whether a request came through.

    Blocking, because asyncio leaves the socket of a refused handshake to the garbage collector.
    """
    connection, _ = listener.accept()
    connection.settimeout(30)
    with connection:
        try:
            with tls.wrap_socket(connection, server_side=True) as secured:
                request = b""
                while not request.endswith(b"{}"):
                    request += secured.recv(65536)
                secured.sendall(said(status="done"))
                return True
        except ssl.SSLError:
            return False


@pytest.mark.parametrize(
    ("certified", "is_trusted"),
    [
        pytest.param(HOST, True, id="the name"),
        pytest.param("other.example", False, id="another name"),
    ],
)
async def test_a_certificate_must_name_the_host_and_not_the_address(
    tmp_path: Path, certified: str, *, is_trusted: bool
) -> None:
    pem = certificate(tmp_path, certified)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem)
    asked: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)
    trusting = ssl.create_default_context(cafile=pem)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        answering = asyncio.create_task(asyncio.to_thread(answer_once, listener, serving))
        url = f"https://{HOST}:{listener.getsockname()[1]}/"
        if is_trusted:
            assert (await post(url, Names(["127.0.0.1"]), tls=trusting)).is_success
        else:
            with pytest.raises(ConnectionFailedError):
                await post(url, Names(["127.0.0.1"]), tls=trusting)
        heard = await answering
    assert asked == [HOST]
    assert heard is is_trusted
