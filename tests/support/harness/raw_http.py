"""Requests written byte by byte on sockets, for callers that no HTTP client would be."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPResponse
from typing import NamedTuple

import httpx


class RawAnswer(NamedTuple):
    """What came back; ``status`` is 0 where the connection was closed without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes


NOTHING = RawAnswer(0, {}, b"")


def connected(client: httpx.Client, *, timeout: float = 30) -> socket.socket:
    """A connection to the server of a client."""
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=timeout)


def head(request_line: str, *headers: str, host: str = "127.0.0.1") -> bytes:
    """The head of a request, with its empty line."""
    lines = (f"{request_line} HTTP/1.1", f"Host: {host}", *headers, "", "")
    return "\r\n".join(lines).encode("latin-1")


def read_answer(connection: socket.socket) -> RawAnswer:
    """The next answer on a connection."""
    response = HTTPResponse(connection)
    try:
        response.begin()
        return RawAnswer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    except ConnectionError:
        return NOTHING


def asked(client: httpx.Client, data: bytes, *, timeout: float = 30, ends: bool = False) -> RawAnswer:
    """The answer to these bytes.

    Args:
        client: Of the server.
        data: A request, or the beginning of one.
        timeout: In seconds, for the whole of it.
        ends: Whether the sender says that nothing more comes.
    """
    with closing(connected(client, timeout=timeout)) as connection:
        connection.sendall(data)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return read_answer(connection)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has ended the connection; waits as long as the socket's own timeout."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@contextmanager
def held(client: httpx.Client, data: bytes, count: int) -> Iterator[list[socket.socket]]:
    """Connections that sent these bytes and stay open for the block."""
    with ExitStack() as stack:
        connections: list[socket.socket] = []
        for _ in range(count):
            connection = stack.enter_context(closing(connected(client)))
            connection.sendall(data)
            connections.append(connection)
        yield connections
