"""Run every bench and write what they measured into docs/benchmarks.md."""

import importlib.metadata
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bootstrap
import claim_backlog
import codec
import colour
import guard
import health
import ingest
import lists
import local
import memory
import overhead
import pickup
import quality
import redis_away
import saturation
import steps
import trigger
import workers

REPORT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BENCHES = (
    guard,
    local,
    colour,
    codec,
    quality,
    trigger,
    pickup,
    redis_away,
    steps,
    overhead,
    ingest,
    memory,
    health,
    bootstrap,
    lists,
    saturation,
    claim_backlog,
    workers,
)
"""Small before large: a long one must not heat the machine for a short one."""
PACKAGES = (
    "asyncpg",
    "sqlalchemy",
    "litestar",
    "granian",
    "arq",
    "numpy",
    "opencv-python-headless",
    "pillow",
)


def page(results: list[dict[str, Any]]) -> str:
    """The whole report as Markdown."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    system = f"{platform.system()} {platform.release().split('-')[0]}, CPython {platform.python_version()}"
    machine = f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, {system}"
    machine += f", load {os.getloadavg()[0]:.1f}"  # others' work shows in 95th percentiles
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Each line stands beside a raw primitive measured in the same run:",
        "the ratio travels between machines, the times do not.",
        "",
        f"{machine}; {versions}.",
        "",
        "| what | ours | raw | ratio | target | held |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        ours, raw = result.get("ours_ms"), result.get("raw_ms")
        shown = result["shown"] if ours is None else f"{ours} ms"
        cells = [
            result["name"],
            shown,
            "" if raw is None else f"{raw} ms",
            str(result.get("ratio", "")),
            result["target"],
            "yes" if result["ok"] else "**no**",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## What is compared", ""]
    for bench, result in zip(BENCHES, results, strict=True):
        text = " ".join((bench.__doc__ or "").split())
        lines += [f"- **{result['name']}** (`bench/{bench.__name__}.py`): {text}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    results: list[dict[str, Any]] = []
    for bench in BENCHES:
        results.append(bench.measure())
        print(json.dumps(results[-1]), flush=True)
    REPORT.write_text(page(results))
    if not all(result["ok"] for result in results):
        sys.exit("a target was missed")


if __name__ == "__main__":
    main()
