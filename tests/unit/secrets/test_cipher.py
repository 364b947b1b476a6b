from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from kroma.secrets.cipher import DoesNotOpenError, SecretLocation, is_sealed, seal, unseal

KEY, OTHER = bytes(range(32)), bytes(32)
PROJECT = UUID("3f2b8c1e-6d0a-4c55-9b3e-0e8f1f6f2a71")
LOCATION = SecretLocation(PROJECT, "openai", "api_key")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def of_the_original(value: bytes, key: bytes = KEY) -> str:
    nonce = b"0123456789ab"
    return "enc:v1:" + urlsafe_b64encode(nonce + AESGCM(key).encrypt(nonce, value, None)).decode()


@given(value=TEXTS, code=TEXTS, name=TEXTS)
def test_what_is_sealed_opens_at_its_place(value: str, code: str, name: str) -> None:
    location = SecretLocation(PROJECT, code, name)

    assert unseal([OTHER, KEY], seal(KEY, value, location), location) == value


def test_the_same_value_is_never_sealed_alike() -> None:
    assert len({seal(KEY, "x", LOCATION) for _ in range(100)}) == 100


def test_sealed_is_a_prefix_and_padded_base64url_of_nonce_ciphertext_and_tag() -> None:
    stored = seal(KEY, "abc", LOCATION)

    assert stored.startswith("enc:v2:")
    assert len(urlsafe_b64decode(stored.removeprefix("enc:v2:"))) == 12 + 3 + 16


def test_a_known_value_of_version_1_opens() -> None:
    # Made with the `cryptography` library from the contract's words alone.
    assert unseal([KEY], of_the_original(b"sk-old"), LOCATION) == "sk-old"
    assert unseal([OTHER, KEY], of_the_original(b"sk-old"), LOCATION._replace(secret_name="any")) == "sk-old"


@pytest.mark.parametrize(
    "location",
    [
        pytest.param(LOCATION._replace(project_id=UUID(int=1)), id="another project"),
        pytest.param(LOCATION._replace(provider_code="anthropic"), id="another provider"),
        pytest.param(LOCATION._replace(secret_name="API_KEY"), id="another name"),
        pytest.param(SecretLocation(PROJECT, "openaia", "pi_key"), id="the same letters, cut elsewhere"),
    ],
)
def test_a_value_does_not_open_at_another_place(location: SecretLocation) -> None:
    with pytest.raises(DoesNotOpenError):
        unseal([KEY], seal(KEY, "x", LOCATION), location)


@given(first=st.tuples(TEXTS, TEXTS), second=st.tuples(TEXTS, TEXTS))
def test_no_two_places_are_bound_alike(first: tuple[str, str], second: tuple[str, str]) -> None:
    one, other = SecretLocation(PROJECT, *first), SecretLocation(PROJECT, *second)
    stored = seal(KEY, "x", one)
    if one == other:
        assert unseal([KEY], stored, other) == "x"
    else:
        with pytest.raises(DoesNotOpenError):
            unseal([KEY], stored, other)


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param("enc:v2:", id="nothing"),
        pytest.param("enc:v2:!!!!", id="no base64"),
        pytest.param("enc:v2:é", id="no ascii"),
        pytest.param("enc:v2:AAAA", id="shorter than a nonce"),
        pytest.param("enc:v2:" + urlsafe_b64encode(bytes(12)).decode(), id="a nonce only"),
        pytest.param("enc:v2:" + urlsafe_b64encode(bytes(28)).decode(), id="a wrong tag"),
        pytest.param(seal(KEY, "x", LOCATION)[:-4], id="cut off"),
        pytest.param(seal(KEY, "x", LOCATION).replace("v2", "v1"), id="as if it were unbound"),
        pytest.param(of_the_original(b"x").replace("v1", "v2"), id="as if it were bound"),
        pytest.param(of_the_original(b"\xff"), id="no utf-8"),
    ],
)
def test_a_damaged_value_does_not_open(stored: str) -> None:
    with pytest.raises(DoesNotOpenError):
        unseal([KEY, OTHER], stored, LOCATION)


def test_nothing_opens_without_keys() -> None:
    with pytest.raises(DoesNotOpenError):
        unseal([], seal(KEY, "x", LOCATION), LOCATION)


@pytest.mark.parametrize(
    ("stored", "sealed"),
    [("enc:v1:x", True), ("enc:v2:x", True), ("enc:x", False), ("sk-1", False), ("", False)],
)
def test_only_the_prefix_tells_a_sealed_value(stored: str, *, sealed: bool) -> None:
    assert is_sealed(stored) is sealed
