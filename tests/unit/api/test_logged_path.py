"""What of a path may stand in a log."""

import pytest

from kroma_api.middleware.logged_path import logged_path

ID = "0f2d5c9e-4a7b-4c1d-8e3f-5a6b7c8d9e0f"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health/ready",
        "/schema/openapi.json",
        "/auth/token",
        "/api/projects/hero_book/assets",
        "/api/projects/hero-01/assets",
        "/api/projects/7/assets",
        "/api/projects/the-return-of-the-hero-book-volume-12/runs/trigger",
        f"/api/projects/comic/runs/{ID}/jobs/{ID}/select",
        "/api/tools/bgremove",
        "/api/projects/comic/provider-accounts/openai/check",
        "/nope//x/",
    ],
)
def test_words_ids_and_slugs_are_shown(path: str) -> None:
    assert logged_path(path) == path


@pytest.mark.parametrize(
    "secret",
    [
        "kroma_" + "0123456789abcdef" * 4,
        "kroma_0123456789abcdef",
        "sk-proj-abc123def456",
        "sk-live-9",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "ghp_a1b2c3",
        "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqygy",
        "AKIAIOSFODNN7EXAMPLE",
        "akiaiosfodnn7example",
        "wJalrXUtnFEMI",
        "bPxRfiCYEXAMPLEKEY",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "eyjhbgci-1",
        "d41d8cd98f00b204e9800998ecf8427e",
        "a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleTA=",
        "Hunter2!",
        "p@ssw0rd",
        "postgresql:user:pw@host",
        "\x1b[31m",
        "a b",
        "\N{BICYCLE}",
        "x" * 65,
    ],
)
def test_anything_else_is_not(secret: str) -> None:
    for path in (
        f"/api/projects/{secret}/runs",
        f"/{secret}",
        f"/api/projects/comic/secrets/openai/{secret}",
    ):
        assert secret not in logged_path(path)
        assert "*" in logged_path(path)
