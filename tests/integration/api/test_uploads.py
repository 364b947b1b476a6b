"""``POST P/assets``: strangers' files in, assets of the project out, or nothing."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient
from PIL import Image
from sqlalchemy import func, select

from kroma.assets.models import Asset
from kroma.db.engine import Database
from kroma.imaging.high_bit_depth import decode16
from kroma.storage.keys import upload_key
from kroma_api.http.errors import MAX_FORM_BYTES
from kroma_api.http.multipart_form import MAX_FIELD_BYTES, MAX_FIELDS, MAX_FILES
from support.builders import corpus
from support.builders.factories import png
from support.builders.uploads import BOUNDARY, files_in, form, part, problem, send_form, upload, uploaded
from support.harness.documented_api import ClientFactory

pytestmark = pytest.mark.timeout(60)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def count_rows(db: Database, *models: Any) -> list[int]:
    async with db.transaction() as session:
        counts = [await session.scalar(select(func.count()).select_from(model)) for model in models]
        return [count or 0 for count in counts]


async def test_a_picture_is_an_asset_with_its_bytes_as_they_were(
    client: AsyncClient, slug: str, location: Path
) -> None:
    data = corpus.sample("jpeg_with_script").data
    response = await upload(client, slug, ("Harbor at Dawn.PNG", data), metadata_json='{"by": "Mara"}')
    body = response.json()
    (asset,) = body["assets"]
    key = f"references/harbor_at_dawn-{sha256(data)[:12]}.jpg"

    assert response.status_code == 200
    assert (body["count"], asset["duplicate"], asset["reference_item_id"]) == (1, False, "")
    assert (asset["kind"], asset["mime_type"], asset["rel_path"]) == ("reference", "image/jpeg", key)
    assert (asset["width"], asset["height"], asset["size_bytes"]) == (corpus.WIDTH, corpus.HEIGHT, len(data))
    assert (asset["sha256"], asset["run_id"], asset["storage_backend"]) == (sha256(data), "", "local")
    assert asset["metadata_json"] == {
        "by": "Mara",
        "upload": {"name": "Harbor at Dawn.PNG", "mime_type": "image/jpeg"},
    }
    assert (location / key).read_bytes() == data
    assert (await client.get(f"/api/projects/{slug}/assets/{asset['id']}")).json()["asset"][
        "sha256"
    ] == sha256(data)


async def test_an_upload_is_in_the_trail(client: AsyncClient, slug: str) -> None:
    body = (await upload(client, slug, ("a.png", png()), kind="input")).json()
    events = (await client.get(f"/api/projects/{slug}/audit-events?event_code=asset.upload")).json()

    (event,) = events["audit_events"]
    assert event["id"] == body["audit_id"]
    assert event["payload_json"] == {
        "asset_ids": [body["assets"][0]["id"]],
        "duplicate_asset_ids": [],
        "kind": "input",
        "reference_set_id": "",
    }


async def test_scenes_lie_where_a_trigger_looks_for_them(client: AsyncClient, slug: str) -> None:
    await uploaded(client, slug, ("b.png", png(64, 48)), ("a.png", png(48, 64)), kind="input")
    body = {"mode": "dry", "input": "scenes"}
    response = await client.post(f"/api/projects/{slug}/runs/trigger", json=body)

    assert response.status_code == 202, response.text
    assert (await client.get(f"{response.headers['Location']}/jobs")).json()["count"] == 2


@pytest.mark.parametrize("name", ["jpeg_with_film", "png_with_much_behind"])
async def test_what_an_upload_takes_with_bytes_behind_its_end_a_trigger_takes_too(
    client: AsyncClient, slug: str, name: str
) -> None:
    await uploaded(client, slug, ("photo.jpg", corpus.sample(name).data), kind="input")
    body = {"mode": "dry", "input": "scenes"}
    response = await client.post(f"/api/projects/{slug}/runs/trigger", json=body)

    assert response.status_code == 202, response.text


@pytest.mark.parametrize("name", ["bmp", "tiff", "tiff16"])
async def test_bmp_and_tiff_become_png_that_looks_the_same(
    client: AsyncClient, slug: str, name: str, location: Path
) -> None:
    data = corpus.sample(name).data
    (asset,) = await uploaded(client, slug, (f"{name}.dat", data))
    kept = (location / asset["rel_path"]).read_bytes()
    before, after = decode16(data, name=name), decode16(kept, name=name)

    assert (asset["mime_type"], asset["rel_path"][-4:], asset["sha256"]) == (
        "image/png",
        ".png",
        sha256(kept),
    )
    assert asset["metadata_json"]["upload"] == {
        "name": f"{name}.dat",
        "mime_type": "image/bmp" if name == "bmp" else "image/tiff",
        "sha256": sha256(data),
        "size_bytes": len(data),
    }
    assert after.is_16_bit == before.is_16_bit
    assert (after.pixels == before.pixels).all()
    assert (await uploaded(client, slug, ("again.tif", data)))[0]["duplicate"] is True


async def test_a_turned_tiff_stands_upright_with_its_profile(
    client: AsyncClient, slug: str, location: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    profile = corpus.display_profile()
    Image.new("RGB", (20, 10)).save(buffer, "TIFF", exif=exif, icc_profile=profile)
    (asset,) = await uploaded(client, slug, ("turned.tif", buffer.getvalue()))

    assert (asset["width"], asset["height"]) == (10, 20)
    with Image.open(location / asset["rel_path"]) as image:
        assert image.info["icc_profile"] == profile


@pytest.mark.parametrize("name", corpus.BAD)
async def test_what_is_no_whole_picture_is_refused_by_name(
    client: AsyncClient, slug: str, db: Database, name: str, location: Path
) -> None:
    files = [("good.png", png()), (f"{name}.png", corpus.sample(name).data)]
    status, code, text = problem(await upload(client, slug, *files))

    assert status == 400
    assert code in {"unreadable_picture", "truncated_picture", "picture_too_large"}
    assert f"'{name}.png'" in text
    assert await count_rows(db, Asset) == [0]
    assert files_in(location) == []


async def test_the_sent_type_and_name_mean_nothing(client: AsyncClient, slug: str) -> None:
    body = form(part("file", png(), filename="page.html", more="Content-Type: text/html\r\n"))
    (asset,) = (await send_form(client, slug, body)).json()["assets"]

    assert (asset["mime_type"], asset["rel_path"][-4:]) == ("image/png", ".png")


@pytest.mark.parametrize(
    ("sent", "stem", "shown"),
    [
        pytest.param("../../etc/passwd", "passwd", "passwd", id="climbing"),
        pytest.param("..", "picture", "..", id="dots"),
        pytest.param("C:\\Users\\Mara\\Quay.png", "quay", "Quay.png", id="a path of Windows"),
        pytest.param("Éclair Noël.png", "eclair_noel", "Éclair Noël.png", id="accents"),
        pytest.param("гавань.png", "picture", "гавань.png", id="another script"),
        pytest.param("a\0b.png", "a_b", "a_b.png", id="NUL"),
        pytest.param("a\tb\u202eg.png", "a_b_g", "a_b_g.png", id="invisible"),
        pytest.param("x" * 300 + ".png", "x" * 60, "x" * 196 + ".png", id="long"),
        pytest.param(".png", "png", ".png", id="only a suffix"),
        pytest.param("-rf.png", "-rf", "-rf.png", id="like an option"),
    ],
)
async def test_names_are_made_safe(client: AsyncClient, slug: str, sent: str, stem: str, shown: str) -> None:
    data = png()
    body = form(part("file", data, filename=sent))
    response = await send_form(client, slug, body)
    (asset,) = response.json()["assets"]

    assert asset["rel_path"] == f"references/{stem}-{sha256(data)[:12]}.png"
    assert asset["metadata_json"]["upload"]["name"] == shown


async def test_a_name_that_is_no_utf_8_is_no_reason_to_refuse(client: AsyncClient, slug: str) -> None:
    body = form(part("file", png(), filename="n~.png").replace(b"~", b"\xff", 1))
    (asset,) = (await send_form(client, slug, body)).json()["assets"]

    assert asset["metadata_json"]["upload"]["name"] == "n\ufffd.png"


async def test_the_same_bytes_are_one_asset_whatever_their_name_and_kind(
    client: AsyncClient, slug: str, db: Database, location: Path
) -> None:
    data = png()
    (first,) = await uploaded(client, slug, ("a.png", data))
    again = await uploaded(client, slug, ("b.png", data), ("c.png", data), kind="input")

    assert [(one["id"], one["duplicate"], one["kind"]) for one in again] == [
        (first["id"], True, "reference")
    ] * 2
    assert await count_rows(db, Asset) == [1]
    assert files_in(location) == [first["rel_path"]]


async def test_twins_in_one_upload_are_one_asset(client: AsyncClient, slug: str, location: Path) -> None:
    first, second = await uploaded(client, slug, ("a.png", png()), ("b.png", png()))

    assert (first["id"], first["duplicate"], second["duplicate"]) == (second["id"], False, True)
    assert files_in(location) == [first["rel_path"]]


async def test_what_a_run_made_is_found_by_its_bytes_and_stays_what_it_is(
    client: AsyncClient, slug: str, db: Database, location: Path
) -> None:
    data = png()
    (location / "outputs").mkdir()
    (location / "outputs" / "x.png").write_bytes(data)
    async with db.transaction() as session:
        project_id = (await client.get(f"/api/projects/{slug}")).json()["project"]["id"]
        made = Asset(
            project_id=project_id,
            kind="job_final_output",
            storage_uri="outputs/x.png",
            rel_path="outputs/x.png",
            sha256=sha256(data),
            size_bytes=len(data),
        )
        session.add(made)
    (asset,) = await uploaded(client, slug, ("mine.png", data), kind="input")

    assert (asset["id"], asset["duplicate"], asset["kind"]) == (str(made.id), True, "job_final_output")


async def test_a_file_that_was_lost_comes_back_with_its_bytes(
    client: AsyncClient, slug: str, location: Path
) -> None:
    (first,) = await uploaded(client, slug, ("a.png", png()))
    (location / first["rel_path"]).unlink()
    (again,) = await uploaded(client, slug, ("other.png", png()))

    assert (again["id"], again["duplicate"]) == (first["id"], True)
    assert files_in(location) == [first["rel_path"]]
    assert (location / first["rel_path"]).read_bytes() == png()


@pytest.mark.parametrize(
    "edited", [pytest.param(png(20, 20), id="another size"), pytest.param(png()[::-1], id="the same size")]
)
async def test_a_file_that_was_edited_is_not_written_over(
    client: AsyncClient, slug: str, location: Path, edited: bytes
) -> None:
    (first,) = await uploaded(client, slug, ("a.png", png()))
    (location / first["rel_path"]).write_bytes(edited)
    (again,) = await uploaded(client, slug, ("a.png", png()))

    assert again["id"] != first["id"]
    assert again["rel_path"] == first["rel_path"].replace(".png", "-2.png")
    assert (location / first["rel_path"]).read_bytes() == edited


async def test_uploads_of_the_same_bytes_at_once_make_one_asset(
    client_with: ClientFactory, fresh_db: Database, data_dir: Path
) -> None:
    client = client_with(fresh_db, KROMA_API_AUTH_DEV_BYPASS="1")
    slug = (await client.post("/api/projects", json={"name": "Comic"})).json()["project"]["slug"]
    replies = await asyncio.gather(*(uploaded(client, slug, (f"{n % 3}.png", png())) for n in range(9)))

    assert {reply[0]["id"] for reply in replies} == {replies[0][0]["id"]}
    assert sorted(reply[0]["duplicate"] for reply in replies) == [False] + [True] * 8
    assert files_in(data_dir / "var" / "projects" / "comic") == [replies[0][0]["rel_path"]]


async def test_pictures_go_straight_into_a_reference_set_in_order(client: AsyncClient, slug: str) -> None:
    at = f"/api/projects/{slug}/reference-sets"
    set_id = (await client.post(at, json={"name": "Mara"})).json()["reference_set"]["id"]
    await client.post(f"{at}/{set_id}/items", json={"label": "Text", "content_text": "x", "sort_order": 4})
    body = form(
        part("file", png(8, 9), filename="Front view.png"),
        part("reference_set_id", set_id.encode()),
        part("file", png(9, 9), filename="Side.png"),
    )
    first = (await send_form(client, slug, body)).json()["assets"]
    again = (await send_form(client, slug, body)).json()["assets"]
    items = (await client.get(f"{at}/{set_id}/items")).json()["items"]

    assert [(item["label"], item["content_uri"], item["sort_order"]) for item in items[1:]] == [
        ("Front view", first[0]["id"], 5),
        ("Side", first[1]["id"], 6),
    ]
    assert [one["reference_item_id"] for one in first] == [item["id"] for item in items[1:]]
    assert [one["reference_item_id"] for one in again] == [one["reference_item_id"] for one in first]


async def test_a_set_whose_last_place_is_taken_takes_pictures(client: AsyncClient, slug: str) -> None:
    at = f"/api/projects/{slug}/reference-sets"
    set_id = (await client.post(at, json={"name": "Mara"})).json()["reference_set"]["id"]
    last = {"label": "Last", "content_text": "x", "sort_order": 2**31 - 1}
    assert (await client.post(f"{at}/{set_id}/items", json=last)).status_code == 200
    response = await upload(client, slug, ("a.png", png()), ("b.png", png(9, 9)), reference_set_id=set_id)

    assert response.status_code == 200
    assert len((await client.get(f"{at}/{set_id}/items")).json()["items"]) == 3


async def test_an_unknown_set_keeps_nothing(client: AsyncClient, slug: str, location: Path) -> None:
    response = await upload(client, slug, ("a.png", png()), reference_set_id="nope")

    assert problem(response) == (404, "not_found", "Reference set not found")
    assert files_in(location) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"kind": "scene"}, "Field 'kind' must be one of: input, reference", id="kind"),
        pytest.param({"metadata_json": "[]"}, "Field 'metadata_json' must be a JSON object", id="a list"),
        pytest.param({"metadata_json": "{"}, "Field 'metadata_json' must be a JSON object", id="no JSON"),
        pytest.param({"hue": "red"}, "Unknown field 'hue'", id="unknown"),
    ],
)
async def test_a_wrong_field_is_named(
    client: AsyncClient, slug: str, fields: dict[str, str], expected: str
) -> None:
    status, code, text = problem(await upload(client, slug, ("a.png", png()), **fields))

    assert (status, code) == (400, "validation_error")
    assert text.startswith(expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(form(), "Field 'file' is required", id="no parts"),
        pytest.param(form(part("kind", b"input")), "Field 'file' is required", id="no file"),
        pytest.param(form(part("file", b"", filename="")), "Field 'file' is required", id="nothing chosen"),
        pytest.param(form(part("picture", png(), filename="a.png")), "Unknown file 'picture'", id="name"),
        pytest.param(
            form(part("kind", b"input"), part("kind", b"input")), "Field 'kind' is given twice", id="twice"
        ),
        pytest.param(form(part("kind", b"\xff")), "Field 'kind' must be text in UTF-8", id="no text"),
        pytest.param(form(part("kind", b"a\0")), "Field 'kind' must not contain", id="NUL"),
        pytest.param(
            form(part("kind", bytes(MAX_FIELD_BYTES + 1))), "Field 'kind' must be at most", id="long"
        ),
        pytest.param(
            form(part("file", png(), filename="a.png"))[:-8], "The request body is not a complete", id="cut"
        ),
        pytest.param(b"", "The request body is not a complete form", id="empty"),
        pytest.param(b"file=x", "The request body is not a complete form", id="no form"),
        pytest.param(
            form(part("file", png(), filename="a.png", more="X-Long: " + "x" * 9000 + "\r\n")),
            "The request body is not a complete form",
            id="long header",
        ),
        pytest.param(
            form(part("file", png(), filename="a.png", more="X: y\r\n" * 20)),
            "The request body is not a complete form",
            id="many headers",
        ),
    ],
)
async def test_a_body_that_is_no_form_of_files_says_why(
    client: AsyncClient, slug: str, db: Database, body: bytes, expected: str
) -> None:
    status, code, text = problem(await send_form(client, slug, body))

    assert (status, code) == (400, "validation_error")
    assert text.startswith(expected)
    assert await count_rows(db, Asset) == [0]


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
async def test_another_type_of_body_is_refused(client: AsyncClient, slug: str, kind: str) -> None:
    response = await client.post(
        f"/api/projects/{slug}/assets", content=b"{}", headers={"Content-Type": kind}
    )

    assert problem(response)[0] == 415


async def test_a_form_without_a_boundary_is_refused(client: AsyncClient, slug: str) -> None:
    headers = {"Content-Type": "multipart/form-data"}
    response = await client.post(f"/api/projects/{slug}/assets", content=b"x", headers=headers)

    assert problem(response)[:2] == (400, "validation_error")


class Pieces:
    """A body that comes in pieces and counts how many were asked for."""

    def __init__(self, *pieces: bytes, times: int = 1) -> None:
        self._pieces = pieces * times
        self.asked = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.asked += 1
            yield piece


@pytest.mark.parametrize(
    ("piece", "limit", "things"),
    [
        pytest.param(part("file", b"x", filename="a.png"), MAX_FILES, "files", id="files"),
        pytest.param(part("file", b"", filename=""), MAX_FIELDS, "fields", id="empty files"),
    ],
)
async def test_ten_thousand_parts_end_at_the_first_too_many(
    client: AsyncClient, slug: str, piece: bytes, limit: int, things: str
) -> None:
    body = Pieces(piece, times=10_000)
    status, _, text = problem(await send_form(client, slug, body))

    assert status == 400
    # A file that is no picture may end it earlier.
    assert body.asked <= limit + 2
    assert f"more than {limit} {things}" in text or "cannot be read" in text


async def test_two_hundred_files_are_taken_and_one_more_is_not(client: AsyncClient, slug: str) -> None:
    parts = [part("file", png(), filename="a.png")] * MAX_FILES
    taken = await send_form(client, slug, form(*parts))
    refused = await send_form(client, slug, form(*parts, parts[0]))

    assert (taken.status_code, taken.json()["count"]) == (200, MAX_FILES)
    assert problem(refused)[2] == "The form has more than 200 files; send at most 200 in one request"


async def test_a_file_over_64_mib_ends_the_upload_there(client: AsyncClient, slug: str) -> None:
    mebibyte = bytes(1024**2)
    body = Pieces(part("file", b"", filename="big.png")[:-2], *[mebibyte] * 100)
    status, code, text = problem(await send_form(client, slug, body))

    assert (status, code) == (400, "picture_too_large")
    assert text == "Picture 'big.png' is too large: more than 64 MiB; the limit is 64 MiB"
    assert body.asked <= 67


async def test_a_body_that_says_it_is_too_large_is_not_read(client: AsyncClient, slug: str) -> None:
    body = Pieces(b"x")
    response = await send_form(client, slug, body, **{"Content-Length": str(MAX_FORM_BYTES + 1)})

    assert problem(response)[0] == 413
    assert str(MAX_FORM_BYTES) in problem(response)[2]
    assert body.asked == 0


async def test_any_cut_of_the_stream_gives_the_same_form(client: AsyncClient, slug: str) -> None:
    data = png(40, 30)
    body = form(part("kind", b"input"), part("file", data, filename="a.png"))
    pieces = [body[n : n + 7] for n in range(0, len(body), 7)]
    (asset,) = (await send_form(client, slug, Pieces(*pieces))).json()["assets"]

    assert (asset["sha256"], asset["kind"]) == (sha256(data), "input")


async def test_a_picture_with_the_boundary_inside_is_kept_whole(
    client: AsyncClient, slug: str, location: Path
) -> None:
    data = png() + f"\r\n--{BOUNDARY[:-1]}\r\n--{BOUNDARY}".encode()[:-1]
    (asset,) = (await send_form(client, slug, form(part("file", data, filename="a.png")))).json()["assets"]

    assert (location / asset["rel_path"]).read_bytes() == data


async def test_an_unknown_project_is_said_before_the_files_are_read(client: AsyncClient) -> None:
    body = Pieces(b"x", times=100)

    assert problem(await send_form(client, "nowhere", body))[0] == 404
    assert body.asked == 0


async def test_a_project_token_uploads_into_its_project_only(auth_client: AsyncClient) -> None:
    first = (await auth_client.post("/auth/token", json={})).json()["auth_token"]["token"]
    auth_client.headers["Authorization"] = f"Bearer {first}"
    for name in ("Comic", "Other"):
        await auth_client.post("/api/projects", json={"name": name})
    made = await auth_client.post("/auth/token", json={"project_slug": "comic"})
    auth_client.headers["Authorization"] = f"Bearer {made.json()['auth_token']['token']}"

    assert (await upload(auth_client, "comic", ("a.png", png()))).status_code == 200
    assert (await upload(auth_client, "other", ("a.png", png()))).status_code == 403


async def test_a_store_that_cannot_be_written_keeps_nothing_and_says_so(
    client: AsyncClient, slug: str, db: Database, location: Path
) -> None:
    (location / "references").write_bytes(b"a file where a folder should be")
    status, code, text = problem(await upload(client, slug, ("a.png", png()), ("b.png", png(9, 9))))
    rows = await count_rows(db, Asset)
    (location / "references").unlink()
    retried = await uploaded(client, slug, ("a.png", png()), ("b.png", png(9, 9)))

    assert (status, code) == (503, "store_unavailable")
    assert text.startswith("Cannot use 'references/")
    assert rows == [0]
    assert [one["duplicate"] for one in retried] == [False, False]
    assert len(files_in(location)) == 2


def test_a_key_has_a_name_whatever_was_sent() -> None:
    digest = "0123456789abcdef" * 4

    assert upload_key("scenes", "", digest, "png") == "scenes/picture-0123456789ab.png"
    assert upload_key("scenes", "a/b", digest, "png", variant=1) == "scenes/b-0123456789ab-2.png"
