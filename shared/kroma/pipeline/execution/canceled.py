"""The reason that a canceled job shows."""

from typing import Any, Final

from kroma.runs.errors import RunCanceledError

_canceled = RunCanceledError()
CANCELED_REASON: Final[dict[str, Any]] = {
    "error": _canceled.message,
    "error_kind": _canceled.kind,
    "error_code": _canceled.code,
}
"""Of a job that was canceled."""
