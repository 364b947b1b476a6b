"""Errors of the queue."""

from kroma.errors import InfraError


class QueueUnavailableError(InfraError):
    """The queue's server does not answer."""

    code = "queue_unavailable"
    text = "The task queue does not answer"
