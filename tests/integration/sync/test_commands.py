"""``kroma sync``, ``restore`` and ``verify``, as processes of their own."""

import asyncio
import json
from typing import Any

import pytest

from support.doubles.s3_double import S3Double
from support.harness.sync_harness import Office
from support.harness.worker_harness import url_of
from support.servers.kroma_stack import kroma

pytestmark = pytest.mark.timeout(120)


async def command(office: Office, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = await asyncio.to_thread(
        kroma,
        *(*arguments, "comic", "--json"),
        KROMA_DATABASE_URL=url_of(office.db),
        KROMA_DATA_DIR=str(office.settings.data_dir),
        KROMA_URL_ALLOW="127.0.0.1",
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


async def test_a_project_goes_there_and_comes_back(office: Office) -> None:
    code, synced = await command(office, "sync")
    assert (code, synced["ok"], synced["copied"], synced["status"]) == (0, True, 2, "done")
    (office.root / "scenes" / "a.png").unlink()

    code, verified = await command(office, "verify")
    assert (code, verified["ok"], verified["extra_names"]) == (1, False, ["scenes/a.png"])
    code, restored = await command(office, "restore")

    assert (code, restored["copied"]) == (0, 1)
    assert (office.root / "scenes" / "a.png").read_bytes() == b"one"
    assert [event for event, _ in await office.trail()] == ["storage.sync.start", "storage.sync.end"] * 3


async def test_what_goes_wrong_is_one_line_and_an_exit_code(office: Office, double: S3Double) -> None:
    await office.set_storage(s3_bucket="nobodys")
    code, failed = await command(office, "sync")
    assert (code, failed["status"], failed["error_code"]) == (1, "failed", "bucket_not_found")
    assert double.asked

    await office.set_storage(s3_enabled=False)
    done = await asyncio.to_thread(
        kroma,
        *("sync", "comic"),
        KROMA_DATABASE_URL=url_of(office.db),
        KROMA_DATA_DIR=str(office.settings.data_dir),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kroma: S3 sync is disabled for this project")
    code, refused = await command(office, "verify")
    assert (code, refused["ok"], refused["error_code"]) == (2, False, "s3_sync_disabled")
    assert refused["error"].startswith("S3 sync is disabled for this project")


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["for people", "for programs"])
async def test_names_that_hold_terminal_escapes_are_shown(office: Office, as_json: list[str]) -> None:
    (office.root / "scenes" / "a\x1b]0;owned\x07\x9b\u202e.png").write_bytes(b"two")
    for name in ("verify", "sync"):
        done = await asyncio.to_thread(
            kroma,
            *(name, "comic", *(["--dry-run"] if name == "sync" else []), *as_json),
            KROMA_DATABASE_URL=url_of(office.db),
            KROMA_DATA_DIR=str(office.settings.data_dir),
            KROMA_URL_ALLOW="127.0.0.1",
        )
        output = done.stdout + done.stderr
        assert "owned" in output
        assert [part for part in output if part != "\n" and not part.isprintable()] == []
