"""``kroma demo``: the main job on real photographs, over HTTP like any client."""

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Final

import httpx
import msgspec
import typer

from kroma.cli.console import Bar, Exit, bars, busy, complain, say, show_table
from kroma.cli.sheet import draw
from kroma.config import Bind, Settings, StoreOptions
from kroma.errors import InfraError
from kroma.supervisor.stack import interruptible, running_stack
from kroma.supervisor.token_file import find_token

PHOTOGRAPHS: Final = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
"""Public domain, as scikit-image ships them: NASA, Stéfan van der Walt, Rachel Michetti, SpaceX."""
REFERENCES: Final = Path(__file__).parent / "references"
"""Two style references, both gray: a noir ink street and an ink-wash landscape."""
CANDIDATES: Final = 2
VARIATIONS: Final = (
    ("time: night", {"stage": "time", "time": "night"}, "cinematic_warm"),
    ("weather: rain", {"stage": "weather", "time": "day", "weather": "rain"}, "cold_rain"),
)
"""Name, fields of the order, and the color profile its winners are graded with."""
STYLES: Final = ("styles/noir-ink.png", "styles/ink-wash.png")
POLL_S: Final = 0.2


class PhotographsMissingError(InfraError):
    """The extra that brings the demo's photographs is not installed."""

    text = "The demo's photographs are not installed; install kroma-studio[demo]"


class DemoFailedError(InfraError):
    """The stack answered the demo with an error, or its run failed."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"The demo failed at {what}: {reason}")


class MadeStage(msgspec.Struct, frozen=True, kw_only=True):
    """One finished stage, as the API told it."""

    name: str
    run: dict[str, Any]
    jobs: list[dict[str, Any]]


def demo(
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="Working folder.", show_default="var/demo"),
    ] = None,
) -> None:
    """Redraw four photographs by day, by night and in the rain, and write a contact sheet."""
    settings = Settings.from_environment(data_dir=data_dir or Path("var") / "demo")
    # Servers, a port and a folder of its own, whatever else runs here.
    own = msgspec.structs.replace(
        settings,
        database_url=None,
        redis_url=None,
        bind=Bind(host="127.0.0.1", port=0),
        store=StoreOptions(),
    )
    if not asyncio.run(interruptible(_demo(own))):
        sys.exit(Exit.INTERRUPTED)


async def _demo(settings: Settings) -> None:
    started = perf_counter()
    photographs = _photographs()
    with busy("Starting Kroma"):
        stack = running_stack(settings, report=complain)
        running = await stack.__aenter__()
    try:
        say(f"Kroma is ready at {running.address}")
        token = find_token(settings.data_dir)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=running.address, headers=headers, timeout=30) as client:
            slug = await _prepare(client, photographs)
            made = await _make(client, slug)
            costs = (await _answer(client, "GET", f"/api/projects/{slug}/cost-events"))["cost_events"]
        _show(made, costs)
        with busy("Drawing the contact sheet"):
            path = await draw(settings, [stage.run["id"] for stage in made])
    finally:
        await stack.__aexit__(None, None, None)
    say(f"Done in {perf_counter() - started:.1f} s; everything is stopped. The contact sheet:")
    say(path)


async def _make(client: httpx.AsyncClient, slug: str) -> list[MadeStage]:
    """Style first; its winners, locked as the baseline, are what night and rain begin with."""
    style = await _run(client, slug, "style", {"input": "scenes", "candidates": CANDIDATES})
    lock = f"/api/projects/{slug}/runs/{style.run['id']}/lock-baseline"
    locked = (await _answer(client, "POST", lock, {}))["baselines"]
    say(f"Locked the {len(locked)} winners as the baseline")
    made = [style]
    for name, varied, profile in VARIATIONS:
        order = {
            **varied,
            "baseline_run_id": style.run["id"],
            "candidates": 1,
            "postprocess": {"upscale": True, "color": True, "color_profile": profile},
        }
        made.append(await _run(client, slug, name, order))
    return made


def _photographs() -> dict[str, Path]:
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise PhotographsMissingError
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return {name: folder / name for name in PHOTOGRAPHS}


async def _prepare(client: httpx.AsyncClient, photographs: dict[str, Path]) -> str:
    """Make the project and put its pictures in.

    Returns:
        Its slug.
    """
    made = await _answer(client, "POST", "/api/projects", {"name": "Demo"})
    root = Path(made["storage"]["local"]["project_root"])
    pictures = {f"scenes/{name}": path.read_bytes() for name, path in photographs.items()}
    pictures |= {f"styles/{path.name}": path.read_bytes() for path in REFERENCES.iterdir()}
    for name, data in pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return made["project"]["slug"]


async def _run(client: httpx.AsyncClient, slug: str, name: str, order: dict[str, Any]) -> MadeStage:
    """Trigger, and watch until the end."""
    order = {"mode": "run", "confirm_spend": True, "style_refs": STYLES, **order}
    triggered = await _answer(client, "POST", f"/api/projects/{slug}/runs/trigger", order)
    where = triggered["links"]["self"]
    say(f"Stage {name}")
    with bars(stays=True) as shown:
        of_jobs: dict[str, Bar] = {}
        while True:
            detail = await _answer(client, "GET", where)
            for job in detail["jobs"]:
                if job["id"] not in of_jobs:
                    of_jobs[job["id"]] = shown.add(f"  {job['job_key']}", total=order["candidates"] + 1)
                ended = job["status"] not in {"queued", "running"}
                shown.show(of_jobs[job["id"]], done=len(job["candidates"]) + ended, told=job["status"])
            if detail["run"]["done"]:
                break
            await asyncio.sleep(POLL_S)
    if detail["run"]["status"] != "ok":
        raise DemoFailedError(f"stage {name}", detail["run"]["error"] or detail["run"]["status"])
    return MadeStage(name=name, run=detail["run"], jobs=detail["jobs"])


async def _answer(client: httpx.AsyncClient, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    reply = await client.request(method, path, json=body)
    if reply.is_error:
        raise DemoFailedError(f"{method} {path}", reply.json()["error"])
    return reply.json()


def _show(made: list[MadeStage], costs: list[dict[str, Any]]) -> None:
    rows: list[tuple[str, ...] | None] = []
    for stage in made:
        spent = [event for event in costs if event["run_id"] == stage.run["id"]]
        for job in stage.jobs:
            log = job["meta_json"]
            winner = next(
                c for c in log["candidates"] if c["candidate_index"] == job["selected_candidate_index"]
            )
            finished = winner.get("final_file", winner["file"])
            cost = sum(event["total_cost_usd"] for event in spent if event["job_id"] == job["job_key"])
            row = (
                stage.name,
                job["job_key"],
                f"{job['selected_candidate_index']}",
                f"{winner['quality']['score']:.2f}",
                f"{finished['width']}x{finished['height']}",
                f"{_took_s(log):.1f} s",
                f"${cost:.2f}",
            )
            rows.append(row)
        rows.append(None)
    headings = ("stage", "job", "winner", "quality", "finished", "time", "cost")
    show_table(rows, headings=headings, title="What was made")


def _took_s(log: dict[str, Any]) -> float:
    """How long a job's steps took; those with a slash in their name are parts of others."""
    return sum(step["duration_ms"] for step in log["steps"] if "/" not in step["name"]) / 1000
