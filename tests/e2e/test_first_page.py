"""The steps of the first page, run one after the other as a reader would."""

import io
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from style_references import style_reference
from support.builders.factories import jpeg, scene_png
from support.servers.kroma_stack import Up, environment

pytestmark = pytest.mark.timeout(240)

PAGE = (Path(__file__).parents[2] / "README.md").read_text()
STEPS = PAGE.partition("From here on")[2].partition("And one picture")[0]
STRICT = 'set -euo pipefail; curl() { command curl --fail-with-body --max-time 60 "$@"; }\n'


def blocks() -> list[str]:
    return [
        re.sub(r"^ {3}", "", block, flags=re.MULTILINE)
        for block in re.findall(r"^ *```sh\n(.*?)^ *```$", STEPS, re.MULTILINE | re.DOTALL)
    ]


def last_object(output: str) -> dict[str, Any]:
    """What the last command printed."""
    return json.loads(output[output.rindex('{"ok":') :])


def test_every_step_of_the_first_page_leads_to_the_next(shared_stack: Up, tmp_path: Path) -> None:
    (tmp_path / "harbor.jpg").write_bytes(jpeg(96, 64))
    Image.open(io.BytesIO(scene_png(96, 64, seed=7))).save(tmp_path / "tower.jpg")
    (tmp_path / "ink.png").write_bytes(style_reference("noir ink", size=(120, 160)))
    known = {"KROMA": shared_stack.address, "TOKEN": shared_stack.token()}

    def run(block: str) -> str:
        done = subprocess.run(
            ["bash", "-c", STRICT + block],
            cwd=tmp_path,
            env=environment({}) | known,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-600:] + done.stderr[-600:]
        return done.stdout

    project, upload, trigger, poll, listing, content = blocks()
    run(project)
    known["STYLE"] = last_object(run(upload))["assets"][0]["id"]
    known["RUN"] = last_object(run(trigger))["run"]["id"]
    deadline = time.monotonic() + 90
    while not (polled := last_object(run(poll)))["run"]["done"]:
        assert time.monotonic() < deadline
    assert polled["run"]["status"] == "ok"
    known["ASSET"] = last_object(run(listing))["assets"][0]["id"]
    run(content)
    with Image.open(tmp_path / "picture.png") as picture, Image.open(tmp_path / "small.webp") as small:
        assert (picture.format, small.format) == ("PNG", "WEBP")
        assert max(small.size) <= 512
