import io
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from kroma.imaging.errors import PictureTooLargeError, TruncatedPictureError, UnreadablePictureError
from kroma.imaging.header import (
    HEAD_BYTES,
    MAX_BYTES,
    TAIL_BYTES,
    has_image_extension,
    inspect,
    inspect_header,
)
from support.builders import corpus


def encoded(fmt: str, size: tuple[int, int] = (37, 21), mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 80).convert(mode).save(buffer, format=fmt, **options)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "fmt", "mime"),
    [
        pytest.param(encoded("PNG"), "PNG", "image/png", id="png"),
        pytest.param(encoded("JPEG"), "JPEG", "image/jpeg", id="jpeg"),
        pytest.param(encoded("JPEG", progressive=True), "JPEG", "image/jpeg", id="progressive jpeg"),
        pytest.param(encoded("WEBP"), "WEBP", "image/webp", id="lossy webp"),
        pytest.param(encoded("WEBP", lossless=True), "WEBP", "image/webp", id="lossless webp"),
        pytest.param(encoded("WEBP", mode="RGBA"), "WEBP", "image/webp", id="webp with alpha"),
        pytest.param(encoded("BMP"), "BMP", "image/bmp", id="bmp"),
        pytest.param(encoded("TIFF"), "TIFF", "image/tiff", id="tiff"),
        pytest.param(encoded("TIFF", compression="tiff_lzw"), "TIFF", "image/tiff", id="lzw tiff"),
        pytest.param(encoded("TIFF", big_tiff=True), "TIFF", "image/tiff", id="big tiff"),
    ],
)
def test_a_header_names_format_and_size(data: bytes, fmt: str, mime: str) -> None:
    header = inspect(data, name="a")
    assert (header.format, header.mime_type, header.width, header.height) == (fmt, mime, 37, 21)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_front_and_end_of_a_large_file_are_enough(fmt: str) -> None:
    data = encoded(fmt, (900, 700), **({"quality": 100} if fmt == "JPEG" else {}), lossless=True)
    assert len(data) > HEAD_BYTES
    header = inspect_header(data[:HEAD_BYTES], data[-TAIL_BYTES:], len(data), name="a")
    assert (header.width, header.height) == (900, 700)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 4000)])
def test_no_picture_is_too_small(size: tuple[int, int]) -> None:
    assert inspect(encoded("PNG", size), name="a").width == size[0]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"", "empty", id="zero bytes"),
        pytest.param(b"dear reader, this is text", "not a picture", id="text named png"),
        pytest.param(encoded("GIF", mode="P"), "GIF", id="gif named png"),
        pytest.param(b"%PDF-1.7 and so on", "PDF", id="pdf named png"),
        pytest.param(png_that_claims(0, 10), "0x10", id="no width"),
        pytest.param(b"\xff\xd8\xff\xe0\0\x04\0\0" + b"x" * 40, "damaged", id="jpeg of nothing"),
        pytest.param(b"RIFF\x20\0\0\0WEBPJUNK" + b"\0" * 40, "without a picture", id="webp of nothing"),
    ],
)
def test_what_is_no_picture_is_named_with_what_would_be_right(data: bytes, problem: str) -> None:
    with pytest.raises(UnreadablePictureError, match=problem) as caught:
        inspect(data, name="scene.png")
    assert caught.value.code == "unreadable_picture"
    assert "'scene.png'" in caught.value.message
    assert "PNG, JPEG" in caught.value.message


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_file_cut_short_is_truncated(fmt: str, share: float) -> None:
    data = encoded(fmt, (200, 200))
    with pytest.raises(TruncatedPictureError, match=r"scene\.x") as caught:
        inspect(data[: int(len(data) * share)], name="scene.x")
    assert caught.value.code == "truncated_picture"


def test_the_end_marker_of_an_embedded_thumbnail_does_not_count() -> None:
    thumbnail = encoded("JPEG", (8, 8))
    exif = b"Exif\0\0" + thumbnail
    whole = encoded("JPEG", (400, 400), exif=exif)
    assert b"\xff\xd9" in whole[:2000]
    with pytest.raises(TruncatedPictureError):
        inspect(whole[:-200], name="a.jpg")


def test_bytes_after_the_end_are_allowed() -> None:
    assert inspect(encoded("PNG") + b"trailer", name="a").format == "PNG"
    assert inspect(encoded("JPEG") + b"\0" * 500, name="a").format == "JPEG"


def test_a_header_of_30000_by_30000_is_too_large() -> None:
    with pytest.raises(
        PictureTooLargeError, match="30000x30000 pixels; the limit is 64 megapixels"
    ) as caught:
        inspect(png_that_claims(30000, 30000), name="huge.png")
    assert caught.value.code == "picture_too_large"


