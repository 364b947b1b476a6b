"""A worker without Redis: how soon it finds work in the tables, and how soon Redis wakes it again.

Redis is killed and frozen in turn under an idle worker. While it is away, runs are triggered at
irregular moments; the time is from the trigger's transaction to the first step. After Redis returns,
runs are triggered until it wakes the worker again, which is when three in a row start within a quarter
of the second between two polls of the tables; the time is from Redis's return to the first step of the
first of them.
"""

import asyncio
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from figures import p95
from pickup import first_step_at
from stack import Stack, running_stack, running_worker

from kroma.config import LogOptions, Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.embedded.valkey import EmbeddedValkey
from kroma.logs import configure_logs
from kroma.pipeline.control.trigger import trigger_run
from kroma.pipeline.control.wait import wait_for_end
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.providers.fake import FakeProvider
from kroma.queue.arq import ArqTaskQueue
from kroma.runs.models import RunMode
from kroma.storage.directory import DirectoryStores, resolve_root
from style_references import style_reference

FOUND_TARGET_S = 2.0
BACK_TARGET_S = 5.0
AFTER_REDIS_S = 0.25
IN_A_ROW = 3
FOUND = 8
"""Runs triggered during each absence."""


class _Trigger:
    def __init__(self, stack: Stack) -> None:
        self.db, self.queue = Database.connect(stack.database_url), ArqTaskQueue(stack.redis_url)
        self._settings = Settings.from_environment({"KROMA_PROVIDER": "fake"}, data_dir=stack.folder)
        self._stores = DirectoryStores(stack.folder, allow_any_root=False)
        self._spec = RunSpec(mode=RunMode.RUN, scene_refs=("scene.png",), candidates=1)

    async def prepare(self) -> None:
        await upsert_project(self.db, self._stores, ProjectDraft.checked(name="bench"), actor=None)
        root = resolve_root(self._settings.data_dir, "bench", None)
        root.mkdir(parents=True)
        (root / "scene.png").write_bytes(style_reference("noir ink", size=(160, 200)))

    async def picked_up_s(self) -> tuple[float, float]:
        """Seconds from the trigger's transaction to the first step, and the Unix time of that step."""
        providers = {"fake": FakeProvider()}
        run = await trigger_run(
            self.db,
            self.queue,
            self._stores,
            self._settings,
            slug="bench",
            spec=self._spec,
            providers=providers,
            cpu=CpuPool(1),
        )
        await wait_for_end(self.db, run.id, timeout=timedelta(minutes=1))
        first = await first_step_at(self.db, run)
        return (first - run.created_at).total_seconds(), first.timestamp()

    async def close(self) -> None:
        await self.queue.close()
        await self.db.close()


def _leave(valkey: EmbeddedValkey, how: str) -> None:
    if how == "killed":
        valkey.stop()
    else:
        os.kill(valkey.pid or 0, signal.SIGSTOP)


def _return(valkey: EmbeddedValkey, how: str) -> None:
    if how == "killed":
        valkey.start()
    else:
        os.kill(valkey.pid or 0, signal.SIGCONT)


async def _measured(
    stack: Stack, valkey: EmbeddedValkey, absences: Sequence[str], runs: int
) -> tuple[list[float], list[float]]:
    trigger = _Trigger(stack)
    await trigger.prepare()
    await trigger.picked_up_s()
    found: list[float] = []
    back: list[float] = []
    for how in absences:
        _leave(valkey, how)
        for number in range(runs):
            found.append((await trigger.picked_up_s())[0])
            await asyncio.sleep(number / runs)
        _return(valkey, how)
        returned = time.time()
        woken: list[float] = []
        while len(woken) < IN_A_ROW:
            took, first = await trigger.picked_up_s()
            woken = [*woken, first] if took <= AFTER_REDIS_S else []
        back.append(woken[0] - returned)
    await trigger.close()
    return found, back


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Measure on private servers, with a separate Valkey and one worker."""
    absences, runs = (("frozen",), 1) if smoke else (("killed", "frozen") * 2, FOUND)
    configure_logs(LogOptions(level="error"))  # every trigger warns that Redis is down
    with ExitStack() as opened:
        stack = opened.enter_context(running_stack())
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="kroma-bench-")))
        valkey = EmbeddedValkey(folder)
        valkey.start()
        opened.callback(valkey.stop)
        stack = msgspec.structs.replace(stack, redis_url=valkey.url)
        opened.enter_context(running_worker(stack, KROMA_PROVIDER="fake"))
        found, back = uvloop.run(_measured(stack, valkey, absences, runs))
    found_shown = f"{statistics.median(found):.2f}/{p95(found):.2f} s"
    return {
        "name": "Redis away",
        "shown": f"found without Redis {found_shown} (p50/p95), woken by Redis again after {max(back):.2f} s",
        "target": f"<={FOUND_TARGET_S:g} s, <={BACK_TARGET_S:g} s",
        "ok": p95(found) <= FOUND_TARGET_S and max(back) <= BACK_TARGET_S,
        "found_s": {"p50": round(statistics.median(found), 2), "p95": round(p95(found), 2)},
        "back_s": [round(seconds, 2) for seconds in back],
    }


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
