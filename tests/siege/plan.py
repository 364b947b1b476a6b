"""How much of everything a siege throws at the stack."""

from typing import Final

import msgspec


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a siege; the figures to reach are the same in both forms."""

    name: str
    unladen_s: float
    """How long the neighbor's requests are timed with nothing else going on."""
    held_s: float
    """How long the doors are held after all sockets are open."""
    half_open: int = 2200
    streams: int = 1000
    waiting: int = 600
    """Requests of each kind that claim by a header that they wait."""
    keyed_uploads: int
    keyed_upload_mib: int = 60
    lut_uploads: int = 6
    lut_mib: int
    timed_uploads: int
    """Of the neighbor, unladen and beside each flood."""
    least_upload_s: float
    """An upload that takes no longer is never slow: six of them on a machine that does other work are too
    few to tell 40 ms from 80."""
    slow_pictures: int
    """Of the attacker at a time, so that it could hold every picture process."""
    root_races: int
    remote_modes: int
    """How many hostile answers a provider, an agent and a bucket give besides those that are always tried."""
    max_wait_s: float
    """How long a copy to a hostile bucket may try before it is told to stop."""


SHORT: Final = Size(
    name="short",
    unladen_s=4,
    held_s=8,
    keyed_uploads=6,
    lut_mib=20,
    timed_uploads=6,
    least_upload_s=0.2,
    slow_pictures=4,
    root_races=4,
    remote_modes=1,
    max_wait_s=4,
)
FULL: Final = Size(
    name="full",
    unladen_s=8,
    held_s=25,
    keyed_uploads=20,
    lut_mib=50,
    timed_uploads=12,
    least_upload_s=0.05,
    slow_pictures=8,
    root_races=20,
    remote_modes=99,
    max_wait_s=15,
)
SIZES: Final = {size.name: size for size in (SHORT, FULL)}
