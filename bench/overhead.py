"""The platform's cost per stage of a paid picture, compared with one committed UPDATE.

Kroma is a run of one scene with one candidate, from start to end, minus the fixed delay of the
provider's double, divided by its stages: the recorded steps, and the finish, which writes the run log
and ingests it. It includes the ledger's commits, the call over HTTP, the check of the picture and the
writes to the store. The raw side is one UPDATE of one row with its commit, on the same server.
"""

import json
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import asyncpg
import uvloop
from figures import line, p95
from paid import ENVIRONMENT, Buyer, running_double
from sqlalchemy import select
from stack import Stack, running_stack, running_worker

from kroma.pipeline.control.wait import wait_for_end
from kroma.pipeline.execution.steps import STEPS
from kroma.runs.models import Run

SCENE = "harbor.png"
DELAY_S = 0.2
STAGES = len(STEPS) + 1
TARGET = 15.0
UPDATE = "UPDATE projects SET name = $1 WHERE slug = 'bench'"


async def _stage_ms(buyer: Buyer) -> float:
    run = await buyer.trigger((SCENE,), candidates=1)
    await wait_for_end(buyer.db, run.id, timeout=timedelta(seconds=60))
    async with buyer.db.transaction() as session:
        ended = (await session.scalars(select(Run).where(Run.id == run.id))).one()
    if ended.status != "ok" or ended.started_at is None or ended.finished_at is None:
        message = f"the run ended {ended.status}: {ended.error}"
        raise RuntimeError(message)
    return ((ended.finished_at - ended.started_at).total_seconds() - DELAY_S) * 1000 / STAGES


async def _compared(stack: Stack, base_url: str, rounds: int, warm_up: int) -> list[tuple[float, float]]:
    buyer = Buyer(stack)
    await buyer.prepare((SCENE,), base_url=base_url)
    connection = await asyncpg.connect(stack.database_url)
    pairs: list[tuple[float, float]] = []
    # Alternating, so that a busy machine slows both.
    for number in range(rounds + warm_up):
        ours_ms = await _stage_ms(buyer)
        started = time.perf_counter()
        await connection.execute(UPDATE, f"bench {number}")
        pairs.append((ours_ms, (time.perf_counter() - started) * 1000))
    await connection.close()
    await buyer.close()
    return pairs[warm_up:]


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare 95th percentiles on private servers with one worker."""
    rounds, warm_up = (1, 0) if smoke else (60, 5)
    with ExitStack() as opened:
        stack = opened.enter_context(running_stack())
        double = opened.enter_context(running_double(stack.folder, delay_s=DELAY_S))
        opened.enter_context(running_worker(stack, **ENVIRONMENT))
        pairs = uvloop.run(_compared(stack, double.url, rounds, warm_up))
    return line("overhead of a stage", pairs, at_most=TARGET, of=p95)


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
