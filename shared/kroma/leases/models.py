"""The columns of a row that one worker at a time may work on."""

from datetime import datetime

from sqlalchemy import BigInteger, text
from sqlalchemy.orm import Mapped, mapped_column


class Leased:
    """A row that one worker at a time may work on; ``kroma.leases.claim`` has the rules."""

    fence: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    """Rises with every claim; a write that names an older one changes nothing."""
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """Claims so far."""
    available_at: Mapped[datetime | None]
    """Not to be claimed before; None is at once."""

    def release(self) -> None:
        """Give the row up in memory: what ``kroma.leases.claim.RELEASED`` is in SQL."""
        self.lease_owner = self.lease_expires_at = None


class Failable:
    """A row that says why its work failed, in the terms of ``kroma.errors``."""

    error: Mapped[str | None]
    error_kind: Mapped[str | None]
    error_code: Mapped[str | None]
