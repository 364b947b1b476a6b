"""One siege, from the first start to the verdicts."""

import asyncio
import os
import resource
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import httpx

from siege import bombs, doors, floods, matrix, page, remotes, roots, search
from siege.evidence import Evidence
from siege.plan import Size
from siege.planted import Planted
from siege.rules import Verdict, at_most, none_of
from siege.stack import MIB, Prober, Stack, Watch
from siege.targets import Field, build

Attack = Callable[[Field], Awaitable[list[Verdict]]]

ATTACKS: Final[dict[str, Attack]] = {
    "matrix": matrix.attack,
    "roots": roots.attack,
    "page": page.attack,
    "doors": doors.attack,
    "floods": floods.attack,
    "bombs": bombs.attack,
    "remotes": remotes.attack,
}
"""In this order: the matrix wants the projects as they were made."""
MOST_MEMORY_MB: Final = 400.0
MOST_WORKER_MB: Final = 600.0
"""The worker holds a picture or two itself while it sends and receives them."""
LONGEST_ATTACK_S: Final = 150.0
"""An attack that takes longer is broken itself, or the stack is."""
_MB: Final = 1000 * 1000


def lay(
    folder: Path, size: Size, *, seed: int, only: Sequence[str] = (), say: Callable[[str], None]
) -> list[Verdict]:
    """Lay siege in a folder; the verdicts in the order of the attacks.

    Args:
        folder: Made for the stack's data and logs.
        size: How much of everything.
        seed: Decides the order of what has none, and which hostile answers a short siege tries.
        only: Attacks by name; none takes all.
        say: Gets a line for every attack.
    """
    _allow_files()
    planted = Planted(seed)
    with Stack(folder, planted) as stack:
        # What we put into projects is as private as what the stack puts there.
        os.umask(0o077)
        watch = Watch(stack.state["pids"]["api"], stack.state["pids"]["worker"])
        try:
            verdicts = asyncio.run(_attacks(stack, watch, size, seed=seed, only=only, say=say))
        finally:
            watch.stop()
        say(f"  memory of the API by phase, in MB: {_by_phase(watch)}")
        verdicts += _of_memory(watch)
        code = stack.stop()
        left = stack.left_behind()
    ended = [] if code == 0 else [f"`kroma up` ended with status {code}"]
    ended += [f"process {pid} was left behind" for pid in left]
    ended += [f"the {part} ended by itself" for part in watch.lost]
    return [
        *verdicts,
        none_of("the stack stands, and ends when it is told to", ended, tried=1, what="stacks"),
    ]


async def _attacks(
    stack: Stack, watch: Watch, size: Size, *, seed: int, only: Sequence[str], say: Callable[[str], None]
) -> list[Verdict]:
    evidence = Evidence(stack.folder / "evidence")
    limits = httpx.Limits(max_connections=64)
    # A client that reads no proxy and no .netrc: it uses loopback alone.
    async with httpx.AsyncClient(
        base_url=stack.up.address, timeout=60, limits=limits, trust_env=False
    ) as client:
        field = await build(stack, evidence, client, seed)
        field.size, field.watch, field.say = size, watch, say
        prober = Prober(stack.up.address, field.neighbor_whole.token or "", _timed_paths(field))
        field.prober = prober
        try:
            before = await search.untouchable(field)
            field.begin("unladen")
            await asyncio.sleep(size.unladen_s)
            field.begin("")
            verdicts: list[Verdict] = []
            for name, attack in ATTACKS.items():
                if only and name not in only:
                    continue
                began = time.monotonic()
                # A phase of its own where the attack does not name its phases itself.
                field.begin(name)
                verdicts += await _carried_out(name, attack, field)
                field.begin("")
                say(f"{name}: {time.monotonic() - began:.0f} s")
            samples = prober.end()
            for line in doors.slowest(samples):
                say(f"  {line}")
            verdicts += doors.judged(samples, only=only)
            verdicts += await search.verdicts(field, before)
        finally:
            prober.kill()
            evidence.close()
    return verdicts


async def _carried_out(name: str, attack: Attack, field: Field) -> list[Verdict]:
    """The attack's verdicts; one that breaks off is a broken rule, and the others are still laid."""
    try:
        async with asyncio.timeout(LONGEST_ATTACK_S):
            return await attack(field)
    except (RuntimeError, TimeoutError, httpx.HTTPError, OSError) as exc:
        return [none_of(f"the attack '{name}' is carried out", [repr(exc)], tried=1, what="attacks")]


def _timed_paths(field: Field) -> list[str]:
    at = field.neighbor.path
    return ["/health", at, f"{at}/assets", f"{at}/runs/{field.neighbor.known['run_id']}"]


def _by_phase(watch: Watch) -> str:
    return ", ".join(
        f"{phase} {mib * MIB / _MB:.0f}" for (part, phase), mib in watch.peaks.items() if part == "api"
    )


def _of_memory(watch: Watch) -> list[Verdict]:
    peaks = [(mib * MIB / _MB, phase) for (part, phase), mib in watch.peaks.items() if part == "api"]
    most, phase = max(peaks, default=(0.0, ""))
    pictures, worker = watch.peak("pictures") * MIB / _MB, watch.peak("worker") * MIB / _MB
    note = f" in '{phase}' (a picture process {pictures:.0f})"
    return [
        at_most("resident memory of the API process", most, MOST_MEMORY_MB, "MB", note=note),
        at_most("resident memory of the worker process", worker, MOST_WORKER_MB, "MB"),
    ]


def _allow_files() -> None:
    """Thousands of sockets at a time."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
