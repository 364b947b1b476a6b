"""The color guard, compared with the same formula in plain NumPy, on a noise picture of 768x1152."""

import json
from typing import Any

import numpy as np
from figures import line, once_ms
from numpy.typing import NDArray

from kroma.imaging.chroma import chroma_delta

WIDTH, HEIGHT = 768, 1152
TARGET = 5.0


def plain_numpy(rgb: NDArray[np.uint8]) -> float:
    """The formula of pipeline.md 6.1."""
    red, green, blue = (rgb[..., channel].astype(np.int16) for channel in range(3))
    return float((np.abs(red - green).mean() + np.abs(red - blue).mean() + np.abs(green - blue).mean()) / 3)


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare medians of alternating calls, so that a busy machine slows both."""
    rounds, size = (1, (8, 8)) if smoke else (30, (HEIGHT, WIDTH))
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    if plain_numpy(rgb) != chroma_delta(rgb):
        raise AssertionError
    pairs = [(once_ms(lambda: chroma_delta(rgb)), once_ms(lambda: plain_numpy(rgb))) for _ in range(rounds)]
    return line("guard", pairs, at_least=TARGET)


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
