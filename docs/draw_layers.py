"""Draw the layers of packages into docs/architecture.md, from the import contracts in pyproject.toml.

``python docs/draw_layers.py`` redraws the picture; with ``--check`` it only checks whether it is up to date.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "architecture.md"
BEGIN: Final = "<!-- begin: drawn by `make docs` -->\n"
END: Final = "<!-- end: drawn by `make docs` -->\n"

IN_A_ROW: Final = 5

Layers = Sequence[Sequence[str]]
"""From the highest to the lowest; the names of one layer stand side by side."""


def contracts(pyproject: str) -> dict[str, Layers]:
    """The layers of each container; those of the packages themselves under an empty name."""
    found = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    return {
        container: [re.split(r"\s*[|:]\s*", layer) for layer in contract["layers"]]
        for contract in found
        if contract["type"] == "layers"
        for container in contract.get("containers", [""])
    }


def drawn(layers: Mapping[str, Layers]) -> str:
    """The picture as Mermaid source; an arrow leads from each layer to the one below it."""
    return "\n".join(["```mermaid", "flowchart TB", *_container("", layers, depth=1), "```", ""])


def _container(name: str, layers: Mapping[str, Layers], *, depth: int) -> Iterator[str]:
    indent = "  " * depth
    below: list[str] = []
    for number, members in enumerate(layers[name], start=1):
        paths = {member: f"{name}.{member}".lstrip(".") for member in members}
        inner = [path for path in paths.values() if path in layers]
        for path in inner:
            title = path.rpartition(".")[2]
            yield f"{indent}subgraph {path if path == title else f'{_id(path)}[{title}]'}"
            yield from _container(path, layers, depth=depth + 1)
            yield f"{indent}end"
        plain = [member for member, path in paths.items() if path not in layers]
        if plain:
            inner.append(f"{_id(name or 'packages')}_{number}")
            rows = [plain[first : first + IN_A_ROW] for first in range(0, len(plain), IN_A_ROW)]
            yield f'{indent}{inner[-1]}["{"<br/>".join(" · ".join(row) for row in rows)}"]'
        below.append(" & ".join(map(_id, inner)))
    yield f"{indent}{' --> '.join(below)}"


def _id(path: str) -> str:
    return path.replace(".", "_")


def redrawn(page: str, picture: str) -> str:
    """The page with this picture between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + picture + END + after


def main() -> int:
    """Redraw the picture, or check it; the exit code is 1 if it is out of date."""
    page = PAGE.read_text()
    wanted = redrawn(page, drawn(contracts((ROOT / "pyproject.toml").read_text())))
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted)
        return 0
    if page != wanted:
        print("docs/architecture.md is out of date with pyproject.toml: run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
