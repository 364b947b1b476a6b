"""What can go wrong with secrets; no text holds a value or a key."""

from kroma.config import SettingsError
from kroma.errors import InfraError, NotFoundError


class SecretNotFoundError(NotFoundError):
    """The project has no secret of this name, or does not exist itself."""

    text = "Secret not found"


class SecretUnreadableError(InfraError):
    """A stored value opens with none of the keys, or was moved to another place, or is damaged."""

    retryable = False

    def __init__(self, provider_code: str, secret_name: str) -> None:
        super().__init__(
            f"Secret {provider_code}/{secret_name} cannot be decrypted with the keys of "
            "KROMA_MASTER_KEY, its file and KROMA_MASTER_KEY_PREVIOUS; store it again"
        )


class MasterKeyFileError(InfraError):
    """The key's file cannot be made or used."""

    retryable = False


class NoSecretOpensError(SettingsError):
    """There are secrets, and none can be decrypted with the configured keys."""

    def __init__(self, source: str, *, unreadable: int) -> None:
        super().__init__(
            f"{source} cannot decrypt any of the {unreadable} stored secrets, and neither can "
            "KROMA_MASTER_KEY_PREVIOUS; set the key that encrypted them, or delete them"
        )
