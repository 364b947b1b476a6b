from kroma.errors import ProviderError


class ToolError(ProviderError):
    """A tool failed."""

    code = "postprocess_failed"

    def __init__(self, tool: str, reason: str) -> None:
        super().__init__(f"Tool '{tool}' failed: {reason}")


class ToolMissingError(ToolError):
    """A tool is not installed or has no key; the message says what to do."""

    code = "tool_missing"


class ToolTimedOutError(ToolError):
    """A program exceeded its time limit."""

    code = "tool_timed_out"
    retryable = True


class UnsureError(ToolError):
    """The backdrop is not plain enough to separate it from the subject."""

    code = "backdrop_unsure"


class ResultRejectedError(ToolError):
    """The result of post-processing did not pass the final check."""

    code = "postprocess_rejected"

    def __init__(self, reason: str) -> None:
        ProviderError.__init__(self, f"The post-processed picture was rejected: {reason}")
