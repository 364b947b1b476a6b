"""What can go wrong when calling an address that a user chose; no text holds the address."""

from kroma.errors import PolicyError, ProviderError


class UrlRefusedError(PolicyError):
    """The address may not be called."""

    code = "url_refused"


class OutboundError(ProviderError):
    """A call was allowed, but brought no reply."""

    code = "outbound_failed"
    retryable = True


class HostNotFoundError(OutboundError):
    """The name has no address now."""

    text = "The host name was not found"


class ConnectionFailedError(OutboundError):
    """No connection came about, or it broke before the reply was complete."""

    def __init__(self, *, has_left: bool = False) -> None:
        super().__init__("The connection failed")
        self.has_left = has_left
        """Whether the request, or a part of it, may have arrived."""


class CallTimedOutError(OutboundError):
    """The reply was not complete in time."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"No complete reply within {limit_s:g} s")


class ReplyTooLargeError(OutboundError):
    """The reply is larger than anyone asked for; it would be again."""

    retryable = False

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The reply is larger than {limit_bytes} bytes")
