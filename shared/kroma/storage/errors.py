"""What can go wrong with bytes."""

from kroma.errors import InfraError, InvalidRequestError, NotFoundError
from kroma.metrics import STORE_ERRORS


class OutsideProjectError(InvalidRequestError):
    """A path from a caller does not stay inside the project."""

    code = "path_outside_project"

    def __init__(self, ref: str) -> None:
        super().__init__(
            f"Path '{ref}' leads outside the project; use one relative to the project root, without '..'"
        )


class UnusableNameError(InvalidRequestError):
    """A file name on the disk is no UTF-8, so that no row and no reply could hold it."""

    code = "file_name_unusable"

    def __init__(self, name: str) -> None:
        readable = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        super().__init__(f"The file name '{readable}' is not valid UTF-8; rename the file")


class RootNotAllowedError(InvalidRequestError):
    """A project's root lies where this installation does not keep projects."""

    code = "project_root_not_allowed"

    def __init__(self, root: str) -> None:
        super().__init__(
            f"Project root '{root}' is outside the data directory or inside Kroma's own files there; "
            "move it or set KROMA_ALLOW_ANY_ROOT=1"
        )


class RootMovedError(InvalidRequestError):
    """A project's root leads elsewhere than when it was set, by a symlink."""

    code = "project_root_not_allowed"

    def __init__(self, root: str) -> None:
        super().__init__(
            f"Project root '{root}' points elsewhere than when it was set; remove the symlink, "
            "or set the root again with PUT storage/local"
        )


class RootNotRegisteredError(InvalidRequestError):
    """A project's root is not registered as its own, so nothing is written there."""

    code = "project_root_contested"

    def __init__(self, root: str) -> None:
        super().__init__(
            f"Project root '{root}' is not written to, because it overlaps the root of another project or "
            "lies where no project may be; set another root with PUT storage/local and a token of the "
            "installation; `kroma doctor` lists the affected projects"
        )


class StoredElsewhereError(InvalidRequestError):
    """Files are where this installation does not look."""

    code = "project_root_not_allowed"

    def __init__(self, location: str) -> None:
        super().__init__(
            f"The files are at '{location}', where this installation keeps no files; see KROMA_STORE"
        )


class ObjectNotFoundError(NotFoundError):
    """The store has nothing under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"File '{key}' not found")
        self.key = key


class StoreError(InfraError):
    """A store cannot do what was asked of it, whatever was asked; each is counted as it is made."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        STORE_ERRORS.labels(cls.code)  # from 0: an increase is seen only of what was there before

    def __init__(self, text: str) -> None:
        super().__init__(text)
        STORE_ERRORS.labels(self.code).inc()


class StoreFullError(StoreError):
    """The disk or quota behind the store is used up."""

    code = "store_full"
    retryable = False

    def __init__(self, key: str) -> None:
        super().__init__(f"No space left to write '{key}'; no part of it was kept")


class StoreUnavailableError(StoreError):
    """The store refuses or fails for a reason of its own."""

    code = "store_unavailable"

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"Cannot use '{key}': {reason}")
        self.reason = reason


class ObjectRefusedError(StoreUnavailableError):
    """The service does not want this one object, by its name or its size; others may be welcome."""

    retryable = False


class StoreForbiddenError(StoreError):
    """The credentials of the store do not allow what was asked."""

    code = "store_forbidden"
    retryable = False

    def __init__(self, bucket: str, right: str, answer: str) -> None:
        super().__init__(
            f"Bucket '{bucket}' refused a request ({answer}); "
            f"its user needs the permission {right} (docs/storage.md)"
        )
        self.bucket = bucket


class StoreCredentialsError(StoreError):
    """Nobody said who asks the store, or not completely."""

    code = "store_credentials_missing"
    retryable = False

    def __init__(self, bucket: str, problem: str) -> None:
        super().__init__(f"No usable credentials for bucket '{bucket}': {problem} (docs/storage.md)")
        self.bucket = bucket


class BucketNotFoundError(StoreError):
    """The store's bucket does not exist."""

    code = "bucket_not_found"
    retryable = False

    def __init__(self, bucket: str) -> None:
        super().__init__(f"Bucket '{bucket}' does not exist; create it or name another")
        self.bucket = bucket


class ChecksumMismatchError(StoreError):
    """Bytes are not the ones that their checksum stands for; another transfer may bring them whole."""

    code = "checksum_mismatch"

    def __init__(self, key: str) -> None:
        super().__init__(f"File '{key}' is damaged: its SHA-256 does not match")
        self.key = key


class ObjectTooLargeError(InvalidRequestError):
    """An object is larger than the reader allows."""

    code = "file_too_large"

    def __init__(self, key: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"File '{key}' has {size_bytes} bytes; the limit is {limit_bytes}")
