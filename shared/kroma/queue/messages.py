"""Everything that may travel on the queue: ids, never rows, bytes or secrets."""

from typing import Final
from uuid import UUID

import msgspec
import structlog

log = structlog.get_logger(__name__)

MESSAGE_VERSION: Final = 1
"""Rises when a message's fields change their meaning; new fields with a default need no new one."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="task"):
    """Root of all messages; a worker reads its own ``version`` and all before it."""

    version: int = MESSAGE_VERSION


class ExecuteJob(Message, frozen=True, kw_only=True):
    """Carry one job of a run to its end."""

    job_id: UUID


class FinishRun(Message, frozen=True, kw_only=True):
    """Write the log of a run without open jobs, ingest it and set its end."""

    run_id: UUID


class DispatchInstruction(Message, frozen=True, kw_only=True):
    """Send one confirmed instruction to the external agent."""

    instruction_id: UUID


class SyncProject(Message, frozen=True, kw_only=True):
    """Carry one sync, restore or verification of a project to its end."""

    sync_id: UUID


AnyMessage = ExecuteJob | FinishRun | DispatchInstruction | SyncProject
"""The union a worker decodes; start-up fails when one of these has no task or two."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    """One message as msgpack."""
    return _encoder.encode(message)


def readable(data: bytes) -> AnyMessage | None:
    """The message in ``data``; None when it is none of ours, or a newer Kroma's.

    Such a one is ignored, with a line in the log: its row is the truth, and the sweep of a worker that
    can do the work is notified again.
    """
    try:
        message = _decoder.decode(data)
    except msgspec.DecodeError as exc:
        log.warning("queue.message_ignored", problem=str(exc))
        return None
    if message.version > MESSAGE_VERSION:
        log.warning("queue.message_ignored", problem=f"its version is {message.version}")
        return None
    return message
