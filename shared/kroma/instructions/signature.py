"""Signed addresses: how an agent that carries no token of ours may report."""

import hmac
import os
import secrets
import tempfile
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from kroma.config import Settings
from kroma.instructions.errors import CallbackSignatureError

CALLBACK_PATH: Final = "/agent/callback"
_PURPOSE: Final = "kroma agent callback 1"


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """Which sending of an instruction a callback speaks of."""

    instruction_id: UUID
    attempt: int
    fence: int
    """Attempts are counted anew when an instruction is confirmed again; this is not."""


class CallbackSigner:
    """Makes and opens signatures: HMAC-SHA256 over instruction, attempt, fence and end of validity."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def signature(self, sent: Pass, *, valid_until: datetime) -> str:
        terms = f"{sent.attempt}.{sent.fence}.{int(valid_until.timestamp())}"
        return f"{terms}.{self._mac(sent.instruction_id, terms)}"

    def opened(self, instruction_id: UUID, signature: str | None, *, now: datetime) -> Pass:
        """Which sending a signature stands for.

        Raises:
            CallbackSignatureError: It is missing, another instruction's, not ours, or no longer valid.
        """
        terms, _, mac = (signature or "").rpartition(".")
        expected = self._mac(instruction_id, terms)
        if not hmac.compare_digest(expected.encode(), mac.encode("utf-8", "replace")):
            raise CallbackSignatureError
        attempt, fence, until = map(int, terms.split("."))
        if now >= datetime.fromtimestamp(until, UTC):
            raise CallbackSignatureError
        return Pass(instruction_id=instruction_id, attempt=attempt, fence=fence)

    def _mac(self, instruction_id: UUID, terms: str) -> str:
        signed = f"{_PURPOSE}\n{instruction_id}\n{terms}".encode("utf-8", "replace")
        return hmac.new(self._key, signed, sha256).hexdigest()


def callback_signer(settings: Settings) -> CallbackSigner:
    """The signer of this installation."""
    return CallbackSigner(signing_key(settings))


def signing_key(settings: Settings) -> bytes:
    """The key of this installation, made on first use; every use of it signs its own purpose along."""
    key = settings.callback_key or _kept_key(settings.data_dir / "callback.key")
    return key.encode()


def _kept_key(path: Path) -> str:
    while not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=".callback-")  # mode 0600
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
            # A link refuses a name that is taken: API and worker may start at the same moment.
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            Path(fresh).unlink()
    return path.read_text().strip()
