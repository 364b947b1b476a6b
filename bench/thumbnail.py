"""The first thumbnail of a 12 megapixel JPEG over HTTP, compared with Pillow's `thumbnail`.

Pillow decodes at a fraction of the size (draft mode) and resizes, in the benchmark's own process. Kroma
also finds the asset, reads and hashes its file, rotates and converts the picture and encodes it as
WebP; it stores the thumbnail after responding. Each round uses a different picture, made different by
bytes after its end.
"""

import io
import json
from typing import Any

import httpx
import numpy as np
from figures import line, once_ms
from PIL import Image
from stack import running_api, running_stack

TARGET = 1.5
SIZE_PX = 256
ASSETS = "/api/projects/bench/assets"


def photograph(width: int, height: int) -> bytes:
    """A JPEG that compresses like a photograph: smooth tones with a little noise."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (height // 32 + 1, width // 32 + 1, 3), dtype=np.uint8)
    tones = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = np.clip(tones + random.integers(-6, 7, tones.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def bare(data: bytes) -> None:
    """Make the thumbnail with Pillow."""
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((SIZE_PX, SIZE_PX))


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare medians of alternating rounds, so that a busy machine slows both."""
    rounds = 1 if smoke else 15
    data = photograph(400, 300) if smoke else photograph(4000, 3000)
    pairs: list[tuple[float, float]] = []
    with (
        running_stack() as stack,
        running_api(stack, KROMA_API_AUTH_DEV_BYPASS="1") as (_, address),
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        client.post("/api/projects", json={"name": "Bench"}).raise_for_status()
        for number in range(rounds + 1):
            files = [("file", ("a.jpg", data + number.to_bytes(2, "big")))]
            (asset,) = client.post(ASSETS, files=files).raise_for_status().json()["assets"]
            at = f"{ASSETS}/{asset['id']}/thumbnail?size={SIZE_PX}"
            ours = once_ms(lambda at=at: client.get(at).raise_for_status())
            pairs.append((ours, once_ms(lambda: bare(data))))
    return line("thumbnail", pairs[1:], at_most=TARGET)


if __name__ == "__main__":
    print(json.dumps(measure()))
