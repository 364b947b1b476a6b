"""Descriptions in the OpenAPI document are sentences or noun phrases, not the second half of one."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "openapi.json"
DANGLING: Final = re.compile(r"(?:.*`: )?(?:Of|As|By|Where|Which|Whose)\b")
"""A description, or one tool's part of it, that begins in the middle of a sentence."""


def descriptions(node: Any) -> Iterator[str]:
    match node:
        case dict():
            if isinstance(text := node.get("description"), str):
                yield text
            for key, inner in node.items():
                if key != "example":
                    yield from descriptions(inner)
        case list():
            for inner in node:
                yield from descriptions(inner)
        case _:
            pass


def test_no_description_begins_in_the_middle_of_a_sentence() -> None:
    found = set(descriptions(json.loads(DOCUMENT.read_text())))

    assert len(found) > 500
    assert sorted(text for text in found if DANGLING.match(text)) == []


def test_a_dangling_beginning_is_found() -> None:
    dangling = ("Of `upscale`.", "As in the path.", "For `upscale`: Of JPEG.")

    assert all(DANGLING.match(text) for text in dangling)
    assert not DANGLING.match("Assets of a project.")
