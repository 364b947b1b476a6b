import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroma.projects.slugs import normalized_slug, slug_of_name


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Hero Book", "hero_book"),
        ("hero-01", "hero-01"),
        ("___", None),
        ("---", "---"),
        ("", None),
        ("  a  b  ", "a_b"),
        ("Ärger & Co.", "rger_co"),
        ("a/../b", "a_b"),
    ],
)
def test_a_slug_follows_the_contracts_examples(text: str, slug: str | None) -> None:
    assert normalized_slug(text) == slug


@given(st.text())
def test_a_slug_holds_only_its_characters_and_is_its_own_slug(text: str) -> None:
    slug = normalized_slug(text)

    if slug is not None:
        assert re.fullmatch("[a-z0-9_-]+", slug)
        assert not slug.startswith("_")
        assert not slug.endswith("_")
        assert normalized_slug(slug) == slug


@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N")), min_size=1))
def test_ascii_letters_and_digits_are_only_lower_cased(text: str) -> None:
    assert normalized_slug(text) == text.lower()


@given(st.text())
def test_every_name_has_a_slug(name: str) -> None:
    assert slug_of_name(name) == (normalized_slug(name) or "project")
