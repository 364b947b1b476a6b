"""Run the benchmarks and write the results into docs/benchmarks.md.

Every module here with a function ``measure(*, smoke: bool)`` is a benchmark; SUPPORT lists the others.
Arguments select benchmarks; the others keep their figures from docs/benchmarks.json. With ``--smoke``,
each runs one small round to show that it works; nothing is judged or written.
"""

import argparse
import ast
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from stack import shared_servers

from kroma.config import LogOptions
from kroma.logs import configure_logs

HERE: Final = Path(__file__).parent
DOCS: Final = HERE.parent / "docs"
SUPPORT: Final = frozenset({"asking", "figures", "paid", "report", "s3_stub", "stack", "style_references"})
PACKAGES: Final = (
    "asyncpg",
    "sqlalchemy",
    "litestar",
    "granian",
    "arq",
    "aioboto3",
    "numpy",
    "opencv-python-headless",
    "pillow",
)
HEADING: Final = """\
# Benchmarks

`make bench` writes this page; `make bench BENCHES="steps pickup"` measures some benchmarks and keeps the
other figures. Each line compares Kroma ("ours") with a raw primitive measured in the same run: ratios can
be compared across machines, times cannot. Times are medians; where another statistic is compared, the
medians are in brackets. The spread is the lowest and the highest ratio when the rounds are divided into
five parts. `load` is the load of the machine before the benchmark started, which affects mainly the 95th
percentiles. `where` is the number of the machine below.
"""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the report, as a benchmark returns it."""

    name: str
    target: str
    ok: bool
    ours_ms: float | None = None
    raw_ms: float | None = None
    p50_ms: list[float] | dict[str, Any] = []
    shown: str = ""
    """Replaces Kroma's time."""
    raw_shown: str = ""
    ratio: float | None = None
    spread: list[float] = []

    def __post_init__(self) -> None:
        if self.ours_ms is None and not self.shown:
            message = f"'{self.name}' has neither ours_ms nor shown"
            raise ValueError(message)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a benchmark."""

    on: str
    """The date."""
    machine: str
    load: float
    took_s: float | None = None
    lines: list[dict[str, Any]]


def benches() -> list[str]:
    """The names of all benchmarks."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in SUPPORT)


def machine() -> str:
    """Machine and versions in one line."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    system = f"{platform.system()} {platform.release().split('-')[0]}, CPython {platform.python_version()}"
    return f"{platform.machine()}, {os.cpu_count()} cores, {system}; {versions}"


def run(name: str, *, smoke: bool) -> Measured:
    """Run one benchmark.

    Raises:
        ValueError: It returned no line.
    """
    load = os.getloadavg()[0]
    began = time.perf_counter()
    found = importlib.import_module(name).measure(smoke=smoke)
    lines = found if isinstance(found, list) else [found]
    if not lines:
        message = f"'{name}' returned no line"
        raise ValueError(message)
    msgspec.convert(lines, list[Line])
    took_s = round(time.perf_counter() - began, 1)
    on = f"{datetime.now(UTC):%Y-%m-%d}"
    return Measured(on=on, machine=machine(), load=round(load, 1), took_s=took_s, lines=lines)


def page(kept: dict[str, Measured]) -> str:
    """The whole report as Markdown."""
    contexts = list(dict.fromkeys(f"{one.on}, {one.machine}." for one in kept.values()))
    text = [HEADING, *(f"{number}. {context}" for number, context in enumerate(contexts, 1)), ""]
    text += [
        "| what | ours | raw | ratio | spread | target | met | load | where |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in kept.values():
        where = str(contexts.index(f"{one.on}, {one.machine}.") + 1)
        for row in msgspec.convert(one.lines, list[Line]):
            text.append(f"| {' | '.join([*_cells(row), str(one.load), where])} |")
    missing = [name for name in benches() if name not in kept]
    if missing:
        text += ["", f"Not measured yet: {', '.join(missing)}."]
    text += ["", "## What is compared", ""]
    for name, one in kept.items():
        about = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
        names = ", ".join(row["name"] for row in one.lines)
        text.append(f"- **{names}** (`bench/{name}.py`): {' '.join(about.split())}")
    return "\n".join(text) + "\n"


def _cells(row: Line) -> list[str]:
    p50 = list(row.p50_ms.values()) if isinstance(row.p50_ms, dict) else row.p50_ms
    ours = row.shown or _time(row.ours_ms, p50[0] if p50 else None)
    raw = row.raw_shown or _time(row.raw_ms, p50[1] if p50 else None)
    ratio = "" if row.ratio is None else f"{row.ratio:g}"
    apart = " to ".join(f"{end:g}" for end in row.spread)
    return [row.name, ours, raw, ratio, apart, row.target, "yes" if row.ok else "**no**"]


def _time(value: float | None, median: float | None) -> str:
    if value is None:
        return ""
    return f"{value:g} ms" if median is None or median == value else f"{value:g} ms ({median:g})"


def smoke_all(names: list[str]) -> None:
    """Run a small round of each benchmark."""
    began = time.perf_counter()
    with shared_servers():
        for name in names:
            print(f"  {name} {run(name, smoke=True).took_s:.1f} s", flush=True)
    print(f"{len(names)} benchmarks work, in {time.perf_counter() - began:.0f} s")


def measure_all(names: list[str]) -> None:
    """Run benchmarks, and write the results after each, so that a failure does not lose the others."""
    figures = DOCS / "benchmarks.json"
    kept = msgspec.json.decode(figures.read_bytes(), type=dict[str, Measured]) if figures.exists() else {}
    # Short benchmarks first, because long ones heat the machine.
    for name in sorted(names, key=lambda name: _took_s(kept, name)):
        kept[name] = run(name, smoke=False)
        kept = {name: kept[name] for name in benches() if name in kept}
        print(json.dumps(kept[name].lines), flush=True)
        figures.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
        (DOCS / "benchmarks.md").write_text(page(kept))
    missed = [row["name"] for name in names for row in kept[name].lines if not row["ok"]]
    if missed:
        sys.exit(f"targets missed: {', '.join(missed)}")


def _took_s(kept: dict[str, Measured], name: str) -> float:
    return kept[name].took_s or 0.0 if name in kept else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run one small round each, write nothing")
    parser.add_argument("names", nargs="*", metavar="benchmark", help="run only these")
    given = parser.parse_args()
    unknown = set(given.names) - set(benches())
    if unknown:
        parser.error(f"unknown benchmarks: {', '.join(sorted(unknown))}; choose from: {', '.join(benches())}")
    configure_logs(LogOptions(level="error"))
    (smoke_all if given.smoke else measure_all)(given.names or benches())


if __name__ == "__main__":
    main()