def test_sixty_four_megapixels_are_allowed() -> None:
    assert inspect(png_that_claims(8000, 8000), name="a").height == 8000
    with pytest.raises(PictureTooLargeError):
        inspect(png_that_claims(8000, 8001), name="a")


def test_more_than_64_mib_is_too_large() -> None:
    data = encoded("PNG")
    with pytest.raises(PictureTooLargeError, match="64 MiB"):
        inspect_header(data, data, MAX_BYTES + 1, name="a")


def test_scans_are_counted_before_anything_is_decoded() -> None:
    with pytest.raises(
        PictureTooLargeError, match="106 scans of 7990x7990 pixels; the limit is 20 at this size"
    ):
        inspect(corpus.sample("many_scans_jpeg").data, name="bomb.jpg")
    with pytest.raises(PictureTooLargeError, match="too many JPEG segments; the limit is 16,384"):
        inspect(corpus.jpeg_of_scans(20_000, 8), name="bomb.jpg")


@pytest.mark.parametrize(
    ("side_px", "scans"),
    [pytest.param(8000, 20, id="64 megapixels"), pytest.param(3568, 100, id="12.7 megapixels")],
)
def test_as_many_scans_as_an_encoder_may_write_are_allowed(side_px: int, scans: int) -> None:
    data = corpus.jpeg_of_scans(scans - 6, side_px)
    assert data.count(b"\xff\xda") == scans
    assert inspect(data, name="a.jpg").width == side_px
    with pytest.raises(PictureTooLargeError):
        inspect(corpus.jpeg_of_scans(scans - 5, side_px), name="a.jpg")


@pytest.mark.parametrize("where", ["in a comment", "behind the end"])
def test_what_only_looks_like_a_scan_is_not_counted(where: str) -> None:
    data, scans = corpus.jpeg_of_scans(14, 8000), b"\xff\xda" * 50
    comment = b"\xff\xfe" + struct.pack(">H", len(scans) + 2) + scans
    more = (
        data + scans if where == "behind the end" else data[:2] + comment + data[2:-2] + comment + data[-2:]
    )
    assert inspect(more, name="a.jpg").width == 8000


def test_a_scan_behind_a_marker_without_length_is_counted() -> None:
    data = corpus.jpeg_of_scans(14, 8000)
    hidden = b"\xff\x02\xff\xff" + data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(PictureTooLargeError, match="21 scans"):
        inspect(data[:-2] + hidden + data[-2:], name="bomb.jpg")


def test_comments_without_end_before_the_picture_are_too_many() -> None:
    data = encoded("JPEG")
    with pytest.raises(PictureTooLargeError, match="too many JPEG segments"):
        inspect(data[:2] + b"\xff\xfe\0\2" * 20_000 + data[2:], name="a.jpg")


def test_chunks_are_counted_before_anything_is_decoded() -> None:
    with pytest.raises(PictureTooLargeError, match="too many PNG chunks; the limit is 65,536"):
        inspect(corpus.sample("many_chunks_png").data, name="bomb.png")
    assert inspect(corpus.png_of_chunks(65_000), name="a.png").width == corpus.WIDTH


def test_a_png_with_many_profiles_is_refused() -> None:
    data = corpus.sample("png").data
    profile = corpus.chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(bytes(1000)))
    with pytest.raises(PictureTooLargeError, match="too many color profiles; the limit is 16"):
        inspect(data[:33] + profile * 17 + data[33:], name="bomb.png")


@pytest.mark.parametrize("name", ["jpeg_with_film", "png_with_much_behind"])
def test_the_end_of_a_whole_file_is_found_wherever_it_is(name: str) -> None:
    data = corpus.sample(name).data
    assert inspect(data, name=name).width == corpus.WIDTH
    with pytest.raises(TruncatedPictureError):
        inspect_header(data[:HEAD_BYTES], data[-TAIL_BYTES:], len(data), name=name)


@pytest.mark.parametrize("name", ["a.png", "A.JPG", "x/y.Jpeg", "a.webp", "a.bmp", "a.tif", "a.b.TIFF"])
def test_picture_extensions_count_in_any_case(name: str) -> None:
    assert has_image_extension(name)


@pytest.mark.parametrize("name", ["a.gif", "png", "a.png.txt", "", ".png/a"])
def test_other_names_are_no_pictures(name: str) -> None:
    assert not has_image_extension(name)


@pytest.mark.timeout(60)
def test_the_api_can_import_headers_settings_and_providers_without_numpy_or_opencv() -> None:
    program = (
        "import sys, kroma.imaging.header, kroma.imaging.color_check, kroma.providers;"
        "print([m for m in ('numpy', 'cv2', 'PIL') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
