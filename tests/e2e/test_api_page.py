"""The examples of docs/api.md, run one after the other as a reader would."""

import re
import subprocess
from pathlib import Path

import pytest

from support.servers.kroma_stack import Up, environment

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"
# Fails where curl alone would print an error's body and go on.
STRICT = 'set -euo pipefail; curl() { command curl --fail-with-body --max-time 100 "$@"; }\n'


def commands() -> str:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return "".join(
        line for line in "".join(blocks).splitlines(keepends=True) if not line.startswith("export ")
    )


def test_every_command_of_the_page_succeeds(shared_stack: Up) -> None:
    done = subprocess.run(
        ["bash", "-x", "-c", STRICT + commands()],
        cwd=ROOT,
        env=environment({}) | {"KROMA": shared_stack.address, "TOKEN": shared_stack.token()},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-600:] + done.stderr[-1200:]
    assert '"ok":false' not in done.stdout
    assert done.stdout.count('"ok":true') >= 30


def test_the_page_shows_every_group_of_routes() -> None:
    for group in (
        *("health", "auth/token", "api/projects", "storage/local", "storage/s3", "bootstrap-prompt"),
        *(
            "bootstrap-import",
            "undo",
            "runs/trigger",
            "validate-config",
            "jobs",
            "log",
            "assets",
            "asset-links",
        ),
        *(
            "quality-reports",
            "cost-events",
            "exports",
            "prompt-templates",
            "provider-accounts",
            "style-guides",
        ),
        *(
            "characters",
            "reference-sets",
            "items",
            "chat/sessions",
            "messages",
            "agent/instructions",
            "confirm",
        ),
        *("events", "secrets", "rotation-status", "rotate", "audit-events"),
    ):
        assert group in commands(), group
