"""How post-processing can fail; each message says which tool, why, and what to do."""

from kroma.errors import ProviderError


class ToolError(ProviderError):
    """A tool did not do its work."""

    code = "postprocess_failed"

    def __init__(self, tool: str, reason: str) -> None:
        super().__init__(f"Tool '{tool}' failed: {reason}")


class ToolMissingError(ToolError):
    """A tool is not installed here, or has no key; the message says what to install or to set."""

    code = "tool_missing"


class ToolTimedOutError(ToolError):
    """A program took longer than it may."""

    code = "tool_timed_out"
    retryable = True


class UnsureError(ToolError):
    """The backdrop is not plain enough to tell it from the subject."""

    code = "backdrop_unsure"


class ResultRejectedError(ToolError):
    """What a chain of tools made is not what its source should have become."""

    code = "postprocess_rejected"

    def __init__(self, reason: str) -> None:
        ProviderError.__init__(self, f"The post-processed picture was rejected: {reason}")
