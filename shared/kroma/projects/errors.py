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
            f"Field '{field}' must be a folder that only this project uses: outside the folders of other "
            "projects and Kroma's own files, and inside the data directory unless KROMA_ALLOW_ANY_ROOT is on"
        )


class RootOutsideProjectError(InvalidRequestError):
    """A project's token names a root that is not the project's."""

    code = "project_root_not_allowed"

    def __init__(self, field: str) -> None:
        super().__init__(
            f"Field '{field}' must be a folder inside the project; only a token of the installation may set "
            "another"
        )


class ProfileNotForProjectError(InvalidRequestError):
    """A project's token names a profile, which is the operator's."""

    code = "s3_profile_not_allowed"
    text = (
        "Field 'profile' names credentials of the installation, so only a token of the installation may set "
        "it; store the project's own key as its secrets s3/access_key_id and s3/secret_access_key"
    )


class NoLocalStorageError(InvalidRequestError):
    """A project's place on a disk is to change where no project is on a disk."""

    code = "no_local_storage"
    text = "This installation keeps projects in a bucket (KROMA_STORE=s3), not in local storage"
