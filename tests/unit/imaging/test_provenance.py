"""Records in pictures: written without touching anything else, read back, and checked."""

import contextlib
import io
import struct
from uuid import uuid4

import msgspec
import pytest
from PIL import Image

from kroma.imaging import provenance
from kroma.imaging.png_text import SIGNATURE, chunk
from kroma.imaging.provenance import ParentRecord, PictureRecord, RecordUnreadableError, State
from support.builders.factories import encoded, jpeg, png, scene_png


def record(**fields: object) -> PictureRecord:
    known = {
        "step": "generate",
        "run_id": uuid4(),
        "job_key": "style_1_harbor",
        "prompt": 'Zeichne »Mara« <in> ink & "rain" ]]> \0',
        "provider": "local",
        "model": "kroma-ink-1",
        "seed": 2**63 - 1,
        "parameters": {"ink": 0.5},
        "parents": (ParentRecord(role="scene", path="scenes/a.png", sha256="0" * 64),),
    }
    return msgspec.convert(known | fields, PictureRecord)


def webp(mode: str = "RGB", **options: object) -> bytes:
    return encoded(Image.open(io.BytesIO(scene_png(33, 21))).convert(mode), "WEBP", **options)


CARRIERS = [
    pytest.param(png(33, 21), id="png"),
    pytest.param(png(33, 21, (1, 2, 3, 4)), id="png with alpha"),
    pytest.param(webp(quality=80), id="lossy webp"),
    pytest.param(webp(lossless=True), id="lossless webp"),
    pytest.param(webp("RGBA", lossless=True), id="lossless webp with alpha"),
    pytest.param(webp("RGBA", quality=70), id="lossy webp with alpha"),
    pytest.param(webp(icc_profile=b"a profile", quality=80), id="webp with a profile"),
    pytest.param(webp(xmp=b"<x><rdf:RDF><other/></rdf:RDF></x>"), id="webp with a packet of its own"),
    pytest.param(webp(xmp=b"no xml at all"), id="webp with a broken packet"),
]


def commented(png_data: bytes) -> bytes:
    start = png_data.index(b"IDAT") - 4
    return png_data[:start] + chunk(b"tEXt", b"Comment\0of the camera") + png_data[start:]


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.mode.encode() + image.convert("RGBA").tobytes()


@pytest.mark.parametrize("data", CARRIERS)
def test_a_sealed_picture_has_its_record_and_the_same_pixels(data: bytes) -> None:
    made = record()
    sealed = provenance.sealed(data, made)
    found = provenance.find_record(sealed.data, name="a")

    assert found == sealed.record
    assert found is not None
    assert (found.prompt, found.seed, found.parents) == (made.prompt, made.seed, made.parents)
    assert provenance.state_of(sealed.data, found) is State.UNCHANGED
    assert pixels(sealed.data) == pixels(data)


@pytest.mark.parametrize("data", CARRIERS)
def test_sealing_again_replaces_the_record(data: bytes) -> None:
    once = provenance.sealed(data, record(step="generate"))
    twice = provenance.sealed(once.data, record(step="upscale"))
    found = provenance.find_record(twice.data, name="a")

    assert found is not None
    assert found.step == "upscale"
    assert found.body_sha256 == once.record.body_sha256
    assert twice.data.count(b"kroma 0") == 1


def test_a_png_is_the_same_to_the_byte_but_for_the_one_chunk() -> None:
    data = commented(scene_png()) + b"behind the end"
    sealed = provenance.sealed(data, record()).data
    text = msgspec.json.encode(provenance.find_record(sealed, name="a"))
    ours = chunk(b"iTXt", b"kroma\0\0\0\0\0" + text)

    assert sealed.count(ours) == 1
    assert sealed.replace(ours, b"") == data


def test_a_webp_keeps_what_its_packet_said() -> None:
    data = webp(xmp=b"<x><rdf:RDF><other/></rdf:RDF></x>")
    sealed = provenance.sealed(data, record()).data

    with Image.open(io.BytesIO(sealed)) as image:
        assert b"<rdf:RDF><other/><rdf:Description" in image.info["xmp"]


