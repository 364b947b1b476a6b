"""Start-up of the worker."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from kroma import __version__
from kroma.config import Settings, SettingsError
from kroma.db.base import utc_now
from kroma.entry_point import run_service
from kroma.health.components import parts_probes
from kroma.health.probe import Probe, Readiness
from kroma.health.telemetry import serve_telemetry
from kroma.instructions.dispatch import Dispatcher
from kroma.instructions.signature import callback_signer
from kroma.leases.renewer import LeaseRenewer, WorkerHeartbeat
from kroma.ledger.call_scheduler import CallScheduler
from kroma.metrics import SLOTS
from kroma.outbound.client import OutboundClient
from kroma.outbound.guard import UrlGuard
from kroma.pipeline.execution.wiring import WorkerContext
from kroma.postprocess.toolbox import Toolbox
from kroma.provider_accounts.access import access_loader
from kroma.providers import check_default
from kroma.resources import Resources, await_database, open_resources
from kroma.secrets.service import read_secret
from kroma_worker.liveness import Liveness
from kroma_worker.registry import TaskDeps, check_complete, dispatch
from kroma_worker.slots import WorkerSlots
from kroma_worker.tasks import instructions, runs, sync
from kroma_worker.tasks.answers import sweep_answers_for_ever
from kroma_worker.tasks.calls import look_after_calls
from kroma_worker.tasks.sweep import sweep_for_ever

if TYPE_CHECKING:
    from kroma.sync.runner import Synchronizer

log = structlog.get_logger(__name__)

TASK_MODULES: Final = (runs, instructions, sync)
"""Importing a module registers its tasks."""
SHOWN_WITHIN_S: Final = 2.0
SETTLE: Final = timedelta(seconds=30)
"""After the grace time, for paid calls in flight: their answers are money. The supervisor waits longer."""


async def work(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then give back what is under way.

    Raises:
        SettingsError: An address is missing, or a key or provider is wrong.
        WrongSchemaError: The database wants to be migrated.
    """
    settings.refuse_missing_files()
    check_complete()
    check_default(settings)
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
    asked_to_stop = asyncio.ensure_future(stopping.wait())
    slots, liveness, renewer = WorkerSlots(settings.worker_jobs), Liveness(), _renewer(settings, name)
    async with (
        open_resources(settings) as opened,
        agent_dispatcher(opened) as agents,
        serve_telemetry(
            settings.worker_metrics,
            service="worker",
            readiness=worker_readiness(opened, liveness.probe(slots, renewer)),
            db=opened.db,
        ),
    ):
        awaiting = asyncio.ensure_future(await_database(opened))
        await asyncio.wait({awaiting, asked_to_stop}, return_when=asyncio.FIRST_COMPLETED)
        if not awaiting.done():
            awaiting.cancel()
            return
        awaiting.result()
        toolbox = Toolbox(opened.cpu, settings.tools, url_allow=settings.url_allow)
        context = WorkerContext(
            db=opened.db,
            renewer=renewer,
            stores=opened.stores,
            providers=opened.providers,
            cpu=opened.cpu,
            scheduler=CallScheduler(settings.provider_limits),
            load_access=access_loader(opened.db, opened.keyring, settings),
            face_model=settings.face_model,
            toolbox=toolbox,
        )
        deps = TaskDeps(
            context=context,
            queue=opened.queue,
            worker=name,
            agents=agents,
            syncs=cache(partial(synchronizer, opened)),
            slots=slots,
            liveness=liveness,
        )
        SLOTS.labels("busy").set_function(lambda: slots.busy)
        SLOTS.labels("free").set_function(lambda: slots.free)
        context.renewer.start()
        serving: list[asyncio.Future[None]] = [
            asyncio.ensure_future(opened.queue.consume(partial(dispatch, deps), concurrency=slots.slots)),
            asyncio.ensure_future(sweep_for_ever(deps)),
            asyncio.ensure_future(look_after_calls(context)),
            asyncio.ensure_future(sweep_answers_for_ever(opened.stores)),
        ]
        # What start-up made stays: no collection need walk it while a job waits.
        gc.collect()
        gc.freeze()
        # Whoever is told that a worker is ready may ask the API, which looks for it in the table.
        await context.renewer.wait_until_shown(within_s=SHOWN_WITHIN_S)
        announce_ready()
        log.info("worker.ready", worker=name)
        await asyncio.wait({asked_to_stop, *serving}, return_when=asyncio.FIRST_COMPLETED)
        asked_to_stop.cancel()
        for task in serving:
            if task.done() and not task.cancelled():
                # None of them has an end of its own; whoever supervises us starts another worker.
                log.critical("worker.ended_by_itself", exc_info=task.exception())
        await drain(slots, serving, grace=settings.worker_grace)
        await context.scheduler.drain()
        await context.renewer.close()
        await toolbox.close()
    log.info("worker.stopped", worker=name)


async def drain(slots: WorkerSlots, serving: Sequence["asyncio.Future[None]"], *, grace: timedelta) -> None:
    """Take nothing more, let what is nearly done end, give back the rest.

    Whatever is canceled gives its lease back; a paid call in flight is awaited and settled first.
    """
    await slots.close(grace_s=grace.total_seconds())
    for task in serving:
        task.cancel()
    _, unsettled = await asyncio.wait(serving, timeout=SETTLE.total_seconds())
    if unsettled:
        log.warning("worker.left_calls_unsettled")


def _renewer(settings: Settings, name: str) -> LeaseRenewer:
    if settings.database_url is None:
        raise SettingsError("KROMA_DATABASE_URL is not set")
    heartbeat = WorkerHeartbeat(
        name=name, host=socket.gethostname(), pid=os.getpid(), version=__version__, started_at=utc_now()
    )
    return LeaseRenewer(
        settings.database_url, lease=settings.lease, renew_every=settings.lease / 3, heartbeat=heartbeat
    )


def worker_readiness(opened: Resources, own: Probe) -> Readiness:
    """What a worker looks at to know whether it is ready."""
    return Readiness([*parts_probes(opened.db, opened.queue, opened.stores), own])


@asynccontextmanager
async def agent_dispatcher(opened: Resources) -> AsyncGenerator[Dispatcher]:
    """What carries instructions to agents.

    Raises:
        SettingsError: The callback key cannot be read or written.
    """
    settings = opened.settings
    try:
        signer = callback_signer(settings)
    except OSError as exc:
        raise SettingsError(f"KROMA_CALLBACK_KEY is not set, and its file cannot be used: {exc}") from exc
    client = OutboundClient(UrlGuard(settings.url_allow))
    try:
        yield Dispatcher(
            db=opened.db,
            client=client,
            options=settings.agent,
            public_url=settings.public_url,
            signer=signer,
            read_secret=partial(read_secret, keyring=opened.keyring),
        )
    finally:
        await client.close()


def synchronizer(opened: Resources) -> "Synchronizer":
    """What carries syncs."""
    from kroma.sync.runner import Synchronizer  # noqa: PLC0415 - a client that most workers need not carry

    return Synchronizer(db=opened.db, stores=opened.stores, keyring=opened.keyring, settings=opened.settings)


def announce_ready() -> None:
    """Tell the supervisor, on the file descriptor that it named."""
    descriptor = os.environ.get("KROMA_READY_FD", "")
    if descriptor.isdigit():
        with os.fdopen(int(descriptor), "w") as pipe:
            pipe.write("ready\n")


def main() -> None:
    """Run the worker."""
    run_service("kroma_worker", work)
