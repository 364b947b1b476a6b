"""Encodes facts, since they pass from picture process to picture process through one without numpy."""

from typing import Any, Final

import msgspec
import numpy as np

from kroma.imaging.measures.facts import JobFacts


def encoded(facts: JobFacts) -> bytes:
    """The facts as MessagePack."""
    return _encoder.encode(facts)


def decoded(data: bytes) -> JobFacts:
    """The facts from ``encoded`` of the same version of Kroma."""
    return _decoder.decode(data)


def _from_array(value: Any) -> tuple[str, tuple[int, ...], bytes]:  # noqa: ANN401 - msgspec's signature
    array = np.asarray(value)
    return array.dtype.str, array.shape, array.tobytes()


def _to_array(_: type, value: Any) -> Any:  # noqa: ANN401 - as above
    kind, shape, data = value
    return np.frombuffer(data, dtype=kind).reshape(shape)


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_from_array)
_decoder: Final = msgspec.msgpack.Decoder(JobFacts, dec_hook=_to_array)
