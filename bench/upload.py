"""Upload and download of a picture over HTTP, compared with a Litestar handler that streams the same bytes.

The worst of three ratios counts. *Content*: reading a whole file, compared with `Stream` of a file.
*Known*: an upload of bytes that the project has, which is received, hashed and found, compared with a
handler that streams the body into a file. *New*: an upload that is stored, compared with the same
handler plus a decode by Pillow, because uploaded pictures are always decoded; Kroma also writes the
rows. The files are camera photographs of 12 megapixels, repeated to 16 MiB where nothing is decoded.
"""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from figures import Pairs, once_ms, spread
from stack import running_api, running_stack
from thumbnail import photograph

TARGET = 1.5
ASSETS = "/api/projects/bench/assets"
LARGE_BYTES = 16 * 1024**2
BARE = """
import asyncio, io, os, sys
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from litestar import Litestar, Request, get, post
from litestar.response import Stream
from PIL import Image

folder = sys.argv[2]
BLOCK = 1024 * 1024

def kept(decodes):
    with open(f"{folder}/up", "rb") as file:
        os.fsync(file.fileno())
        if decodes:
            form = file.read()
            Image.open(io.BytesIO(form[form.index(b"\\r\\n\\r\\n") + 4 :])).load()

@post("/up", request_max_body_size=None)
async def up(request: Request, decodes: bool = False) -> None:
    with open(f"{folder}/up", "wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
    await asyncio.to_thread(kept, decodes)

@get("/down")
async def down() -> Stream:
    async def pieces():
        with open(f"{folder}/down", "rb") as file:
            while piece := await asyncio.to_thread(file.read, BLOCK):
                yield piece
    return Stream(pieces())

app = Litestar([up, down], openapi_config=None, logging_config=None)
server = Server(app, address="127.0.0.1", port=int(sys.argv[1]), interface=Interfaces.ASGINL,
                http=HTTPModes.http1, websockets=False, log_enabled=False)
uvloop.run(server.serve())
"""


@contextmanager
def running_bare(down: bytes) -> Generator[httpx.Client]:
    """Start the raw handlers in a separate process; yields a client for them."""
    with tempfile.TemporaryDirectory(prefix="kroma-bench-") as folder:
        Path(folder, "down").write_bytes(down)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        process = subprocess.Popen([sys.executable, "-c", BARE, str(port), folder])
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                for _ in range(200):
                    try:
                        client.get("/").close()
                        break
                    except httpx.TransportError:
                        time.sleep(0.05)
                yield client
        finally:
            process.terminate()
            process.wait(timeout=20)


def compared(rounds: int, ours: Callable[[int], object], raw: Callable[[int], object]) -> Pairs:
    """Times of alternating rounds, after one warm-up round."""
    pairs = [(once_ms(lambda n=n: ours(n)), once_ms(lambda n=n: raw(n))) for n in range(rounds + 1)]
    return pairs[1:]


def form_of(data: bytes) -> dict[str, Any]:
    """A form with one file, encoded before the clock starts."""
    request = httpx.Request("POST", "http://bench", files=[("file", ("a.jpg", data))])
    return {"content": request.read(), "headers": {"Content-Type": request.headers["Content-Type"]}}


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare the medians of three kinds of requests."""
    rounds = 1 if smoke else 15
    photo = photograph(400, 300) if smoke else photograph(4000, 3000)
    large = photo + bytes(max(0, (LARGE_BYTES // (64 if smoke else 1)) - len(photo) - 2)) + b"\xff\xd9"
    with (
        running_stack() as stack,
        running_api(stack, KROMA_API_AUTH_DEV_BYPASS="1") as (_, address),
        httpx.Client(base_url=address, timeout=60) as client,
        running_bare(large) as bare,
    ):
        client.post("/api/projects", json={"name": "Bench"}).raise_for_status()
        known = form_of(large)
        (asset,) = client.post(ASSETS, **known).raise_for_status().json()["assets"]
        at = f"{ASSETS}/{asset['id']}/content"
        new = [form_of(photo + number.to_bytes(2, "big")) for number in range(rounds + 1)]
        found = {
            "content": compared(
                rounds,
                lambda _: client.get(at).raise_for_status(),
                lambda _: bare.get("/down").raise_for_status(),
            ),
            "known": compared(
                rounds,
                lambda _: client.post(ASSETS, **known).raise_for_status(),
                lambda _: bare.post("/up", **known).raise_for_status(),
            ),
            "new": compared(
                rounds,
                lambda n: client.post(ASSETS, **new[n]).raise_for_status(),
                lambda n: bare.post("/up?decodes=1", **new[n]).raise_for_status(),
            ),
        }
    ours = {name: statistics.median(own for own, _ in pairs) for name, pairs in found.items()}
    raw = {name: statistics.median(bare for _, bare in pairs) for name, pairs in found.items()}
    ratios = {name: ours[name] / raw[name] for name in found}
    worst = max(ratios.values())
    return {
        "name": "upload",
        "shown": ", ".join(f"{name} {ours[name]:.1f} ms" for name in found),
        "raw_shown": ", ".join(f"{name} {raw[name]:.1f} ms" for name in found),
        "ratio": round(worst, 2),
        "ratios": {name: round(ratio, 2) for name, ratio in ratios.items()},
        "spread": spread(list(ratios.values())),
        "target": f"<={TARGET:g} each",
        "ok": worst <= TARGET,
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
