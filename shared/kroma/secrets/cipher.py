"""How a value is sealed: AES-256-GCM (contract 3.19).

Stored is a version prefix and padded base64url(nonce + ciphertext + tag). Version 2 binds the value to
its place, so that a row copied to another project, provider or name does not open; version 1, of the
original, has no such binding and is only read.

The library is imported by the first use: it costs 9 MB, which a process without secrets need not carry.
"""

import binascii
import os
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_UNBOUND: Final = "enc:v1:"
_BOUND: Final = "enc:v2:"


class SecretLocation(NamedTuple):
    """Where a value belongs."""

    project_id: UUID
    provider_code: str
    secret_name: str


class DoesNotOpenError(Exception):
    """None of the keys opens a value at this place."""


def is_sealed(stored: str) -> bool:
    """Whether a stored value is ciphertext; other texts are values of the original in the clear."""
    return stored.startswith((_UNBOUND, _BOUND))


def seal(key: bytes, value: str, location: SecretLocation) -> str:
    """The value as it is stored; every call gives another text."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - 9 MB, see above

    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, value.encode(), _associated_data(location))
    return _BOUND + urlsafe_b64encode(nonce + sealed).decode()


def unseal(keys: Iterable[bytes], stored: str, location: SecretLocation) -> str:
    """The value behind ``stored``, which ``is_sealed``, by the first key that opens it.

    Raises:
        DoesNotOpenError: None does.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above

    bound_to = _associated_data(location) if stored.startswith(_BOUND) else None
    try:
        box = b64decode(stored[len(_BOUND) :], altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise DoesNotOpenError from None
    nonce, sealed = box[:_NONCE_BYTES], box[_NONCE_BYTES:]
    if len(nonce) < _NONCE_BYTES:
        raise DoesNotOpenError
    for key in keys:
        try:
            return AESGCM(key).decrypt(nonce, sealed, bound_to).decode()
        except (InvalidTag, UnicodeDecodeError):
            continue
    raise DoesNotOpenError


def _associated_data(location: SecretLocation) -> bytes:
    # A JSON array: two places never give the same bytes, whatever characters names have.
    return msgspec.json.encode(["kroma-secret", str(location.project_id), *location[1:]])
