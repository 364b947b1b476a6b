"""``make compose-test``: tests docker-compose.yml on the Docker engine of the environment.

It uses its own compose project, port and secrets, so it can run next to other stacks. It builds the images,
starts the stack with four workers, triggers a run over the API, kills a worker's container, a worker's
process and PostgreSQL during the run, stops and starts everything, and compares every picture byte for byte.
Then it repeats this with the pictures in an S3 server and no shared disk.

Variables: DOCKER_HOST and the others of `docker`; KROMA_COMPOSE_KEEP=1 keeps the stack after a failure;
KROMA_COMPOSE_HEALTHY_S allows a busy machine more than 90 s until everything is healthy.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from kroma.embedded.server_process import free_port
from style_references import style_reference
from support.builders.factories import scene_png

T = TypeVar("T")

ROOT: Final = Path(__file__).parent.parent
HEALTHY_WITHIN_S: Final = float(os.environ.get("KROMA_COMPOSE_HEALTHY_S", "90"))
END_WITHIN_S: Final = 300.0
WORKERS: Final = 4
SCENES: Final = 20
"""More than four workers run at a time."""
CANDIDATES: Final = 2
SERVICES: Final = {"postgres", "redis", "api", "worker"}
S3_DEFAULT: Final = "versity/versitygw:v1.8.0"
S3_ANY: Final = "versity/versitygw:latest"
OWN_DISKS: Final = """
services:
  api: &own
    volumes: !reset []
    tmpfs: ["/tmp:mode=1777", "/var/lib/kroma:uid=10001,gid=10001,mode=0750"]
  worker: *own
"""
"""No shared disk: a container's files are invisible to the others and are deleted with it."""

_began = time.monotonic()


class ComposeTestError(Exception):
    """A check failed."""


def say(text: str) -> None:
    """Print a line with the time since the start."""
    print(f"{time.monotonic() - _began:7.1f} s  {text}", flush=True)


def check(condition: object, problem: str) -> None:
    """Stop the test unless the condition holds."""
    if not condition:
        raise ComposeTestError(problem)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print how long something took."""
    began = time.monotonic()
    yield
    say(f"{text} ({time.monotonic() - began:.1f} s)")


def eventually(condition: Callable[[], T | None], *, within_s: float, otherwise: str) -> T:
    """Call a function until it returns something, and return that."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        check(time.monotonic() < deadline, otherwise)
        time.sleep(0.5)
    return found


