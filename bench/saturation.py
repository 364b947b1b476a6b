"""How well 100 runs of 2 scenes with 4 candidates each use a limit of 16 concurrent provider calls.

The double responds two seconds after it accepted a call (a real provider takes ten or more). Its own
record counts, from accepting to responding; the time to reach it and to read the response does not
count as busy. Measured on warm workers from the first call until fewer than 16 are left. The raw side
is 16 calls at all times.
"""

import json
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import uvloop
from paid import ENVIRONMENT, Buyer, running_double
from stack import Stack, running_stack, running_worker

from kroma.pipeline.control.wait import wait_for_end

RUNS = 100
SCENES = ("harbor.png", "tower.png")
CANDIDATES = 4
SLOTS = 16
DELAY_S = 2.0
TARGET = 0.95
WORKERS = 2
WARM_UP = 4


async def _buy(stack: Stack, base_url: str, warm_up: int, runs: int) -> None:
    buyer = Buyer(stack)
    await buyer.prepare(SCENES, base_url=base_url)
    for count in (warm_up, runs):
        made = [await buyer.trigger(SCENES, candidates=CANDIDATES) for _ in range(count)]
        for run in made:
            await wait_for_end(buyer.db, run.id, timeout=timedelta(minutes=10))
    await buyer.close()


def busy_share(accepted_at: list[float], *, slots: int, delay_s: float) -> float:
    """The share of slots in use, from the first call until fewer calls than slots are left."""
    begins = sorted(accepted_at)
    until = sorted(moment + delay_s for moment in begins)[-slots]
    busy_s = sum(max(0.0, min(moment + delay_s, until) - moment) for moment in begins)
    return busy_s / (slots * (until - begins[0]))


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Measure on private servers with two workers."""
    warm_up, runs, workers, delay_s = (0, 2, 1, 0.01) if smoke else (WARM_UP, RUNS, WORKERS, DELAY_S)
    with ExitStack() as opened:
        stack = opened.enter_context(running_stack())
        double = opened.enter_context(running_double(stack.folder, delay_s=delay_s))
        for _ in range(workers):
            opened.enter_context(running_worker(stack, **ENVIRONMENT))
        uvloop.run(_buy(stack, double.url, warm_up, runs))
        accepted_at = double.accepted_at()[warm_up * len(SCENES) * CANDIDATES :]
    share = busy_share(accepted_at, slots=SLOTS, delay_s=delay_s)
    return {
        "name": "saturation",
        "shown": f"{len(accepted_at)} calls, {share:.1%} of {SLOTS} slots busy",
        "ratio": round(share, 3),
        "target": f">={TARGET:g}",
        "ok": share >= TARGET,
    }


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
