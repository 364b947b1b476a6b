"""The settings of the external agent and of calls for users."""

from datetime import timedelta
from pathlib import Path

import pytest

from kroma.allow_list import AllowList
from kroma.config import Settings, SettingsError
from kroma.instructions.lease import lease_span


def settings(**variables: str) -> Settings:
    return Settings.from_environment(variables, data_dir=Path("/data"))


def test_the_defaults_are_the_contracts() -> None:
    agent = settings().agent

    assert (agent.url, agent.token) == (None, None)
    assert (agent.max_attempts, agent.retries) == (3, 2)
    assert (agent.max_locked, agent.retry_backoff) == (timedelta(seconds=120), timedelta(seconds=10))
    assert (agent.timeout, agent.retry_pause) == (timedelta(seconds=20), timedelta(seconds=1.5))
    assert agent.deadline == timedelta(hours=1)


def test_a_lease_outlasts_the_longest_attempt() -> None:
    assert lease_span(settings().agent) == timedelta(seconds=120)
    assert lease_span(settings(KROMA_AGENT_TIMEOUT_S="60").agent) == timedelta(seconds=180 + 4.5 + 30)


def test_the_public_address_is_the_bound_one_unless_another_is_named() -> None:
    assert settings().public_url == "http://127.0.0.1:8788"
    assert settings(KROMA_PUBLIC_URL="https://kroma.example/api/").public_url == "https://kroma.example/api"


def test_origins_are_listed_one_by_one_and_compared_in_one_form() -> None:
    listed = " https://Studio.example , http://localhost:3000,,http://[::1]:80"

    assert settings().cors_origins == frozenset()
    assert settings(KROMA_CORS_ORIGINS=listed).cors_origins == {
        "https://studio.example:443",
        "http://localhost:3000",
        "http://[::1]:80",
    }


@pytest.mark.parametrize(
    "listed",
    [
        "*",
        "https://*",
        "https://*.studio.example",
        "null",
        "studio.example",
        "https://studio.example/",
        "https://studio.example/path",
        "https://user@studio.example",
        "https://studio.example:x",
        "ftp://studio.example",
        "https://a.example https://b.example",
        "https://good.example,bad",
    ],
)
def test_what_is_no_exact_origin_is_refused_in_one_line(listed: str) -> None:
    with pytest.raises(SettingsError, match=r"^KROMA_CORS_ORIGINS lists '.*'; each entry must be an exact"):
        settings(KROMA_CORS_ORIGINS=listed)


def test_the_allowed_places_are_a_list() -> None:
    assert settings(KROMA_URL_ALLOW=" agent.lan, 10.0.0.0/8 ,,").url_allow == AllowList.parsed(
        ["agent.lan", "10.0.0.0/8"]
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KROMA_AGENT_TIMEOUT_S", "soon"),
        ("KROMA_AGENT_TIMEOUT_S", "0"),
        ("KROMA_AGENT_TIMEOUT_S", "nan"),
        ("KROMA_AGENT_TIMEOUT_S", "inf"),
        ("KROMA_AGENT_MAX_LOCKED_S", "0.5"),
        ("KROMA_AGENT_RETRY_BACKOFF_S", "0"),
        ("KROMA_AGENT_RETRY_PAUSE_S", "0"),
        ("KROMA_AGENT_DEADLINE_S", "99999999"),
        ("KROMA_AGENT_MAX_ATTEMPTS", "0"),
        ("KROMA_AGENT_RETRIES", "-1"),
        ("KROMA_PUBLIC_URL", "kroma.example"),
        ("KROMA_CALLBACK_KEY", "short"),
    ],
)
def test_a_value_that_cannot_be_meant_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        settings(**{name: value})
