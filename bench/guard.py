"""The colour guard beside the same formula in plain NumPy, on a noise picture of 768x1152."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kroma.imaging.chroma import chroma_delta

WIDTH, HEIGHT = 768, 1152
TARGET = 5.0


def plain_numpy(rgb: NDArray[np.uint8]) -> float:
    """Pipeline.md 6.1, word by word."""
    red, green, blue = (rgb[..., channel].astype(np.int16) for channel in range(3))
    return float((np.abs(red - green).mean() + np.abs(red - blue).mean() + np.abs(green - blue).mean()) / 3)


def _once_ms(function: Callable[[NDArray[np.uint8]], float], rgb: NDArray[np.uint8]) -> float:
    started = time.perf_counter()
    function(rgb)
    return (time.perf_counter() - started) * 1000


def measure(rounds: int = 30) -> dict[str, Any]:
    """Medians of alternating calls, so that a busy machine slows both."""
    rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    if plain_numpy(rgb) != chroma_delta(rgb):
        raise AssertionError
    pairs = [(_once_ms(plain_numpy, rgb), _once_ms(chroma_delta, rgb)) for _ in range(rounds)]
    raw_ms = statistics.median(raw for raw, _ in pairs)
    ours_ms = statistics.median(ours for _, ours in pairs)
    ratio = raw_ms / ours_ms
    return {
        "name": "guard",
        "ours_ms": round(ours_ms, 3),
        "raw_ms": round(raw_ms, 3),
        "ratio": round(ratio, 2),
        "target": f">={TARGET:g}",
        "ok": ratio >= TARGET,
    }


def main() -> None:
    result = measure()
    print(f"chroma delta of {WIDTH}x{HEIGHT}, medians")
    print(f"  plain NumPy  {result['raw_ms']:8.3f} ms")
    print(
        f"  ours         {result['ours_ms']:8.3f} ms   {result['ratio']}x faster, target {result['target']}"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
