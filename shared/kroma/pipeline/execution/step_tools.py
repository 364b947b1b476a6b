"""The outside world of a step: everything it may touch that is not its argument."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from kroma.config import FaceModel
from kroma.cpu import CpuPool
from kroma.ledger.calls import PaidCalls
from kroma.pipeline.execution.image_job import Candidate
from kroma.pipeline.execution.reuse import FormerCandidates
from kroma.postprocess.toolbox import Toolbox
from kroma.providers.base import Provider, ProviderAccess
from kroma.storage.base import ObjectStore

T = TypeVar("T")


class StepRecorder(Protocol):
    """Remembers finished steps of one job, across workers."""

    async def find(self, name: str, kind: type[T]) -> T | None:
        """What the step put out when it finished, or None when it has not."""
        ...

    async def record(
        self,
        name: str,
        output: object,
        *,
        started_at: datetime,
        candidates: tuple[Candidate, ...] = (),
        input_hash: str | None = None,
        hold: bool = False,
    ) -> None:
        """Store a finished step and the rows of the candidates it made or moved, in one transaction.

        Args:
            output: What a later claim continues with.
            started_at: When it began.
            candidates: Rows to write along.
            input_hash: SHA-256 over what the output follows from, for outputs that a later run may take.
            hold: Write it together with the step that is recorded next. Only where that follows at once,
                without work that the wait would put at risk; should it fail, the held one is written.

        Raises:
            ClaimLostError: A newer claim exists; nothing was written.
        """
        ...


class StepTools(msgspec.Struct, frozen=True, kw_only=True):
    """What a step works with."""

    store: ObjectStore
    provider: Provider
    cpu: CpuPool
    recorder: StepRecorder
    may_retry: bool
    """Whether a passing fault of the provider may be left to a later attempt."""
    is_canceled: Callable[[], Awaitable[bool]]
    """Whether the run is being canceled; asked before every call."""
    calls: PaidCalls | None = None
    """The only way to the provider where its calls cost money; None where none ever does."""
    former: FormerCandidates | None = None
    """Where to look for candidates made before; None makes all anew."""
    face_model: FaceModel | None = None
    """What faces are compared by; None where the operator has configured none."""
    toolbox: Toolbox | None = None
    """What post-processes; None opens one of the free tools alone."""
    paid: Callable[[Provider, str], PaidCalls] | None = None
    """The way to a provider for another operation than generating."""
    find_access: Callable[[Provider], Awaitable[ProviderAccess]] | None = None
    """The project's key and address of a provider as they are now."""
    providers: Mapping[str, Provider] = {}
    """By code: who refines cut-outs need not be who generates."""
