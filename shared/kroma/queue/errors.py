"""What can go wrong with the bell."""

from kroma.errors import InfraError


class QueueUnavailableError(InfraError):
    """The queue's server does not answer."""

    code = "queue_unavailable"

    def __init__(self) -> None:
        super().__init__("The task queue does not answer")
