"""``POST /api/tools/{tool}``: an upload in, a picture or a report out."""

import hashlib
import io
from base64 import b64decode
from decimal import Decimal
from typing import Any

import pytest
from httpx import AsyncClient, Response
from PIL import Image
from sqlalchemy import select

from kroma.db.engine import Database
from kroma.imaging.provenance import find_record
from kroma.ledger.models import ProviderCall
from kroma.providers.fake import FakeOutcome, FakeProvider, FakeScript
from kroma_api.http.errors import MAX_UPLOAD_BYTES
from support.builders import corpus
from support.builders.factories import png, scene_png
from support.harness.documented_api import ClientFactory

pytestmark = pytest.mark.timeout(90)

PRICE = Decimal("0.04")


@pytest.fixture
def maker() -> FakeProvider:
    return FakeProvider(FakeScript(outcomes=(FakeOutcome(scene="lost.png", lost=True),), cost_usd=PRICE))


@pytest.fixture
def paid(client_with: ClientFactory, fresh_db: Database, maker: FakeProvider) -> AsyncClient:
    """A client whose provider costs money."""
    return client_with(
        fresh_db, providers={"fake": maker}, KROMA_API_AUTH_DEV_BYPASS="1", KROMA_PROVIDER="fake"
    )


async def used(
    client: AsyncClient, tool: str, data: bytes, name: str = "a.png", *, accept: str = "*/*", **fields: Any
) -> Response:
    files = [("file", (name, data))]
    return await client.post(f"/api/tools/{tool}", files=files, data=fields, headers={"Accept": accept})


def problem(response: Response) -> tuple[int, str, str]:
    body = response.json()
    return response.status_code, body["error_code"], body["error"]


