"""What can go wrong when reading exports."""

from kroma.errors import NotFoundError


class ExportNotFoundError(NotFoundError):
    """The project has no such export, or does not exist itself."""

    text = "Project export not found"
