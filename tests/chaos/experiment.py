"""One experiment, from the first start to the verdict."""

import asyncio
import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import msgspec

from chaos.checker import findings
from chaos.customers import Customers
from chaos.history import History, read_history
from chaos.plan import Plan, weather
from chaos.stack import Stack

QUIET_AFTER_S: Final = 180.0
"""After the last break: a lease, a retry or two, the minute for which a lost call may still be answered."""
TICK_S: Final = 0.05


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment came to."""

    figures: dict[str, Any]
    wrong: list[str]


class Background:
    """An event loop in a thread: customers live beside the thread that owns the processes."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Carry it to its end."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def begin(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Begin it; its future."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        """Drop what is still under way, and end the thread."""
        self.do(self._drop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _drop(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def experiment(
    plan: Plan, folder: Path, *, lease_s: float | None = None, say: Callable[[str], None]
) -> Outcome:
    """Carry out a plan in a folder, and judge what it left; call it from the main thread.

    Args:
        plan: What to ask for and what to break.
        folder: Made for the stack's data and logs.
        lease_s: How long a worker's lease holds; None takes the product's.
        say: Gets a line for every break.
    """
    stack = Stack(folder, seed=plan.seed, lease_s=lease_s)
    background = Background()
    try:
        stack.start()
        customers = background.do(_customers(stack))
        background.do(customers.build(stack.provider_url))
        stack.set_weather(msgspec.json.encode(weather()))
        began = time.monotonic()
        say(f"started; {plan.length_s:.0f} s of breaking things")
        placed = [
            background.begin(_at(began, order.at_s, customers.location(order))) for order in plan.orders
        ]
        placed += [
            background.begin(_at(began, pause.at_s, customers.interrupt(pause))) for pause in plan.pauses
        ]
        clerk = background.begin(customers.keep_deciding(stack.bills))
        _break_things(stack, plan, began, say)
        clerk.cancel()
        stack.mend()
        say("mended; waiting until it is quiet")
        quiet_s = _wait_until_quiet(stack, customers, background, placed)
        for future in placed:
            if future.done() and (error := future.exception()) is not None:
                customers.told.complain(f"a customer stumbled: {error!r}")
        history = background.do(
            read_history(
                stack.database_url,
                roots={UUID(house.project_id): house.root for house in customers.houses},
                bills=stack.bills,
                told=customers.told,
            )
        )
        (folder / "told.json").write_bytes(msgspec.json.format(msgspec.json.encode(customers.told)))
        background.do(customers.close())
        wrong = [*stack.accidents, *findings(history)]
        figures = _figures(plan, history) | {"seconds": round(time.monotonic() - began), "quiet_s": quiet_s}
        return Outcome(figures=figures, wrong=wrong)
    finally:
        background.close()
        stack.stop()


async def _customers(stack: Stack) -> Customers:
    async with httpx.AsyncClient() as client:
        made = await client.post(f"{stack.api_url}/auth/token", json={"label": "chaos"})
        token = made.raise_for_status().json()["auth_token"]["token"]
    return Customers(stack.api_url, token)


async def _at(began: float, at_s: float, work: Coroutine[Any, Any, None]) -> None:
    await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
    await work


def _break_things(stack: Stack, plan: Plan, began: float, say: Callable[[str], None]) -> None:
    """Do every break at its time, and mend it after its own."""
    number = count()
    due: list[tuple[float, int, str, Callable[[], Callable[[], None] | None], float]] = [
        (it.at_s, next(number), it.what, lambda it=it: stack.break_part(it), it.for_s)
        for it in plan.disturbances
    ]
    heapq.heapify(due)
    while due or time.monotonic() < began + plan.length_s:
        now = time.monotonic() - began
        while due and due[0][0] <= now:
            _, _, what, act, for_s = heapq.heappop(due)
            say(f"{now:6.1f} s  {what}" + (f" for {for_s:.1f} s" if for_s else ""))
            mend = act()
            if mend is not None:
                heapq.heappush(due, (now + for_s, next(number), "    mended", mend, 0.0))
        stack.look_after()
        time.sleep(TICK_S)


def _wait_until_quiet(stack: Stack, customers: Customers, background: Background, placed: list[Any]) -> float:
    """Until nothing is open; a person decides the calls whose answer was lost, by the bill."""
    began = time.monotonic()
    while time.monotonic() - began < QUIET_AFTER_S:
        stack.look_after()
        if stack.provider_state()["in_flight"] == 0:
            background.do(customers.decide_lost_answers(stack.bills, older_than=timedelta()))
        if all(future.done() for future in placed) and background.do(customers.open_work()) == 0:
            break
        time.sleep(1)
    return round(time.monotonic() - began, 1)


def _figures(plan: Plan, history: History) -> dict[str, Any]:
    told = history.told
    return {
        "seed": plan.seed,
        "orders": len(plan.orders),
        "runs": len(history.runs),
        "ends": dict(Counter(run.status for run in history.runs)),
        "jobs": dict(Counter(job.status for job in history.jobs)),
        "kills": plan.kills,
        "breaks": dict(Counter(disturbance.what.value for disturbance in plan.disturbances)),
        "calls": dict(Counter(call.status for call in history.calls)),
        "refusals": dict(
            Counter(call.error or "" for call in history.calls if call.status in {"refused", "unknown"})
        ),
        "resolved": sum(call.resolution is not None for call in history.calls),
        "billed": len(history.bills),
        "claims": sum(job.fence for job in history.jobs),
        "replayed": told.replayed,
        "asked_again": told.failures,
        "turned_away": told.turned_away,
        "errors": dict(Counter(job.error_code for job in history.jobs if job.error_code)),
    }
