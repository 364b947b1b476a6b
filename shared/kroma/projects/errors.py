"""What can go wrong with projects."""

from kroma.errors import ConflictError, InvalidRequestError, NotFoundError


class ProjectNotFoundError(NotFoundError):
    """No project has this slug."""

    text = "Project not found"


class SlugTakenError(ConflictError):
    """A project of another owner has this slug."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"Project slug '{slug}' belongs to another owner; choose a different slug")


class BlankBaseDirError(InvalidRequestError):
    """The base directory is given, but blank."""

    text = "Field 'base_dir' must not be empty"


class RootRefusedError(InvalidRequestError):
    """A project root would lie where no project may be, or overlap another project's."""

    code = "project_root_not_allowed"

    def __init__(self, field: str) -> None:
        super().__init__(
            f"Field '{field}' must lead to a folder of the project's own: apart from the folders of other "
            "projects, and from what Kroma keeps; inside the data directory where KROMA_ALLOW_ANY_ROOT is off"
        )


class RootOutsideProjectError(InvalidRequestError):
    """A project's token names a root that is not the project's."""

    code = "project_root_not_allowed"

    def __init__(self, field: str) -> None:
        super().__init__(
            f"Field '{field}' must lead to a folder inside the project; a token of the installation may "
            "set another"
        )


class ProfileNotForProjectError(InvalidRequestError):
    """A project's token names a profile, which is the operator's."""

    code = "s3_profile_not_allowed"
    text = (
        "Field 'profile' names credentials of the installation, which only its own token may do; store "
        "the project's as its secrets s3/access_key_id and s3/secret_access_key"
    )


class NoLocalStorageError(InvalidRequestError):
    """A project's place on a disk is to change where no project is on a disk."""

    code = "no_local_storage"
    text = "Projects are kept in a bucket here (KROMA_STORE=s3), not in local storage"
