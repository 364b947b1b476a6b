"""The main job over HTTP, on the real stack with the real default provider."""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.builders.factories import scene_png
from support.servers.kroma_stack import BODY, Project, Up, eventually, kroma

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def make_project(shared_stack: Up) -> Iterator[Callable[[str], Project]]:
    """Makes projects on the shared stack; their clients are closed after the test."""
    with ExitStack() as stack:

        def make(name: str) -> Project:
            project = Project(shared_stack, name)
            stack.callback(project.client.close)
            return project

        yield make


MakeProject = Callable[[str], Project]


def chroma(path: Path) -> float:
    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float64)
    return float(np.abs(pixels[..., 0] - pixels[..., 2]).mean())


def test_a_run_redraws_its_scenes_and_all_of_it_can_be_read_back(make_project: MakeProject) -> None:
    project = make_project("Main job")
    reply = project.trigger()

    assert reply.status_code == 200, reply.text
    run = reply.json()["run"]
    assert (run["status"], run["done"], run["provider_code"]) == ("ok", True, "local")
    jobs = project.get(f"/runs/{run['id']}/jobs")["jobs"]
    assert [job["job_key"] for job in jobs] == ["style_1_harbor", "style_2_tower"]
    for job in jobs:
        first, second = (project.root / candidate["output_path"] for candidate in job["candidates"])
        assert first.read_bytes() != second.read_bytes()
        # Redrawn after a gray reference: no color of the scene is left.
        assert chroma(first) < 2 < chroma(project.root / job["meta_json"]["input_images"][0])
    assets = project.get("/assets")["assets"]
    for asset in assets:
        assert hashlib.sha256((project.root / asset["rel_path"]).read_bytes()).hexdigest() == asset["sha256"]
    assert len([asset for asset in assets if asset["kind"] == "job_final_output"]) == 2
    assert project.get("/quality-reports")["count"] == 5
    assert {event["total_cost_usd"] for event in project.get("/cost-events")["cost_events"]} == {0.0}
    log = project.get(f"/runs/{run['id']}/log")["run_log"]
    assert [entry["id"] for entry in log["jobs"]] == ["style_1_harbor", "style_2_tower"]


def test_a_trigger_answers_at_once_and_is_polled(make_project: MakeProject) -> None:
    project = make_project("Polled")
    reply = project.client.post(f"{project.path}/runs/trigger", json=BODY)
    assert reply.status_code == 202
    assert reply.json()["pipeline_trigger"]["stdout"] == ""
    where = reply.headers["Location"]
    eventually(lambda: project.client.get(where).json()["run"]["done"])
    assert project.client.get(where).json()["run"]["status"] == "ok"


def test_night_and_rain_are_stages_of_their_own(make_project: MakeProject) -> None:
    project = make_project("Night")
    day = project.trigger(candidates=1).json()["run"]["id"]
    night = project.trigger(candidates=1, stage="time", time="night").json()["run"]["id"]

    def brightness(run_id: str) -> float:
        (output, *_) = (job["final_output"] for job in project.get(f"/runs/{run_id}/jobs")["jobs"])
        return float(np.asarray(Image.open(project.root / output).convert("L")).mean())

    assert brightness(night) < 0.75 * brightness(day)
    rain = project.trigger(candidates=1, stage="weather", weather="rain").json()["run"]
    assert (rain["stage"], rain["time_of_day"], rain["weather"]) == ("weather", "day", "rain")


def test_the_sheet_of_a_run_is_a_picture_whose_path_stands_alone(
    make_project: MakeProject, shared_stack: Up
) -> None:
    project = make_project("Sheet")
    run_id = project.trigger().json()["run"]["id"]
    written = kroma("sheet", run_id, "--data-dir", str(shared_stack.data_dir))
    assert written.returncode == 0, written.stderr
    path = Path(written.stdout.splitlines()[-1])
    with Image.open(path) as sheet:
        assert sheet.width > 600


def test_a_run_log_taken_again_by_hand_gives_the_same_rows(
    make_project: MakeProject, shared_stack: Up
) -> None:
    project = make_project("By hand")
    run = project.trigger(candidates=1).json()["run"]
    before = {asset["id"] for asset in project.get("/assets")["assets"]}
    log = project.root / run["run_log_path"]
    again = kroma("ingest", str(log), "--project", project.slug, "--data-dir", str(shared_stack.data_dir))
    assert again.returncode == 0, again.stderr
    assert {asset["id"] for asset in project.get("/assets")["assets"]} == before


def pictures(project: Project, run_id: str) -> dict[tuple[str, int], bytes]:
    """The pixels of every candidate of a run."""
    jobs = project.get(f"/runs/{run_id}/jobs")["jobs"]
    return {
        (job["job_key"], candidate["candidate_index"]): Image.open(
            project.root / candidate["output_path"]
        ).tobytes()
        for job in jobs
        for candidate in job["candidates"]
    }


def costs(project: Project, run_id: str) -> list[float]:
    events = project.get("/cost-events")["cost_events"]
    return [event["total_cost_usd"] for event in events if event["run_id"] == run_id]


def test_a_worker_that_is_killed_halfway_costs_no_picture_and_no_money(
    make_project: MakeProject, shared_stack: Up
) -> None:
    project = make_project("Killed")
    project.put("scenes/large.png", scene_png(448, 320, seed=7))
    body = BODY | {"seed": 7}
    undisturbed = project.trigger(seed=7).json()["run"]["id"]
    reply = project.client.post(f"{project.path}/runs/trigger", json=body)
    run_path = reply.headers["Location"]

    def is_halfway() -> bool:
        detail = project.client.get(run_path).json()
        assert not detail["run"]["done"], "it ended before its worker could be killed"
        return any(job["candidates"] for job in detail["jobs"])

    eventually(is_halfway)
    os.kill(shared_stack.pids["worker"], signal.SIGKILL)
    eventually(lambda: project.client.get(run_path).json()["run"]["done"])

    run = project.client.get(run_path).json()["run"]
    assert run["status"] == "ok"
    assert pictures(project, run["id"]) == pictures(project, undisturbed)
    assert costs(project, run["id"]) == costs(project, undisturbed)


def test_a_run_ends_while_redis_stands_still_and_nothing_is_restarted(
    make_project: MakeProject, shared_stack: Up
) -> None:
    project = make_project("Without Redis")
    before = shared_stack.pids
    os.kill(before["valkey"], signal.SIGSTOP)
    try:
        # Accepted, found in the table, read back: all of it while nothing rings.
        where = project.client.post(f"{project.path}/runs/trigger", json=BODY).headers["Location"]
        eventually(lambda: project.client.get(where).json()["run"]["done"])
        assert project.client.get(where).json()["run"]["status"] == "ok"
    finally:
        os.kill(before["valkey"], signal.SIGCONT)
    assert project.trigger(candidates=1).json()["run"]["status"] == "ok"
    assert shared_stack.pids == before