def test_an_animated_webp_keeps_its_frames() -> None:
    frames = [Image.new("RGB", (20, 12), (20 * n, 0, 0)) for n in range(3)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    sealed = provenance.sealed(data, record()).data

    with Image.open(io.BytesIO(sealed)) as image:
        assert getattr(image, "n_frames", 1) == 3
    assert provenance.find_record(sealed, name="a") is not None


@pytest.mark.parametrize("data", CARRIERS[:4])
def test_other_pixels_under_the_same_record_are_found(data: bytes) -> None:
    sealed = provenance.sealed(data, record())
    other = scene_png() if data.startswith(SIGNATURE) else webp(quality=3)

    assert provenance.state_of(other, sealed.record) is State.PICTURE_CHANGED


def test_a_flipped_bit_of_the_pixels_is_found() -> None:
    sealed = provenance.sealed(scene_png(), record())
    damaged = bytearray(sealed.data)
    damaged[-30] ^= 1

    assert provenance.state_of(bytes(damaged), sealed.record) is State.PICTURE_CHANGED


def test_an_edited_record_is_found() -> None:
    sealed = provenance.sealed(png(), record(prompt="in ink"))
    edited = msgspec.structs.replace(sealed.record, prompt="in oil")

    assert provenance.state_of(sealed.data, edited) is State.RECORD_CHANGED


def test_text_of_other_programs_is_no_change() -> None:
    sealed = provenance.sealed(png(), record())
    data = commented(sealed.data)

    assert provenance.state_of(data, sealed.record) is State.UNCHANGED


@pytest.mark.parametrize("data", [jpeg(), b"BM", b"", b"RIFF", b"RIFF\0\0\0\0WEBP", SIGNATURE])
def test_what_carries_no_record_stays_as_it_is(data: bytes) -> None:
    sealed = provenance.sealed(data, record())

    assert sealed.data == data
    assert provenance.find_record(data, name="a") is None
    assert provenance.state_of(data, sealed.record) is State.UNCHANGED


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(provenance.sealed(png(), record()).data, id="png"),
        pytest.param(webp(lossless=True), id="lossless webp"),
        pytest.param(provenance.sealed(webp(), record()).data, id="webp"),
    ],
)
def test_a_torn_file_is_answered_with_an_error_of_ours_or_nothing(whole: bytes) -> None:
    for end in range(0, len(whole), 7):
        torn = whole[:end]
        with contextlib.suppress(RecordUnreadableError):
            provenance.find_record(torn, name="a")
        provenance.body_sha256(torn)
        provenance.sealed(torn, record())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(b"not json", "malformed", id="no JSON"),
        pytest.param(b"[]", "object", id="no object"),
        pytest.param(b'{"version": 2}', "version is 2", id="of a newer Kroma"),
        pytest.param(b'{"seed": "x"}', "seed", id="a wrong type"),
        pytest.param(b'{"prompt": "' + b"x" * provenance.MAX_RECORD_BYTES + b'"}', "limit", id="too large"),
    ],
)
def test_a_record_that_nobody_can_read_is_an_error_that_says_why(text: bytes, problem: str) -> None:
    data = png()
    at = data.index(b"IDAT") - 4
    broken = data[:at] + chunk(b"iTXt", b"kroma\0\0\0\0\0" + text) + data[at:]

    with pytest.raises(RecordUnreadableError, match=problem):
        provenance.find_record(broken, name="a")


def test_a_sidecar_holds_the_record_and_the_files_checksum() -> None:
    sealed = provenance.sealed(png(), record())
    sidecar = provenance.decoded_sidecar(sealed.sidecar("image/png"), name="a.json")

    assert sidecar.record == sealed.record
    assert (sidecar.size_bytes, sidecar.mime_type) == (len(sealed.data), "image/png")


def webp_with(*chunks: tuple[bytes, bytes]) -> bytes:
    body = webp(quality=80)[12:] + b"".join(
        kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) & 1)
        for kind, payload in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(33, 21)[:33] + chunk(b"tEXt", b"a\0b") * 200_000 + png(33, 21)[33:], id="PNG"),
        pytest.param(webp_with() + (b"abcd" + bytes(4)) * 400_000, id="behind a WebP"),
        pytest.param(webp_with(*[(b"abcd", b"")] * 200_000), id="WebP"),
        pytest.param(webp_with((b"XMP ", b"<kroma:record>" * 500_000)), id="records that never end"),
        pytest.param(
            webp_with(
                (b"XMP ", b'<rdf:Description rdf:about="" xmlns:kroma="urn:kroma:record:1">' * 200_000)
            ),
            id="descriptions that never end",
        ),
    ],
)
@pytest.mark.timeout(20)
def test_a_file_of_millions_of_parts_is_read_in_no_time(data: bytes) -> None:
    assert provenance.find_record(data, name="a.webp") is None
    sealed = provenance.sealed(data, record())
    assert provenance.state_of(sealed.data, sealed.record) is State.UNCHANGED
