import stat
from base64 import b64encode, urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from kroma.config import Settings, SettingsError
from kroma.secrets.cipher import SecretLocation
from kroma.secrets.errors import MasterKeyFileError
from kroma.secrets.keyring import Keyring

LOCATION = SecretLocation(UUID(int=7), "openai", "api_key")
A, B, C = (urlsafe_b64encode(bytes([number]) * 32).decode() for number in (251, 2, 3))


def keyring(data_dir: Path, **variables: str) -> Keyring:
    return Keyring(Settings.from_environment(variables, data_dir=data_dir).master_key)


def test_the_current_key_seals_and_previous_ones_open(tmp_path: Path) -> None:
    old = keyring(tmp_path, KROMA_MASTER_KEY=A).seal("x", LOCATION)
    new = keyring(tmp_path, KROMA_MASTER_KEY=B, KROMA_MASTER_KEY_PREVIOUS=f" {C} , {A},")

    assert new.find_value(old, LOCATION) == "x"
    assert keyring(tmp_path, KROMA_MASTER_KEY=B).find_value(new.seal("y", LOCATION), LOCATION) == "y"
    assert keyring(tmp_path, KROMA_MASTER_KEY=B).find_value(old, LOCATION) is None


def test_the_originals_variables_are_still_read(tmp_path: Path) -> None:
    sealed = keyring(tmp_path, KROMA_MASTER_KEY=A).seal("x", LOCATION)
    other = keyring(
        tmp_path, IAT_MASTER_KEY=B, IAT_MASTER_KEY_PREVIOUS=A, IAT_MASTER_KEY_REF="kms-2", KROMA_MASTER_KEY=""
    )

    assert other.find_value(sealed, LOCATION) == "x"
    assert other.ref == "kms-2"


def test_our_variable_beats_the_originals(tmp_path: Path) -> None:
    sealed = keyring(tmp_path, KROMA_MASTER_KEY=A).seal("x", LOCATION)

    assert keyring(tmp_path, KROMA_MASTER_KEY=A, IAT_MASTER_KEY=B).find_value(sealed, LOCATION) == "x"


def test_the_key_is_called_local_master_unless_named(tmp_path: Path) -> None:
    assert keyring(tmp_path).ref == "local-master"
    assert keyring(tmp_path, KROMA_MASTER_KEY_REF="k2").ref == "k2"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("short", id="short"),
        pytest.param(A.rstrip("="), id="no padding"),
        pytest.param(b64encode(bytes([251]) * 32).decode(), id="not the url alphabet"),
        pytest.param(urlsafe_b64encode(bytes(31)).decode(), id="31 bytes"),
        pytest.param(urlsafe_b64encode(bytes(33)).decode(), id="33 bytes"),
        pytest.param(A[:20] + "\n" + A[20:], id="a line break"),
        pytest.param(A[:20] + "é" + A[21:], id="another alphabet"),
    ],
)
@pytest.mark.parametrize("variable", ["KROMA_MASTER_KEY", "KROMA_MASTER_KEY_PREVIOUS"])
def test_a_wrong_key_names_its_variable_and_is_not_shown(tmp_path: Path, text: str, variable: str) -> None:
    with pytest.raises(SettingsError) as raised:
        keyring(tmp_path, **{variable: text})

    assert raised.value.message == f"{variable} must be padded base64url of exactly 32 bytes"


def test_a_key_is_made_by_the_first_seal_only(tmp_path: Path) -> None:
    file = tmp_path / "var" / "backend" / "master.key"
    keys = keyring(tmp_path)
    keys.check_file()
    assert keys.find_value(keyring(tmp_path, KROMA_MASTER_KEY=A).seal("x", LOCATION), LOCATION) is None
    assert not (tmp_path / "var").exists()

    sealed = keys.seal("x", LOCATION)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keyring(tmp_path).find_value(sealed, LOCATION) == "x"
    assert keyring(tmp_path, KROMA_MASTER_KEY=file.read_text().strip()).find_value(sealed, LOCATION) == "x"


def test_a_key_in_the_environment_makes_no_file(tmp_path: Path) -> None:
    keyring(tmp_path, KROMA_MASTER_KEY=A).seal("x", LOCATION)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", ["KROMA_MASTER_KEY_FILE", "IAT_MASTER_KEY_FILE"])
def test_the_file_may_lie_elsewhere(tmp_path: Path, variable: str) -> None:
    keyring(tmp_path, **{variable: "keys/mine"}).seal("x", LOCATION)
    keyring(tmp_path / "data", **{variable: str(tmp_path / "absolute")}).seal("x", LOCATION)

    assert (tmp_path / "keys" / "mine").is_file()
    assert (tmp_path / "absolute").is_file()


def test_a_key_that_another_process_made_later_is_found(tmp_path: Path) -> None:
    reader = keyring(tmp_path)
    assert reader.find_value(keyring(tmp_path, KROMA_MASTER_KEY=A).seal("x", LOCATION), LOCATION) is None

    assert reader.find_value(keyring(tmp_path).seal("x", LOCATION), LOCATION) == "x"


def test_parallel_first_seals_agree_on_one_key(tmp_path: Path) -> None:
    keyrings = [keyring(tmp_path) for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        sealed = list(pool.map(lambda keys: keys.seal("x", LOCATION), keyrings))

    reader = keyring(tmp_path)
    assert {reader.find_value(text, LOCATION) for text in sealed} == {"x"}
    assert [path.name for path in (tmp_path / "var" / "backend").iterdir()] == ["master.key"]


@pytest.mark.parametrize("content", [b"", b"not a key", b"\xff\xfe", A.encode() * 2])
def test_a_broken_file_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    keys = keyring(tmp_path, KROMA_MASTER_KEY_FILE=str(file))

    with pytest.raises(MasterKeyFileError) as raised:
        keys.seal("x", LOCATION)
    with pytest.raises(SettingsError) as refused:
        keys.check_file()
    wanted = f"KROMA_MASTER_KEY_FILE ({file}) must hold padded base64url of exactly 32 bytes"
    assert raised.value.message == refused.value.message == wanted
    assert file.read_bytes() == content


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    keys = keyring(tmp_path, KROMA_MASTER_KEY_FILE=str(tmp_path / "taken" / "key"))

    with pytest.raises(MasterKeyFileError, match="KROMA_MASTER_KEY_FILE"):
        keys.seal("x", LOCATION)


def test_no_representation_shows_a_key(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {"KROMA_MASTER_KEY": A, "KROMA_MASTER_KEY_PREVIOUS": B}, data_dir=tmp_path
    )
    shown = f"{settings!r} {settings.master_key} {Keyring(settings.master_key)!r}"

    assert A not in shown
    assert B not in shown
    assert repr(bytes([2]) * 32) not in shown
