"""What can go wrong with projects."""

from kroma.errors import ConflictError, InvalidRequestError, NotFoundError


class ProjectNotFoundError(NotFoundError):
    """No project has this slug."""

    def __init__(self) -> None:
        super().__init__("Project")


class SlugTakenError(ConflictError):
    """A project of another owner has this slug."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"Project slug '{slug}' belongs to another owner; choose a different slug")


class BlankBaseDirError(InvalidRequestError):
    """The base directory is given, but blank."""

    def __init__(self) -> None:
        super().__init__("Field 'base_dir' must not be empty")


class RootOutsideDataDirError(InvalidRequestError):
    """A project root would lie where this installation keeps no projects."""

    def __init__(self, field: str) -> None:
        super().__init__(
            f"Field '{field}' must lead to a place inside the data directory, beside what Kroma itself keeps "
            "there, since KROMA_ALLOW_ANY_ROOT is off"
        )


class NoLocalStorageError(InvalidRequestError):
    """A project's place on a disk is to change where no project is on a disk."""

    code = "no_local_storage"

    def __init__(self) -> None:
        super().__init__("Projects are kept in a bucket here (KROMA_STORE=s3), not in local storage")
