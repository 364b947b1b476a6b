"""The smallest ONNX file that is a network: mean colors over a grid, flattened.

Written field by field after onnx.proto3, since a package for it would be one more to install.
"""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _whole(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _ints(name: str, values: list[int]) -> bytes:
    """AttributeProto of type INTS."""
    return _bytes(1, name) + b"".join(_whole(8, value) for value in values) + _whole(20, 7)


def _tensor_of_floats(name: str, shape: list[int]) -> bytes:
    """ValueInfoProto."""
    dims = b"".join(_bytes(1, _whole(1, size)) for size in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _whole(1, 1) + _bytes(2, dims)))


def _node(operator: str, given: str, made: str, *attributes: bytes) -> bytes:
    parts = _bytes(1, given) + _bytes(2, made) + _bytes(3, operator.lower()) + _bytes(4, operator)
    return parts + b"".join(_bytes(5, attribute) for attribute in attributes)


def mean_colors(side: int = 112, cell: int = 28) -> bytes:
    """A model that takes ``1x3xsxs`` and gives the mean of each cell in each color."""
    cells = side // cell
    graph = _bytes(
        1,
        _node("AveragePool", "x", "cells", _ints("kernel_shape", [cell] * 2), _ints("strides", [cell] * 2)),
    )
    graph += _bytes(1, _node("Flatten", "cells", "y"))
    graph += _bytes(2, "faces")
    graph += _bytes(11, _tensor_of_floats("x", [1, 3, side, side]))
    graph += _bytes(12, _tensor_of_floats("y", [1, 3 * cells * cells]))
    return _whole(1, 8) + _bytes(7, graph) + _bytes(8, _whole(2, 13))