async def test_a_picture_comes_back_in_json_with_its_record(client: AsyncClient) -> None:
    scene = scene_png(48, 32)
    response = await used(client, "color", scene, profile="cold_rain")
    body = response.json()
    (picture,) = body["pictures"]
    data = b64decode(picture["data_base64"])
    record = find_record(data, name="a")

    assert (response.status_code, body["tool"], body["file"]) == (200, "color", "a.png")
    assert (picture["mime_type"], picture["width"], picture["height"]) == ("image/png", 48, 32)
    assert (picture["sha256"], picture["size_bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (body["report"], body["inspection"]) == (None, None)
    assert record is not None
    assert record.parents[0].sha256 == hashlib.sha256(scene).hexdigest()


async def test_the_picture_itself_is_answered_to_who_asks_for_it(client: AsyncClient) -> None:
    response = await used(client, "upscale", scene_png(48, 32), accept="image/*", scale="3", format="webp")

    assert (response.status_code, response.headers["content-type"]) == (200, "image/webp")
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.size == (144, 96)


async def test_a_report_is_no_picture(client: AsyncClient) -> None:
    response = await used(client, "qa", png(), accept="image/png")

    assert problem(response)[:2] == (400, "validation_error")


async def test_qa_reports_hard_failures(client: AsyncClient) -> None:
    red = png(64, 48, (200, 10, 10))
    passed = (await used(client, "qa", red)).json()["report"]
    failed = (await used(client, "qa", red, enforce_grayscale="true", hard="blank,size")).json()["report"]

    assert passed["has_hard_failures"] is False
    assert failed["has_hard_failures"] is True
    assert failed["hard_fail_reasons"][0] == "not_grayscale_like"
    assert failed["output_guard"]["chroma_delta"] == 126.6667


async def test_generate_takes_styles_beside_the_scene(client: AsyncClient) -> None:
    files = [("file", ("a.png", scene_png(48, 32))), ("style", ("s.png", png())), ("style", ("t.png", png()))]
    fields = {"provider": "local", "seed": "5", "candidates": "2", "stage": "weather", "weather": "rain"}
    response = await client.post("/api/tools/generate", files=files, data=fields)
    pictures = response.json()["pictures"]
    record = find_record(b64decode(pictures[1]["data_base64"]), name="a")

    assert [picture["details"]["candidate_index"] for picture in pictures] == [1, 2]
    assert record is not None
    assert [parent.role for parent in record.parents] == ["scene", "style", "style"]
    assert (record.seed, record.weather) == (5, "rain")


async def test_inspect_tells_how_a_picture_was_made(client: AsyncClient) -> None:
    made = (await used(client, "upscale", png(), accept="image/png")).content
    found = (await used(client, "inspect", made)).json()["inspection"]

    assert (found["state"], found["record"]["step"], found["source"]) == ("unchanged", "upscale", "picture")
    assert problem(await used(client, "inspect", png()))[:2] == (404, "no_record")


@pytest.mark.parametrize("name", corpus.BAD)
async def test_a_bad_file_is_refused_with_a_reason(client: AsyncClient, name: str) -> None:
    status, code, text = problem(await used(client, "upscale", corpus.sample(name).data))

    assert status == 400
    assert code in {"unreadable_picture", "truncated_picture", "picture_too_large"}
    assert "a.png" in text


async def test_an_unknown_tool_is_not_found(client: AsyncClient) -> None:
    assert problem(await used(client, "archive-bad", png()))[0] == 404


@pytest.mark.parametrize(
    ("tool", "fields", "text"),
    [
        pytest.param("color", {"profile": "pink"}, "'profile' must be one of", id="a wrong value"),
        pytest.param("color", {"scale": "2"}, "Unknown field 'scale'", id="another tool's field"),
        pytest.param("color", {"profile": ["neutral", "neutral"]}, "given twice", id="a field twice"),
        pytest.param("upscale", {"scale": "x"}, "'scale'", id="no number"),
        pytest.param("inspect", {"seed": "1"}, "takes none", id="a field of a tool without any"),
        pytest.param("bgremove", {"backends": "magic"}, "'backends' takes", id="an unknown backend"),
    ],
)
async def test_a_wrong_field_is_named(
    client: AsyncClient, tool: str, fields: dict[str, Any], text: str
) -> None:
    response = await used(client, tool, png(), **fields)

    assert response.status_code == 400
    assert text in response.json()["error"]


async def test_a_form_needs_one_file_and_no_unknown_one(client: AsyncClient) -> None:
    async def posted(*files: tuple[str, tuple[str, bytes]]) -> tuple[int, str, str]:
        return problem(await client.post("/api/tools/color", files=list(files)))

    assert "'file' is required" in (await posted(("lut", ("a.cube", b"x"))))[2]
    assert "only one 'file'" in (await posted(("file", ("a", png())), ("file", ("b", png()))))[2]
    assert "Unknown file 'mask'" in (await posted(("file", ("a", png())), ("mask", ("b", png()))))[2]


async def test_only_a_form_is_taken(client: AsyncClient) -> None:
    as_json = await client.post("/api/tools/color", json={})
    torn = await client.post(
        "/api/tools/color", content=b"--x\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    without = await client.post(
        "/api/tools/color", content=b"x", headers={"Content-Type": "multipart/form-data"}
    )

    assert problem(as_json)[0] == 415
    assert (problem(torn)[0], problem(without)[0]) == (400, 400)


async def test_a_body_over_the_limit_is_refused_by_its_length(client: AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(MAX_UPLOAD_BYTES + 1)}
    response = await client.post("/api/tools/color", content=b"--x", headers=headers)

    assert problem(response)[0] == 413


async def test_a_paid_provider_wants_confirmation_and_says_the_price(
    paid: AsyncClient, maker: FakeProvider
) -> None:
    status, code, text = problem(await used(paid, "generate", png()))

    assert (status, code) == (400, "spend_confirmation_required")
    assert "about 0.04 USD" in text
    assert maker.calls == []


async def test_a_confirmed_call_passes_the_ledger(paid: AsyncClient, fresh_db: Database) -> None:
    response = await used(paid, "generate", png(), confirm_spend="true")
    (picture,) = response.json()["pictures"]
    async with fresh_db.transaction() as session:
        (call,) = await session.scalars(select(ProviderCall))

    assert picture["details"]["cost_usd"] == 0.04
    assert (str(call.id), call.status, call.project_id) == (
        picture["details"]["provider_call_id"],
        "settled",
        None,
    )


async def test_the_same_request_twice_is_paid_once(paid: AsyncClient, maker: FakeProvider) -> None:
    async def posted() -> Response:
        body = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
            + png()
            + b'\r\n--x\r\nContent-Disposition: form-data; name="confirm_spend"\r\n\r\ntrue\r\n--x--\r\n'
        )
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Idempotency-Key": "one"}
        return await paid.post("/api/tools/generate", content=body, headers=headers)

    first, second = await posted(), await posted()

    assert (first.json(), second.headers["Idempotent-Replayed"]) == (second.json(), "true")
    assert len(maker.calls) == 1


async def test_a_lost_answer_is_named_and_not_asked_for_again(paid: AsyncClient, maker: FakeProvider) -> None:
    for _ in range(2):
        status, code, text = problem(await used(paid, "generate", png(), "lost.png", confirm_spend="true"))
        assert (status, code) == (400, "provider_answer_lost")
        assert "resolve provider call" in text

    assert len(maker.calls) == 1


async def test_a_token_is_needed_and_that_of_one_project_pays_nothing(
    client_with: ClientFactory, fresh_db: Database, maker: FakeProvider
) -> None:
    client = client_with(fresh_db, providers={"fake": maker}, KROMA_PROVIDER="fake")
    assert (await used(client, "qa", png())).status_code == 401
    first = (await client.post("/auth/token")).json()["auth_token"]["token"]
    client.headers["Authorization"] = f"Bearer {first}"
    await client.post("/api/projects", json={"name": "Comic"})
    made = (await client.post("/auth/token", json={"project_slug": "comic"})).json()
    client.headers["Authorization"] = f"Bearer {made['auth_token']['token']}"

    assert (await used(client, "qa", png())).status_code == 200
    assert (await used(client, "generate", png(), confirm_spend="true")).status_code == 403
    assert maker.calls == []
