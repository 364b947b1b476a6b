"""A studio whose machines share no disk: files in a bucket, work in the database, nothing else in common."""

import io
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from style_references import style_reference
from support.builders.factories import scene_png
from support.servers.api_process import environment, served
from support.servers.databases import copied
from support.servers.kroma_stack import BODY
from support.servers.postgres_and_valkey import Addresses
from support.servers.s3_server import s3_environment

pytestmark = pytest.mark.timeout(180)

SCENES = ("harbor", "tower", "bridge")
PICTURES = ("*.png", "*.json", "*.jpg", "*.webp")


@pytest.fixture
def variables(server_addresses: Addresses, s3_server: str, s3_bucket: str) -> Iterator[dict[str, str]]:
    """What all machines of the studio are told."""
    for url in copied(server_addresses):
        yield {
            **s3_environment(s3_server, s3_bucket),
            "KROMA_DATABASE_URL": url,
            "KROMA_API_AUTH_DEV_BYPASS": "1",
            "KROMA_CALLBACK_KEY": "a key that all machines have, long enough",
            "KROMA_MASTER_KEY": "a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleTA=",
            "KROMA_WORKER_JOBS": "1",
        }


@contextmanager
def working(data_dir: Path, variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (data_dir.parent / f"{data_dir.name}.log").open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "kroma_worker"],
            env=environment(data_dir, **variables),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield worker
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)


def test_two_workers_without_a_common_disk_finish_a_run(tmp_path: Path, variables: dict[str, str]) -> None:
    machines = [tmp_path / name for name in ("api", "first", "second")]
    for machine in machines:
        machine.mkdir()
    with ExitStack() as stack:
        _, client = stack.enter_context(served(machines[0], **variables))
        workers = [stack.enter_context(working(machine, variables)) for machine in machines[1:]]
        made = client.post("/api/projects", json={"name": "Comic"}).raise_for_status().json()
        project = f"/api/projects/{made['project']['slug']}"

        def get(path: str) -> dict[str, Any]:
            return client.get(f"{project}{path}").raise_for_status().json()

        scenes = [
            ("file", (f"{name}.png", scene_png(seed=seed), "image/png")) for seed, name in enumerate(SCENES)
        ]
        client.post(f"{project}/assets", files=scenes, data={"kind": "input"}).raise_for_status()
        style = ("noir.png", style_reference("noir ink", size=(160, 200)), "image/png")
        kept = client.post(f"{project}/assets", files={"file": style}, data={"kind": "reference"})
        (reference,) = kept.raise_for_status().json()["assets"]
        order = BODY | {
            "candidates": 1,
            "style_refs": [reference["rel_path"]],
            "postprocess": {"color": True},
        }

        reply = client.post(f"{project}/runs/trigger", json=order, headers={"Prefer": "wait=60"}, timeout=90)

        run = reply.json()["run"]
        assert run["status"] == "ok", reply.text
        _pictures_are_in_the_bucket(client, project, get, variables)
        log = get(f"/runs/{run['id']}/log")["run_log"]
        assert len(log["jobs"]) == len(SCENES)
        assert log["storage"]["project_root"].startswith(f"s3://{variables['KROMA_S3_BUCKET']}/iat-projects/")
        assert all(worker.poll() is None for worker in workers)
    left = [path for machine in machines for kind in PICTURES for path in machine.rglob(kind)]
    assert left == []


def _pictures_are_in_the_bucket(
    client: httpx.Client, project: str, get: Callable[[str], dict[str, Any]], variables: dict[str, str]
) -> None:
    assets = get("/assets?limit=100")["assets"]
    finals = [asset for asset in assets if asset["kind"] == "job_final_output"]
    assert len(finals) == len(SCENES)
    for asset in assets:
        assert asset["storage_uri"].startswith(f"s3://{variables['KROMA_S3_BUCKET']}/iat-projects/")
        assert asset["storage_backend"] == "s3"
    for asset in finals:
        content = client.get(f"{project}/assets/{asset['id']}/content").raise_for_status().content
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
        client.get(f"{project}/assets/{asset['id']}/thumbnail").raise_for_status()
