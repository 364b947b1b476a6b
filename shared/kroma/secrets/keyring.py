"""The master keys: from the environment, else from a file that the first stored secret makes."""

import os
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from kroma.config import MasterKeyOptions, SettingsError
from kroma.secrets.cipher import KEY_BYTES, DoesNotOpenError, SecretLocation, is_sealed, seal, unseal
from kroma.secrets.errors import MasterKeyFileError

_KEY_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{43}=")
_WANTED: Final = "padded base64url of exactly 32 bytes"


class Keyring:
    """Seals with the current key, opens with it and the previous ones; shows none of them."""

    def __init__(self, options: MasterKeyOptions) -> None:
        """Read the keys of the environment; the file is looked at when a key is needed.

        Raises:
            SettingsError: A key is not padded base64url of 32 bytes.
        """
        self.ref: Final = options.ref
        self._file = options.file
        self._current = None if options.text is None else _key("KROMA_MASTER_KEY", options.text)
        self._in_file = options.text is None
        self._previous = tuple(_key("KROMA_MASTER_KEY_PREVIOUS", text) for text in options.previous)
        self._making = Lock()

    def __repr__(self) -> str:
        return f"Keyring(ref={self.ref!r})"

    @property
    def source(self) -> str:
        """Which variable gives the current key, and its file if it is one."""
        return f"KROMA_MASTER_KEY_FILE ({self._file})" if self._in_file else "KROMA_MASTER_KEY"

    def check_file(self) -> None:
        """Look at the key's file at the start, so that a broken one is a wrong setting and no late failure.

        Raises:
            SettingsError: The file is the key's place, exists and cannot be used.
        """
        try:
            self._opening_keys()
        except MasterKeyFileError as exc:
            raise SettingsError(exc.message) from exc

    def seal(self, value: str, location: SecretLocation) -> str:
        """The value sealed with the current key; makes the key's file if there is no key yet.

        Blocks on the disk the first time.

        Raises:
            MasterKeyFileError: The file cannot be made or used.
        """
        return seal(self._sealing_key(), value, location)

    def find_value(self, stored: str, location: SecretLocation) -> str | None:
        """The value behind a stored text, which may be one in the clear; None if no key opens it.

        Raises:
            MasterKeyFileError: The file exists and cannot be used.
        """
        if not is_sealed(stored):
            return stored
        try:
            return unseal(self._opening_keys(), stored, location)
        except DoesNotOpenError:
            return None

    def _opening_keys(self) -> tuple[bytes, ...]:
        if self._current is None:
            self._current = _find_file_key(self._file)
        return self._previous if self._current is None else (self._current, *self._previous)

    def _sealing_key(self) -> bytes:
        with self._making:
            if self._current is None:
                self._current = _find_file_key(self._file) or _made_file_key(self._file)
            return self._current


def _key(variable: str, text: str) -> bytes:
    if not _KEY_TEXT.fullmatch(text):
        raise SettingsError(f"{variable} must be {_WANTED}")
    return urlsafe_b64decode(text)


def _find_file_key(file: Path) -> bytes | None:
    try:
        text = file.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise MasterKeyFileError(f"KROMA_MASTER_KEY_FILE ({file}) cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        text = ""
    if not _KEY_TEXT.fullmatch(text):
        raise MasterKeyFileError(f"KROMA_MASTER_KEY_FILE ({file}) must hold {_WANTED}")
    return urlsafe_b64decode(text)


def _made_file_key(file: Path) -> bytes:
    """A new key in the file, or the one that another process put there meanwhile."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(draft, urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        try:
            # A link appears with its whole content or not at all, and never replaces a key.
            with suppress(FileExistsError):
                os.link(draft, file)
        finally:
            draft.unlink()
        _sync(file.parent)
    except OSError as exc:
        raise MasterKeyFileError(f"KROMA_MASTER_KEY_FILE ({file}) cannot be created: {exc.strerror}") from exc
    key = _find_file_key(file)
    if key is None:
        raise MasterKeyFileError(f"KROMA_MASTER_KEY_FILE ({file}) was removed while Kroma created it")
    return key


def _write_private(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        output.write(content)
        output.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    # Without it a power cut could take the file's name away and leave rows that nothing opens.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
