"""A real HTTP server that plays the external agent."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple


class Received(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Reply = bytes | Callable[[Received], Awaitable[bytes]]
"""What to send back, or what makes it while the caller waits."""


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A raw HTTP reply; underscores in header names become dashes."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def said(**fields: object) -> bytes:
    """A 200 with these JSON fields."""
    return http(200, json.dumps(fields).encode(), Content_Type="application/json")


class AgentServer:
    """Answers with the scripted replies, the last one over and over."""

    def __init__(self) -> None:
        self.replies: list[Reply] = [said(status="done")]
        self.received: list[Received] = []
        self.connections: set[asyncio.Task[None]] = set()
        self.url = ""
        self.port = 0

    def script(self, *replies: Reply) -> None:
        """What to answer from now on."""
        self.replies = list(replies)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, in a task that ``close`` waits for."""
        task = asyncio.create_task(self.handle(reader, writer))
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)

    async def close(self) -> None:
        """Drop what is still open; a socket left to the garbage collector fails a later test."""
        for task in self.connections:
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes sockets in its next round

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which carries one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            request = Received(method, path, headers, json.loads(body))
            self.received.append(request)
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            writer.write(reply if isinstance(reply, bytes) else await reply(request))
            await writer.drain()
        except ConnectionError:
            pass  # a caller that has heard enough hangs up
        finally:
            writer.close()


@asynccontextmanager
async def served() -> AsyncIterator[AgentServer]:
    """An agent on a free port of this machine."""
    agent = AgentServer()
    server = await asyncio.start_server(agent.accept, "127.0.0.1", 0)
    agent.port = server.sockets[0].getsockname()[1]
    agent.url = f"http://127.0.0.1:{agent.port}/run?key=hidden"
    try:
        yield agent
    finally:
        server.close()
        await agent.close()
