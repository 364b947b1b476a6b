"""Everything that may travel on the queue: ids, never rows, bytes or secrets."""

from uuid import UUID

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="task"):
    """Root of all messages; ``version`` lets a newer worker read an older one's."""

    version: int = 1


class ExecuteJob(Message, frozen=True, kw_only=True):
    """Carry one job of a run to its end."""

    job_id: UUID


class FinishRun(Message, frozen=True, kw_only=True):
    """Write the log of a run without open jobs, ingest it and set its end."""

    run_id: UUID


class DispatchInstruction(Message, frozen=True, kw_only=True):
    """Send one confirmed instruction to the external agent."""

    instruction_id: UUID


AnyMessage = ExecuteJob | FinishRun | DispatchInstruction
"""The union a worker decodes; start-up fails when one of these has no task or two."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    """One message as msgpack."""
    return _encoder.encode(message)


def decode(data: bytes) -> AnyMessage:
    """The message in ``data``.

    Raises:
        msgspec.DecodeError: The bytes are no message of ours.
    """
    return _decoder.decode(data)
