"""One project's uploads during another project's flood, compared with the same uploads without load.

The flood of one token is six callers that repeatedly send, each time with an `Idempotency-Key`, look-up
tables with 50 MB of comments, pictures that are upscaled to 64 megapixels, and 60 MiB files that are
not pictures. Targets: the other project's upload takes at most three times as long as without load, and
the API process, without its picture processes, stays under 400 MB.
"""

import io
import json
import statistics
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import numpy as np
import psutil
from figures import line, once_ms
from PIL import Image
from stack import running_api, running_stack

TARGET: Final = 3.0
MOST_MB: Final = 400.0
CALLERS: Final = 6


def picture(seed: int, *, width: int = 600, height: int = 400) -> bytes:
    """A PNG that differs for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


class Caller:
    """A client with the token of one project."""

    def __init__(self, address: str, owner: dict[str, str], slug: str) -> None:
        self.address = address
        self.slug = slug
        httpx.post(f"{address}/api/projects", json={"name": slug}, headers=owner).raise_for_status()
        made = httpx.post(f"{address}/auth/token", json={"project_slug": slug}, headers=owner)
        self.headers = {"Authorization": f"Bearer {made.json()['auth_token']['token']}"}

    def upload(self, data: bytes) -> None:
        """Upload a picture to the project."""
        url = f"{self.address}/api/projects/{self.slug}/assets"
        files = {"file": ("a.png", data)}
        httpx.post(url, files=files, headers=self.headers, timeout=120).raise_for_status()

    def tool(self, name: str, key: str, files: dict[str, bytes], **fields: str) -> int:
        """Use a tool and return the status of the response."""
        headers = {**self.headers, "Idempotency-Key": key}
        url = f"{self.address}/api/tools/{name}"
        return httpx.post(url, files=files, data=fields, headers=headers, timeout=120).status_code


@contextmanager
def flood(caller: Caller, *, small: bool) -> Generator[dict[int, int]]:
    """Send requests from six threads without a pause; yields the number of responses by status."""
    size = 1 if small else 50
    shrunk = 8 if small else 1
    comments = b"# nothing\n" * (100_000 * size)
    table = picture(1, width=64, height=64)
    large = picture(2, width=2000 // shrunk, height=1000 // shrunk)
    wrong = b"\x89PNG\r\n\x1a\n" + bytes(size * 1_200_000)
    kinds: list[Callable[[str], int]] = [
        lambda key: caller.tool("color", key, {"file": table, "lut": comments}),
        lambda key: caller.tool("upscale", key, {"file": large}, scale="4"),
        lambda key: caller.tool("color", key, {"file": wrong}),
    ]
    statuses: dict[int, int] = {}
    stop = threading.Event()

    def ask(number: int) -> None:
        count = 0
        while not stop.is_set():
            status = kinds[(number + count) % len(kinds)](f"k{number}-{count}")
            statuses[status] = statuses.get(status, 0) + 1
            count += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def watched_mb(pid: int) -> Generator[list[float]]:
    """Sample the resident set of a process every 50 ms, without its children, in MB."""
    process, found, stop = psutil.Process(pid), list[float](), threading.Event()

    def look() -> None:
        while not stop.wait(0.05):
            found.append(process.memory_info().rss / 1024**2)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare the other project's uploads, and find the peak memory."""
    rounds, warm_s = (2, 0.5) if smoke else (40, 5.0)
    with running_stack() as stack, running_api(stack) as (process, address):
        made = httpx.post(f"{address}/auth/token", json={}).raise_for_status().json()
        owner = {"Authorization": f"Bearer {made['auth_token']['token']}"}
        one, other = (Caller(address, owner, slug) for slug in ("flood", "other"))
        other.upload(picture(0))  # starts the first picture process
        pictures = iter([picture(seed) for seed in range(10, 10 + 2 * rounds)])
        alone = [once_ms(lambda: other.upload(next(pictures))) for _ in range(rounds)]
        with watched_mb(process.pid) as mb, flood(one, small=smoke) as statuses:
            time.sleep(warm_s)
            beside = []
            for _ in range(rounds):
                beside.append(once_ms(lambda: other.upload(next(pictures))))
                time.sleep(0.0 if smoke else 0.5)
    found = line("fairness", list(zip(beside, alone, strict=True)), at_most=TARGET)
    most = max(mb, default=0.0)
    return found | {
        "shown": f"{found['ours_ms']:.0f} ms under load, at most {max(beside):.0f}; api {most:.0f} MB",
        "raw_shown": f"{statistics.median(alone):.0f} ms, at most {max(alone):.0f}",
        "mb": round(most, 1),
        "answers": {str(status): count for status, count in sorted(statuses.items())},
        "target": f"<={TARGET:g}, <{MOST_MB:g} MB",
        "ok": found["ok"] and most < MOST_MB,
    }


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
