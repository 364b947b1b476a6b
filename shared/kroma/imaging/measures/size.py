"""Does a candidate have the requested size, or else the scene's proportions."""


def _ratio(one: float, other: float) -> float:
    return min(one, other) / max(one, other)


def size_kept(size: tuple[int, int], wanted: tuple[int, int]) -> float:
    """``min(w, W) / max(w, W) * min(h, H) / max(h, H)``."""
    return _ratio(size[0], wanted[0]) * _ratio(size[1], wanted[1])


def aspect_kept(size: tuple[int, int], scene: tuple[int, int]) -> float:
    """The smaller aspect ratio divided by the larger one."""
    return _ratio(size[0] / size[1], scene[0] / scene[1])


def wanted_size(text: str | None) -> tuple[int, int] | None:
    """Width and height of ``<width>x<height>``; None for anything else, like ``auto``."""
    width, _, height = (text or "").lower().partition("x")
    if not all(side.isascii() and side.isdigit() and 0 < len(side) <= 6 for side in (width, height)):  # noqa: PLR2004 - more is no size
        return None
    return (int(width), int(height)) if int(width) and int(height) else None
