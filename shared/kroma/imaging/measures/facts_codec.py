"""Measured facts as bytes and back: picture processes hand them on through one that has no numpy."""

from typing import Any, Final

import msgspec
import numpy as np

from kroma.imaging.measures.facts import JobFacts


def sealed(facts: JobFacts) -> bytes:
    """The facts as MessagePack."""
    return _encoder.encode(facts)


def opened(data: bytes) -> JobFacts:
    """What ``sealed`` made, in a process of the same version."""
    return _decoder.decode(data)


def _told(value: Any) -> tuple[str, tuple[int, ...], bytes]:  # noqa: ANN401 - msgspec asks for any
    array = np.asarray(value)
    return array.dtype.str, array.shape, array.tobytes()


def _array(_: type, told: Any) -> Any:  # noqa: ANN401 - as above
    kind, shape, data = told
    return np.frombuffer(data, dtype=kind).reshape(shape)


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_told)
_decoder: Final = msgspec.msgpack.Decoder(JobFacts, dec_hook=_array)
