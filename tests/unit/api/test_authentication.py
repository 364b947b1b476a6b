import pytest

from kroma_api.middleware.authentication import bearer_secret, project_slug


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        ("/api/projects/a", "a"),
        ("/api/projects/a b/runs/x", "a b"),
        ("/api/projects", None),
        ("/api/projects/", None),
        ("/api/projectsx/a", None),
        ("/x/api/projects/a", None),
        ("/health", None),
    ],
)
def test_the_slug_of_a_path_is_its_third_segment(path: str, slug: str | None) -> None:
    assert project_slug(path) == slug


def test_only_the_first_authorization_header_counts() -> None:
    headers = [(b"Authorization", b"Basic x"), (b"authorization", b"Bearer y")]

    assert bearer_secret(headers) is None
    assert bearer_secret(reversed(headers)) == "y"
