"""Runs of the paid provider, from trigger to picture, against its double."""

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal

import pytest
from sqlalchemy import select, text

from kroma.config import Settings
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.provider_accounts.access import access_loader
from kroma.provider_accounts.service import upsert_provider_account
from kroma.providers.base import Provider
from kroma.providers.openai import OpenAIProvider
from kroma.runs.models import RunStatus
from kroma.secrets.keyring import Keyring
from kroma.secrets.service import upsert_secret
from support.doubles.openai_double import Fault, OpenAIDouble, served
from support.harness.worker_harness import SCENES, Studio

pytestmark = pytest.mark.timeout(120)

KEY = "sk-of-the-project-91c4"


class PaidStudio(Studio):
    """A studio whose pictures cost money."""

    paid: OpenAIProvider
    double: OpenAIDouble

    @property
    def providers(self) -> Mapping[str, Provider]:
        return {"openai": self.paid}


@pytest.fixture
async def paid(studio: Studio) -> AsyncIterator[PaidStudio]:
    settings = Settings.from_environment(
        {"KROMA_URL_ALLOW": "127.0.0.0/8", "KROMA_OPENAI_TIMEOUT_S": "20"}, data_dir=studio.settings.data_dir
    )
    keyring = Keyring(settings.master_key)
    slug = studio.project.slug
    opened = PaidStudio(studio.db, studio.cpu, settings, studio.project, studio.stores)
    opened.paid = OpenAIProvider.opened(studio.cpu, settings)
    opened.load_access = access_loader(studio.db, keyring, settings)
    async with served(OpenAIDouble(keys=[KEY], echo=True)) as opened.double:
        url = opened.double.url
        await upsert_provider_account(studio.db, slug=slug, code="openai", base_url=url, actor=None)
        await upsert_secret(
            studio.db, keyring, slug=slug, code="openai", name="api_key", value=KEY, actor=None
        )
        yield opened
        await opened.paid.close()
        await opened.renewer.close()


async def calls(studio: Studio) -> list[ProviderCall]:
    async with studio.db.transaction() as session:
        return list(await session.scalars(select(ProviderCall).order_by(ProviderCall.created_at)))


async def everything_stored(studio: Studio) -> str:
    """All rows of all tables, and all files, as text."""
    async with studio.db.transaction() as session:
        tables = await session.scalars(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        )
        rows = [
            await session.scalar(text(f'SELECT json_agg(t)::text FROM "{table}" t'))  # noqa: S608 - its own tables
            for table in tables
        ]
    files = [path.read_bytes().decode("latin-1") for path in studio.root.rglob("*") if path.is_file()]
    return "\n".join([*filter(None, rows), *files])


async def test_a_paid_run_makes_its_pictures_and_the_ledger_agrees_with_the_provider(
    paid: PaidStudio,
) -> None:
    rows = await paid.run_to_end(
        provider="openai", model="gpt-image-1.5", size="1024x1024", quality="medium", seed=11
    )

    assert rows.run.status == RunStatus.OK, rows.run.error
    chosen = (rows.run.provider_code, rows.run.model_name, rows.run.image_size, rows.run.image_quality)
    assert chosen == ("openai", "gpt-image-1.5", "1024x1024", "medium")
    assert rows.run.plan_json["seed"] == 11
    ledger = await calls(paid)
    assert {call.status for call in ledger} == {CallStatus.SETTLED}
    assert {call.model_name for call in ledger} == {"gpt-image-1.5"}
    assert {(str(call.id), call.request_id) for call in ledger} == {
        (bill.idempotency_key, bill.request_id) for bill in paid.double.billed
    }
    assert len(paid.double.billed) == 4
    assert {call.fields["size"] for call in paid.double.calls} == {"1024x1024"}
    # 1056 tokens drawn at 32 USD per million, and what went in.
    assert all(call.cost_usd and Decimal("0.033") < call.cost_usd < Decimal("0.04") for call in ledger)
    assert sum(call.cost_usd or 0 for call in ledger) == sum(cost.total_cost_usd or 0 for cost in rows.costs)


async def test_no_key_is_stored_in_the_clear_anywhere(paid: PaidStudio) -> None:
    paid.double.script(Fault(status=400), Fault(cut="after"), Fault(body="not_an_image"))

    await paid.run_to_end(provider="openai")

    stored = await everything_stored(paid)
    assert "AnswerLost" in stored or "answer" in stored
    assert KEY not in stored
    assert KEY[:-4] not in stored


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"provider": "dalle"}, "Field 'provider' must be one of", id="provider"),
        pytest.param({"provider": "openai", "model": "x"}, "Field 'model' must be one of", id="model"),
        pytest.param({"provider": "openai", "size": "1x1"}, "Field 'size' must be one of", id="size"),
        pytest.param({"provider": "openai", "quality": "x"}, "Field 'quality' must be one of", id="quality"),
        pytest.param(
            {"provider": "openai", "style_refs": [SCENES[0]] * 16}, "takes at most 16 pictures", id="pictures"
        ),
    ],
)
async def test_what_the_provider_does_not_offer_is_refused_before_anything_is_stored(
    paid: PaidStudio, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(Exception, match=said) as caught:
        await paid.trigger(**fields)

    assert caught.value.kind == "validation"
    assert await paid.db_value("SELECT count(*) FROM runs") == 0
