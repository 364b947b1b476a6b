"""Files that are heavy, or that become so when they are opened."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import Image

from support.builders.factories import png

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MIB: Final = 1024 * 1024


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, *, depth: int = 8, color: int = 2) -> bytes:
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))


def noise_of(mib: int) -> bytes:
    """A good PNG of about so many MiB, which nothing compresses."""
    side = int((mib * MIB / 3) ** 0.5) - 8
    rows = np.random.default_rng(mib).integers(0, 256, (side, side * 3 + 1), dtype=np.uint8)
    rows[:, 0] = 0
    return header(side, side) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 0)) + chunk(b"IEND", b"")


def marked(picture: bytes, text: str) -> bytes:
    """The same PNG with a text, so that it is another file."""
    at = picture.rindex(b"IEND") - 4
    return picture[:at] + chunk(b"tEXt", b"n\0" + text.encode()) + picture[at:]


def cube_of_comments(mib: int) -> bytes:
    """A color table that says nothing for a long time."""
    line = b"# " + b"c" * 61 + b"\n"
    rows = "\n".join(f"{r} {g} {b}" for b in (0, 1) for g in (0, 1) for r in (0, 1))
    return line * (mib * MIB // len(line)) + f"LUT_3D_SIZE 2\n{rows}\n".encode()


def cube_of_one_line(mib: int) -> bytes:
    """The same in a single line."""
    return b"# " + b"c" * (mib * MIB) + b"\nLUT_3D_SIZE 2\n"


def _packed(mib: int) -> bytes:
    """So many MiB of nothing, as a PNG packs them."""
    packer = zlib.compressobj(1)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(mib)), packer.flush()])


def bombs() -> Iterator[tuple[str, bytes]]:
    """Pictures that are small on the way and huge, endless or tangled when they are opened."""
    pixels = _packed(64)
    yield "PNG of 60,000 x 60,000", header(60_000, 60_000) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    yield "PNG of 2^31 x 1", header(2**31 - 1, 1) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    yield (
        "PNG with more pixels than it says",
        header(16, 16) + chunk(b"IDAT", pixels * 8) + chunk(b"IEND", b""),
    )
    million = chunk(b"tEXt", b"a\0b") * 1_000_000
    yield "PNG of a million chunks", header(8, 8) + million + chunk(b"IEND", b"")
    empty = chunk(b"IDAT", b"") * 1_000_000
    yield "PNG of a million empty IDAT", header(8, 8) + empty + chunk(b"IEND", b"")
    text = _packed(512)
    base = png(16, 16)
    at = base.index(b"IDAT") - 4
    for kind, head in ((b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"p\0\0")):
        yield f"PNG with 512 MiB of {kind.decode()}", base[:at] + chunk(kind, head + text) + base[at:]
    frames = b"".join(
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", n, 1, 1, 0, 0, 1, 1, 0, 0)) for n in range(50_000)
    )
    yield (
        "APNG of 50,000 frames",
        base[:at] + chunk(b"acTL", struct.pack(">II", 50_000, 0)) + frames + base[at:],
    )
    yield "PNG cut in its header", SIGNATURE + b"\0\0\0\x0dIHDR\0"
    yield from _jpegs()
    yield from _others()


def _jpegs() -> Iterator[tuple[str, bytes]]:
    picture = io.BytesIO()
    Image.linear_gradient("L").save(picture, "JPEG", progressive=True)
    good = picture.getvalue()
    frame = good.index(b"\xff\xc2")
    huge = good[: frame + 5] + struct.pack(">HH", 65_500, 65_500) + good[frame + 9 :]
    yield "JPEG of 65,500 x 65,500", huge
    scan = good.index(b"\xff\xda")
    yield "JPEG of 100,000 scans", good[:scan] + good[scan : scan + 40] * 100_000 + b"\xff\xd9"
    segment = b"\xff\xe1" + struct.pack(">H", 65_000) + b"Exif\0\0" + b"E" * 64_992
    yield "JPEG with 30 MB of Exif", good[:2] + segment * 460 + good[2:]
    yield "JPEG of fill bytes", good[:2] + b"\xff" * (8 * MIB) + good[2:]


def _others() -> Iterator[tuple[str, bytes]]:
    webp = io.BytesIO()
    Image.new("RGB", (16, 16)).save(webp, "WEBP", lossless=True)
    small = webp.getvalue()
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes([0x02, 0, 0, 0]) + b"\xfe\xff\xff" * 2
    body = b"WEBP" + vp8x + small[12:]
    yield "WebP of 16,777,215 x 16,777,215", b"RIFF" + struct.pack("<I", len(body)) + body
    frames = b"WEBP" + vp8x + b"ANMF\x18\0\0\0" * 200_000
    yield "WebP of 200,000 frames", b"RIFF" + struct.pack("<I", len(frames)) + frames
    bmp = (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0)
    )
    yield "BMP of 2^31 x 2^31", bmp
    rle = struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 8, 1, 0, 0, 0, 0, 0)
    yield "BMP of run lengths", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + rle + b"\xff\0" * 100_000
    entries = [(256, 4, 1, 60_000), (257, 4, 1, 60_000), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (278, 4, 1, 60_000), (279, 4, 1, 64)]
    ifd = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    yield "TIFF of 60,000 x 60,000", b"II*\0" + struct.pack("<I", 8) + ifd + struct.pack("<I", 0)
    yield "TIFF whose directories are a ring", b"II*\0" + struct.pack("<I", 8) + ifd + struct.pack("<I", 8)
    many = struct.pack("<H", 65_535) + struct.pack("<HHII", 270, 2, 0xFFFFFFFF, 8) * 65_535
    yield "TIFF of 65,535 tags of 4 GiB", b"II*\0" + struct.pack("<I", 8) + many + struct.pack("<I", 0)
    yield "GIF of 65,535 x 65,535", b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";"
