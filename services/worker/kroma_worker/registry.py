"""One task per message: the place where tasks are found, timed and kept from bringing the worker down."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

import msgspec
import structlog

from kroma.instructions.dispatch import Dispatcher
from kroma.leases.claim import ClaimLostError
from kroma.pipeline.execution.wiring import WorkerContext
from kroma.queue.base import TaskQueue
from kroma.queue.messages import AnyMessage
from kroma_worker.liveness import Liveness
from kroma_worker.slots import WorkerSlots

if TYPE_CHECKING:
    from kroma.sync.runner import Synchronizer

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=AnyMessage)


class TaskDeps(msgspec.Struct, frozen=True, kw_only=True):
    """What a task may use."""

    context: WorkerContext
    queue: TaskQueue
    worker: str
    """The name this worker leaves on its leases."""
    agents: Dispatcher | None = None
    """None leaves instructions to other workers."""
    syncs: "Callable[[], Synchronizer] | None" = None
    """Makes what carries syncs; None leaves them likewise."""
    slots: WorkerSlots = msgspec.field(default_factory=WorkerSlots)
    liveness: Liveness = msgspec.field(default_factory=Liveness)


class Task(msgspec.Struct, frozen=True):
    """A function and the time it may take."""

    function: Callable[[TaskDeps, Any], Awaitable[None]]
    limit: timedelta


class TaskRegistryError(Exception):
    """A message without a task, or with two: a bug that must stop the start."""


TASKS: Final[dict[type[Any], Task]] = {}


def task(
    message: type[M], *, limit: timedelta
) -> Callable[[Callable[[TaskDeps, M], Awaitable[None]]], Callable[[TaskDeps, M], Awaitable[None]]]:
    """Make a function the task of a message.

    Raises:
        TaskRegistryError: The message has a task already.
    """

    def register(
        function: Callable[[TaskDeps, M], Awaitable[None]],
    ) -> Callable[[TaskDeps, M], Awaitable[None]]:
        if message in TASKS:
            raise TaskRegistryError(f"{message.__name__} has two tasks")
        TASKS[message] = Task(function, limit)
        return function

    return register


def check_complete() -> None:
    """Prove that every message has its task.

    Raises:
        TaskRegistryError: One has none.
    """
    missing = [kind.__name__ for kind in get_args(AnyMessage) if kind not in TASKS]
    if missing:
        raise TaskRegistryError(f"no task for: {', '.join(missing)}")


async def dispatch(deps: TaskDeps, message: AnyMessage) -> None:
    """Carry one message to its end; only a cancellation gets out.

    What may be retried is decided where the row is (``kroma.pipeline``): it is due again later,
    and the sweep finds it. So an error here is unexpected: it is logged, and its lease runs out.
    A message that is being worked on is not taken twice.
    """
    if deps.slots.holds(message):
        return
    async with deps.slots.occupying(message):
        await _carry(deps, message)


async def _carry(deps: TaskDeps, message: AnyMessage) -> None:
    entry = TASKS[type(message)]
    started = perf_counter()
    bound = log.bind(**msgspec.to_builtins(message))  # its tag is "task", the rest are ids
    try:
        async with asyncio.timeout(entry.limit.total_seconds()):
            await entry.function(deps, message)
    except ClaimLostError:
        bound.warning("task.claim_lost")
    except TimeoutError:
        bound.error("task.over_limit", limit_s=entry.limit.total_seconds())
    except Exception:  # noqa: BLE001 - one message must not end the worker
        bound.exception("task.crashed")
    else:
        bound.debug("task.done", duration_ms=round((perf_counter() - started) * 1000, 1))