def docker(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Run a command and return its output.

    Raises:
        ComposeTestError: It failed; the message has the end of its output.
    """
    done = subprocess.run(
        ["docker", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise ComposeTestError(f"docker {' '.join(arguments)} exited with {done.returncode}:\n{output}")
    return done.stdout


class Compose:
    """A compose project of this test only."""

    def __init__(self, folder: Path, *files: Path, settings: Path, **variables: str) -> None:
        self.port = free_port()
        self._options = [
            *("--project-name", f"kroma-test-{os.getpid()}", "--env-file", str(settings)),
            *(option for file in (ROOT / "docker-compose.yml", *files) for option in ("--file", str(file))),
        ]
        # Settings of the caller's own stack must not affect this one.
        own = {name: v for name, v in os.environ.items() if not name.startswith(("KROMA_", "COMPOSE_"))}
        self._env = own | {
            "KROMA_SECRETS": str(folder / "secrets"),
            "KROMA_ENV": str(folder / "none.env"),
            "KROMA_PORT": str(self.port),
            "KROMA_VERSION": "test",
            **variables,
        }

    def __call__(self, *arguments: str) -> str:
        return docker("compose", *self._options, *arguments, env=self._env)

    def up(self, *, workers: int) -> None:
        """Start what is not running and wait until everything is healthy."""
        began = time.monotonic()
        scale = () if self._env.get("KROMA_WORKERS") == str(workers) else ("--scale", f"worker={workers}")
        self("up", "--detach", "--wait", *scale)
        took = time.monotonic() - began
        states = [json.loads(line) for line in self("ps", "--format", "json").splitlines()]
        unwell = [one["Name"] for one in states if one["Health"] != "healthy"]
        check(not unwell, f"not healthy: {', '.join(unwell)}")
        check(set(self.services()) >= SERVICES, f"services are missing; running: {self.services()}")
        check(self.services().count("worker") == workers, f"not {workers} workers: {self.services()}")
        check(took <= HEALTHY_WITHIN_S, f"healthy after {took:.0f} s, not within {HEALTHY_WITHIN_S:.0f} s")

    def services(self) -> list[str]:
        """The service of each running container."""
        return sorted(json.loads(line)["Service"] for line in self("ps", "--format", "json").splitlines())

    def query(self, statement: str) -> list[str]:
        """The first column of a query's rows."""
        psql = ("psql", "--username", "kroma", "--no-psqlrc", "--tuples-only", "--no-align")
        return self("exec", "-T", "postgres", *psql, "--command", statement).split()

    def busy_workers(self) -> list[str]:
        """The owners of job leases: container id, process id and a few letters each."""
        return self.query("SELECT DISTINCT lease_owner FROM run_jobs WHERE lease_owner IS NOT NULL")


class Studio:
    """A project on a running stack, over HTTP only."""

    def __init__(self, compose: Compose) -> None:
        self._address = f"http://127.0.0.1:{compose.port}"
        self.client = httpx.Client(base_url=self._address, timeout=60)
        status = self.client.post("/auth/token", json={"label": "anonymous"}).status_code
        check(status == HTTPStatus.UNAUTHORIZED, f"an anonymous request for a token got {status}")
        token = compose("exec", "-T", "api", "kroma", "token", "create").strip()
        self.client.headers["Authorization"] = f"Bearer {token}"
        self.path = "/api/projects/hero_book"

    def post(
        self,
        path: str,
        *,
        json: dict[str, Any] | None = None,
        data: dict[str, str] | None = None,
        files: list[tuple[str, tuple[str, bytes, str]]] | None = None,
    ) -> dict[str, Any]:
        """The response to a request that must succeed."""
        answer = self.client.post(path, json=json, data=data, files=files)
        check(answer.is_success, f"POST {path} got {answer.status_code}: {answer.text[:400]}")
        return answer.json()

    def get(self, path: str) -> dict[str, Any]:
        """The response to a request that must succeed."""
        answer = self.client.get(path)
        check(answer.is_success, f"GET {path} got {answer.status_code}: {answer.text[:400]}")
        return answer.json()

    def upload(self, kind: str, pictures: Sequence[tuple[str, bytes]]) -> list[str]:
        """Upload PNGs and return the ids of the assets."""
        files = [("file", (name, data, "image/png")) for name, data in pictures]
        kept = self.post(f"{self.path}/assets", data={"kind": kind}, files=files)["assets"]
        return [asset["id"] for asset in kept]

    def begin(self, *, scenes: int) -> str:
        """Create the project, upload scenes and a style, trigger a run, and return its id."""
        self.post("/api/projects", json={"name": "Hero Book"})
        drawn = [(f"scene_{number}.png", scene_png(480, 320, seed=number)) for number in range(scenes)]
        self.upload("input", drawn)
        styles = self.upload("reference", [("ink.png", style_reference("noir ink", size=(480, 640)))])
        spec = {"mode": "run", "confirm_spend": True, "input": "scenes", "style_refs": styles}
        triggered = self.post(f"{self.path}/runs/trigger", json={**spec, "candidates": CANDIDATES})
        return triggered["run"]["id"]

    def run(self, run_id: str) -> dict[str, Any] | None:
        """The run with its jobs; None while the API is unavailable."""
        try:
            answer = self.client.get(f"{self.path}/runs/{run_id}")
        except httpx.TransportError:
            return None
        return answer.json() if answer.is_success else None

    def done_jobs(self, run_id: str) -> int:
        """How many jobs are done; 0 while the API is unavailable."""
        found = self.run(run_id)
        return 0 if found is None else sum(job["status"] == "done" for job in found["jobs"])

    def ended(self, run_id: str, *, scenes: int) -> None:
        """Wait for the end of the run, and check that it is ok and has every candidate."""

        def found() -> dict[str, Any] | None:
            answer = self.run(run_id)
            return answer if answer is not None and answer["run"]["done"] else None

        answer = eventually(found, within_s=END_WITHIN_S, otherwise=f"run {run_id} did not end")
        check(answer["run"]["status"] == "ok", f"the run ended {answer['run']['status']}")
        jobs = answer["jobs"]
        check(len(jobs) == scenes, f"{len(jobs)} jobs for {scenes} scenes")
        unfinished = [job["job_key"] for job in jobs if job["status"] != "done"]
        check(not unfinished, f"not done: {unfinished}")
        made = [candidate for job in jobs for candidate in job["candidates"] if candidate["output_asset_id"]]
        check(len(made) == scenes * CANDIDATES, f"{len(made)} candidates with a picture")

    def kept(self, run_id: str) -> dict[str, Any]:
        """Everything a restart must not change: project, run, and the checksum of each picture."""
        assets: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next": ""}
        while page["next"] is not None:
            after = f"&after={page['next']}" if page["next"] else ""
            page = self.get(f"{self.path}/assets?limit=100{after}")
            assets += page["assets"]
        sums: dict[str, str] = {}
        for asset in assets:
            answer = self.client.get(f"{self.path}/assets/{asset['id']}/content")
            check(answer.status_code == HTTPStatus.OK, f"{asset['rel_path']}: {answer.status_code}")
            sums[asset["rel_path"]] = sha256(answer.content).hexdigest()
            check(sums[asset["rel_path"]] == asset["sha256"], f"{asset['rel_path']} has other bytes")
        return {"project": self.get(self.path), "run": self.get(f"{self.path}/runs/{run_id}"), "sums": sums}


def disk_run(compose: Compose) -> None:
    """Test the stack with one disk: a run on four workers, two killed workers and a killed database."""
    with step("build: both images"):
        compose("build")
    for name in ("api", "worker"):
        size = int(docker("image", "inspect", "--format", "{{.Size}}", f"kroma-{name}:test"))
        say(f"kroma-{name}: {size / 1e6:.0f} MB, including the base image")
    with step(f"up --wait: healthy with {WORKERS} workers"):
        compose.up(workers=WORKERS)
    studio = Studio(compose)
    say("an anonymous caller cannot create a token; `kroma token create` in the container can")
    with step(f"created a project, uploaded {SCENES} scenes and a style, triggered a run"):
        run_id = studio.begin(scenes=SCENES)
    with step("more than one worker is busy"):
        first, second = eventually(
            lambda: busy if len(busy := compose.busy_workers()) > 1 else None,
            within_s=END_WITHIN_S,
            otherwise="only one worker was busy",
        )[:2]
    container, process = first.split("-")[0], second.split("-")
    docker("kill", "--signal", "KILL", container)
    say(f"killed the container of worker {first}; it stays down")
    docker("exec", process[0], "sh", "-c", f"kill -KILL {int(process[1])}")
    say(f"killed the process of worker {second}; the engine restarts it")
    done = studio.done_jobs(run_id)
    with step("the other workers continued"):
        eventually(
            lambda: studio.done_jobs(run_id) > done or None,
            within_s=END_WITHIN_S,
            otherwise="the other workers did not continue",
        )
    check(studio.done_jobs(run_id) < SCENES, "the run ended before PostgreSQL could be killed")
    compose("kill", "--signal", "KILL", "postgres")
    say("killed PostgreSQL, which stays down for 3 s")
    time.sleep(3)
    with step("restarted PostgreSQL"):
        compose("start", "postgres")
    with step(f"the run ended ok, with all {SCENES * CANDIDATES} candidates"):
        studio.ended(run_id, scenes=SCENES)
    restarts = docker("inspect", "--format", "{{.RestartCount}}", process[0]).strip()
    check(restarts == "1", f"the worker with the killed process was restarted {restarts} times, not once")
    before = studio.kept(run_id)
    down_and_up(compose, studio, run_id, before, workers=WORKERS)


def down_and_up(
    compose: Compose, studio: Studio, run_id: str, before: dict[str, Any], *, workers: int
) -> None:
    """Remove the containers, create new ones, and compare."""
    with step("down"):
        compose("down")
    with step("up --wait"):
        compose.up(workers=workers)
    after = studio.kept(run_id)
    check(after == before, "project, run or pictures differ from those before `down`")
    say(f"project, run and {len(after['sums'])} pictures are unchanged, byte for byte")


def s3_run(compose: Compose) -> None:
    """Test the stack with the pictures in an S3 server and no shared disk."""
    with step("profile s3, up --wait: healthy with 2 workers and no shared disk"):
        compose.up(workers=2)
    studio = Studio(compose)
    scenes = SCENES // 2
    with step(f"created a project, uploaded {scenes} scenes and a style, triggered a run"):
        run_id = studio.begin(scenes=scenes)
    busy = eventually(compose.busy_workers, within_s=END_WITHIN_S, otherwise="no worker was busy")
    docker("kill", "--signal", "KILL", busy[0].split("-")[0])
    say(f"killed the container of worker {busy[0]}, which takes its disk with it")
    with step(f"the run ended ok, with all {scenes * CANDIDATES} candidates"):
        studio.ended(run_id, scenes=scenes)
    down_and_up(compose, studio, run_id, studio.kept(run_id), workers=2)


def s3_image() -> str | None:
    """The image of docker-compose.yml if the engine has it or can pull it, otherwise the newest version."""
    for image in (S3_DEFAULT, S3_ANY):
        for look in (("image", "inspect", image), ("pull", "--quiet", image)):
            try:
                docker(*look)
            except ComposeTestError:
                continue
            return image
    return None


@contextmanager
def stack(name: str, compose: Compose) -> Iterator[Compose]:
    """A compose project that is removed at the end, except for its images."""
    try:
        yield compose
    except BaseException:
        print(compose("ps", "--all"), compose("logs", "--tail", "60"), sep="\n", file=sys.stderr)
        if not os.environ.get("KROMA_COMPOSE_KEEP"):
            compose("down", "--volumes", "--remove-orphans")
        raise
    with step(f"{name}: down --volumes"):
        compose("down", "--volumes", "--remove-orphans")


def engine() -> str:
    """The versions of the engine and of compose.

    Raises:
        ComposeTestError: No engine responds, or it has no compose.
    """
    host = os.environ.get("DOCKER_HOST", "the default address")
    check(shutil.which("docker"), "`docker` is not on the PATH")
    try:
        server = docker("version", "--format", "{{.Server.Version}}").strip()
    except ComposeTestError as exc:
        raise ComposeTestError(
            f"no Docker engine responds at {host}: start one or set DOCKER_HOST\n{exc}"
        ) from exc
    return f"engine {server}, compose {docker('compose', 'version', '--short').strip()}"


def prove(folder: Path) -> None:
    """Run the whole test.

    Raises:
        ComposeTestError: A check failed.
    """
    say(engine())
    subprocess.run(
        ["sh", ROOT / "deploy/compose-secrets", folder / "secrets"], check=True, stdout=subprocess.DEVNULL
    )
    (folder / "default.env").touch()
    (folder / "own_disks.yml").write_text(OWN_DISKS)
    with stack("disk", Compose(folder, settings=folder / "default.env")) as compose:
        disk_run(compose)
    image = s3_image()
    if image is None:
        say(f"image {S3_DEFAULT} is not available on this engine, so profile s3 was not tested")
        return
    say(f"profile s3 with {image}")
    variables = {"KROMA_S3_IMAGE": image, "KROMA_WORKERS": "2"}
    in_s3 = Compose(folder, folder / "own_disks.yml", settings=ROOT / "deploy/s3.env", **variables)
    with stack("s3", in_s3) as compose:
        s3_run(compose)


def main() -> None:
    """Run the test; exit with 1 and the reason if a check fails."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exit normally, so that the stack is removed
    with tempfile.TemporaryDirectory(prefix="kroma-compose-") as folder:
        try:
            prove(Path(folder))
        except ComposeTestError as exc:
            say(f"FAILED: {exc}")
            sys.exit(1)
    say("passed")


if __name__ == "__main__":
    main()
