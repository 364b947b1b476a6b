"""What can go wrong with copies of a project, beside what its bucket and its disk say."""

from collections.abc import Sequence
from typing import Self

from kroma.errors import (
    ConflictError,
    InfraError,
    InvalidRequestError,
    KromaError,
    NotFoundError,
    PolicyError,
)


class SyncNotFoundError(NotFoundError):
    """The project has no sync of this id."""

    text = "Sync not found"


class SyncDisabledError(InvalidRequestError):
    """The project's S3 storage is switched off."""

    code = "s3_sync_disabled"
    text = "S3 sync is disabled for this project; set 'enabled' with PUT storage/s3"


class BucketNotNamedError(InvalidRequestError):
    """The project names no bucket."""

    code = "s3_bucket_missing"
    text = "The project has no S3 bucket; set 'bucket' with PUT storage/s3"


class ProjectRootMissingError(InvalidRequestError):
    """There is no project root to copy."""

    code = "project_root_missing"

    def __init__(self, root: str) -> None:
        super().__init__(f"Project root '{root}' does not exist; 'allow_missing' skips the sync instead")


class ProjectRootNotFolderError(InvalidRequestError):
    """The project's root is a file."""

    code = "project_root_not_directory"

    def __init__(self, root: str) -> None:
        super().__init__(f"Project root '{root}' is not a directory")


class AlreadyInBucketError(InvalidRequestError):
    """All files of this installation are in a bucket anyway."""

    code = "project_lives_in_s3"
    text = "The project's files are already in S3 (KROMA_STORE=s3), so there is nothing to copy"


class WrongPrefixError(InvalidRequestError):
    """The project's prefix cannot be a part of a key."""

    code = "s3_prefix_invalid"
    text = "The project's S3 prefix must not hold empty, '.' or '..' segments"


class SyncRunningError(ConflictError):
    """Another sync of the project is under way."""

    code = "sync_in_progress"

    def __init__(self, sync_id: str) -> None:
        super().__init__(f"Sync {sync_id} of this project is still running; wait for it or cancel it")


class SyncNotAgainError(ConflictError):
    """A sync that has not failed is not done again."""

    code = "sync_not_again"

    def __init__(self, status: str) -> None:
        super().__init__(f"The sync is {status}; only one that failed or was canceled can be retried")


class KeyIncompleteError(InvalidRequestError):
    """The project has one half of a pair of keys."""

    code = "s3_credentials_incomplete"

    def __init__(self, missing: str) -> None:
        super().__init__(f"The project's secret s3/{missing} is missing; an S3 key needs both secrets")


class OperatorsKeyError(PolicyError):
    """The project has no key of its own, and the operator's is not for this place."""

    code = "s3_credentials_not_for_project"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"The operator's S3 credentials may not be used {where}; store the project's own as its secrets "
            "s3/access_key_id and s3/secret_access_key"
        )


class WouldDeleteAllError(PolicyError):
    """An empty folder looks like a disk that is not mounted."""

    code = "sync_would_delete_all"

    def __init__(self, objects: int) -> None:
        super().__init__(
            f"The project root is empty, so 'delete' would remove all {objects} objects of the copy; "
            "check that its disk is mounted, or empty the bucket yourself"
        )


class FileChangedError(InfraError):
    """A file changed again and again while it was read."""

    code = "file_changed"

    def __init__(self, key: str) -> None:
        super().__init__(f"File '{key}' changed during the read")


class FileGoneError(NotFoundError):
    """A file was removed after the folder had been read."""

    def __init__(self, key: str) -> None:
        super().__init__(f"File '{key}' not found")


class UploadGoneError(InfraError):
    """Somebody else ended an upload in parts."""

    code = "upload_gone"

    def __init__(self, key: str) -> None:
        super().__init__(f"The upload of '{key}' was aborted by another client; it starts again")


class FileUnreadableError(InfraError):
    """The disk does not give a file or folder of the project."""

    code = "file_unreadable"

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"File '{key}' cannot be read: {reason}")


class KeyTooLongError(InvalidRequestError):
    """A path makes no key of S3."""

    code = "file_name_unusable"

    def __init__(self, key: str, limit_bytes: int) -> None:
        super().__init__(f"File '{key}' would have a key of more than {limit_bytes} bytes; shorten its path")


class UnusableKeyError(InvalidRequestError):
    """A key of the bucket is no path of a file."""

    code = "key_unusable"

    def __init__(self, key: str) -> None:
        super().__init__(f"Object '{key}' has a name that is not allowed for project files")


class PathTakenError(ConflictError):
    """Something else is where a file should come back to."""

    code = "path_taken"

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"File '{key}' cannot be restored: {reason}")


class FilesLeftOutError(InfraError):
    """Some files could not be copied; the others were."""

    code = "files_not_copied"

    def __init__(self, *, left_out: int, total: int, first: str, retryable: bool) -> None:
        super().__init__(f"{left_out} of {total} files could not be copied; the first: {first}")
        self.retryable = retryable

    @classmethod
    def of(cls, problems: Sequence[KromaError], *, total: int) -> Self:
        """Of what was wrong with each, at least one, among so many files."""
        return cls(
            left_out=len(problems),
            total=total,
            first=problems[0].message,
            retryable=any(problem.retryable for problem in problems),
        )


class UnexpectedSyncError(InfraError):
    """A bug of ours; the log has the details."""

    text = "Internal error; the worker's log has the details"
