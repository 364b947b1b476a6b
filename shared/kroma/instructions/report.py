"""What an external agent says of an instruction, in its reply or later in a callback."""

from collections.abc import Mapping
from typing import Any, Final, Self, cast

import msgspec
from msgspec import UnsetType

from kroma.errors import NotOneOfError
from kroma.instructions.echoes import Echoes
from kroma.instructions.models import AgentInstruction, InstructionStatus
from kroma.json_depth import refuse_too_deep
from kroma.texts import optional_text, required_text

_MOVES: Final[Mapping[str, InstructionStatus]] = {
    "accepted": InstructionStatus.RUNNING,
    "running": InstructionStatus.RUNNING,
    "done": InstructionStatus.DONE,
    "failed": InstructionStatus.FAILED,
    "rejected": InstructionStatus.FAILED,
}
_REPLY_MOVES: Final = {**_MOVES, "queued": InstructionStatus.RUNNING}
_WORD_CHARACTERS: Final = 64
_ERROR_CHARACTERS: Final = 500


class AgentReport(msgspec.Struct, frozen=True, kw_only=True):
    """One statement of the agent."""

    word: str
    """Its status in its own word, lower case."""
    status: InstructionStatus
    """What that means for the instruction: ``running``, ``done`` or ``failed``."""
    message: str | None
    error: str | None
    content: Any
    """Everything it sent."""

    @classmethod
    def of_reply(cls, body: bytes, *, echoes: Echoes) -> Self:
        """Read a 2xx reply: no JSON counts as ``{}``, no status as ``done``, an unknown one as ``failed``."""
        content = echoes.hide_in(_decoded(body))
        fields = cast("dict[str, object]", content) if isinstance(content, dict) else {}
        given = _text(fields.get("status"))
        word = "done" if given is None else given.strip().lower()
        return cls(
            word=word[:_WORD_CHARACTERS],
            status=_REPLY_MOVES.get(word, InstructionStatus.FAILED),
            message=optional_text(_text(fields.get("message"))),
            error=optional_text(_text(fields.get("error"))),
            content=content,
        )

    @classmethod
    def of_callback(
        cls, *, status: str | UnsetType, message: str | None, result: object, error: str | None
    ) -> Self:
        """Read a callback, which has no excuse for another word.

        Raises:
            FieldRequiredError: ``status`` is missing or blank.
            NotOneOfError: It is no word for a callback.
        """
        word = required_text("status", status).lower()
        if word not in _MOVES:
            raise NotOneOfError("status", tuple(_MOVES))
        said = {"status": word, "message": message, "result": result, "error": error}
        return cls(
            word=word,
            status=_MOVES[word],
            message=optional_text(message),
            error=optional_text(error),
            content={name: value for name, value in said.items() if value is not None},
        )

    def move(self, row: AgentInstruction) -> None:
        """Move an instruction to where the agent says it is; nobody holds it any longer."""
        row.status = self.status
        row.release()
        row.available_at = None
        row.last_error = None
        if self.status is InstructionStatus.FAILED and (reason := self.error or self.message):
            row.last_error = reason[:_ERROR_CHARACTERS]
        if self.status is not InstructionStatus.RUNNING:
            row.deadline_at = None
        row.agent_response_json = self.content


def _decoded(body: bytes) -> object:
    try:
        refuse_too_deep(body)
        return _storable(msgspec.json.decode(body)) or {}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _storable(value: object) -> object:
    """A JSON value without the character that PostgreSQL cannot store."""
    match value:
        case str():
            return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
        case list():
            return [_storable(inner) for inner in cast("list[object]", value)]
        case dict():
            fields = cast("dict[str, object]", value)
            return {str(_storable(name)): _storable(inner) for name, inner in fields.items()}
        case _:
            return value
