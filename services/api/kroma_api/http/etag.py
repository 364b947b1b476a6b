"""``ETag`` and ``If-None-Match`` of runs."""

from typing import Annotated

from litestar.params import HeaderParameter

from kroma.pipeline.control.progress import RunVersion

IfNoneMatch = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description="The `ETag` of an earlier reply, for a 304")
]


def entity_tag(version: RunVersion) -> str:
    """Weak: what is not the run's own, like its place in the queue, changes without it."""
    paused = "" if version.paused_at is None else f"-{version.paused_at.timestamp():.6f}"
    return f'W/"{version.revision}{paused}"'


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Whether the caller has what the tag stands for (RFC 9110, weak comparison)."""
    known = [part.strip() for part in (if_none_match or "").split(",")]
    return "*" in known or tag.removeprefix("W/") in {part.removeprefix("W/") for part in known}
