"""How many requests one process works on, shared between its callers: docs/decisions/0032.

A request is always counted in exactly one of several limits, and what it does decides in which: its body is
still coming, it is worked on, or it sits still and waits for a run. No header moves it.
"""

from typing import Any, Final, cast

from litestar.types import Scope

from kroma.shares import ANONYMOUS, SharedLimit
from kroma_api.http.errors import ServerBusyError

REQUEST_SLOT: Final = "kroma.slot"
"""Where a request's scope has its ``RequestSlot``."""

MAX_IN_FLIGHT: Final = 1024
"""Requests that are worked on at a time; half of them are the most of one caller. Whoever asks more often
than this process can answer would else fill its memory with requests that nobody waits for any more."""
MAX_RECEIVING: Final = 1024
"""Requests whose body is still coming."""
MAX_WAITING: Final = 512
"""Requests that wait for the end of a run, as `Prefer: wait` asks."""
MAX_PROBES: Final = 1024
"""Requests for health: they tell that a busy server lives, so they take no place of others."""
MAX_ANONYMOUS: Final = 64
"""All callers without a token together, of any of these limits: they have little to ask for."""


class RequestLimits:
    """What the requests of one process share."""

    def __init__(self, *, everybody_is_one: bool = False, at_work: int = MAX_IN_FLIGHT) -> None:
        """Nothing is taken yet.

        Args:
            everybody_is_one: Whether no token is asked for, so that callers without one are no strangers.
            at_work: Of all callers together.
        """
        few = {} if everybody_is_one else {ANONYMOUS: MAX_ANONYMOUS}
        self.at_work = SharedLimit(at_work, most_by=few)
        self.received = SharedLimit(MAX_RECEIVING, most_by=few)
        self.waiting = SharedLimit(MAX_WAITING, most_by=few)
        self.probes = SharedLimit(MAX_PROBES)


class RequestSlot:
    """Where one request is counted at the moment."""

    def __init__(self, limits: RequestLimits, share: str) -> None:
        self._limits = limits
        self._share = share
        self._taken: SharedLimit | None = None

    def move(self, limit: SharedLimit) -> None:
        """Be counted there from now on.

        Raises:
            ServerBusyError: There is no room; it is counted where it was.
        """
        if limit is not self._taken:
            if not limit.take(self._share):
                raise ServerBusyError
            self.leave()
            self._taken = limit

    def work(self) -> None:
        """Be worked on.

        Raises:
            ServerBusyError: As many requests are as may be.
        """
        self.move(self._limits.at_work)

    def may_wait(self) -> bool:
        """Sit still from now on, where there is room for that."""
        try:
            self.move(self._limits.waiting)
        except ServerBusyError:
            return False
        return True

    def leave(self) -> None:
        """Be counted nowhere: something with a limit of its own has taken over."""
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.give_back(self._share)


def slot_of(scope: Scope) -> RequestSlot:
    """The place of a request that came through ``RequestSlots``."""
    return cast("dict[str, Any]", scope)[REQUEST_SLOT]
