"""Post-processing of a run, from its plan to the assets, through a worker."""

import json
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, select, update

from kroma.assets.models import Asset, AssetLink
from kroma.config import Settings
from kroma.imaging.high_bit_depth import decode16
from kroma.ingest.service import ingest_log
from kroma.ledger.models import ProviderCall
from kroma.pipeline.execution.wiring import WorkerContext
from kroma.pipeline.planning.errors import PlanningPreflightError
from kroma.pipeline.planning.postprocess_config import PostprocessSwitches
from kroma.pipeline.planning.quote import quote_run
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.postprocess.errors import ToolTimedOutError
from kroma.postprocess.specs import ColorSpec, Made, UpscaleSpec
from kroma.postprocess.toolbox import Toolbox
from kroma.provider_accounts.access import access_loader
from kroma.provider_accounts.service import upsert_provider_account
from kroma.providers.base import Provider
from kroma.providers.openai import OpenAIProvider
from kroma.queue.messages import FinishRun
from kroma.runlog.schema import RunLog
from kroma.runs.models import Run, RunJob, RunStatus, RunStep
from kroma.secrets.keyring import Keyring
from kroma.secrets.service import upsert_secret
from kroma.spend.errors import UnknownPriceError
from kroma.spend.service import set_budget
from support.doubles.cutout_double import CutoutDouble
from support.doubles.cutout_double import Fault as CutoutFault
from support.doubles.cutout_double import served as cutouts_served
from support.doubles.openai_double import Fault, OpenAIDouble
from support.doubles.openai_double import served as openai_served
from support.harness.worker_harness import Order, RowMapper, Studio

pytestmark = pytest.mark.timeout(120)

SCENE = ("harbor.png",)
BOTH = PostprocessSwitches(upscale=True, color=True, color_profile="cinematic_warm")
KEY = "sk-of-the-project-91c4"


class ToolRunner(Toolbox):
    """Tools that count, and that fail as often as they are told to."""

    upscaled = 0
    timeouts = 0
    spoil = False

    async def upscale(self, data: bytes, spec: UpscaleSpec, *, name: str) -> Made:
        self.upscaled += 1
        made = await super().upscale(data, spec, name=name)
        return msgspec.structs.replace(made, data=data) if self.spoil else made

    async def grade(
        self, data: bytes, spec: ColorSpec, *, name: str, lut: tuple[str, bytes] | None = None
    ) -> Made:
        if self.timeouts:
            self.timeouts -= 1
            raise ToolTimedOutError("color", "it took longer than 1 s")
        return await super().grade(data, spec, name=name, lut=lut)


class ToolStudio(Studio):
    """A studio with tools of its own and paid ones."""

    toolbox: ToolRunner
    refiner: OpenAIProvider
    openai: OpenAIDouble
    cutouts: CutoutDouble

    @property
    def providers(self) -> Mapping[str, Provider]:
        return {"fake": self.provider, "openai": self.refiner}

    @property
    def context(self) -> WorkerContext:
        return msgspec.structs.replace(super().context, toolbox=self.toolbox)

    def config(self, **settings: Any) -> None:
        """The project's settings, with a postprocess config beside them."""
        folder = self.root / ".kroma"
        folder.mkdir(exist_ok=True)
        (folder / "post.json").write_text(json.dumps(settings))
        path = str(folder / "post.json")
        (folder / "pipeline.settings.json").write_text(json.dumps({"postprocess_config_path": path}))

    def log(self, rows: RowMapper) -> RunLog:
        return msgspec.json.decode((self.root / rows.run.run_log_path).read_bytes(), type=RunLog)

    async def links(self) -> set[tuple[str, str]]:
        """Parent and child paths of what descends from what."""
        async with self.db.transaction() as session:
            paths = {asset.id: asset.rel_path for asset in await session.scalars(select(Asset))}
            links = await session.scalars(select(AssetLink).where(AssetLink.link_type == "derived_from"))
            return {(paths[link.parent_asset_id], paths[link.child_asset_id]) for link in links}

    async def calls(self) -> list[ProviderCall]:
        async with self.db.transaction() as session:
            return list(await session.scalars(select(ProviderCall).order_by(ProviderCall.created_at)))


@pytest.fixture
async def shop(studio: Studio, data_dir: Path) -> AsyncIterator[ToolStudio]:
    settings = Settings.from_environment(
        {"KROMA_PROVIDER": "fake", "KROMA_URL_ALLOW": "127.0.0.0/8", "KROMA_REMBG_BIN": "no-such-rembg"},
        data_dir=data_dir,
    )
    opened = ToolStudio(studio.db, studio.cpu, settings, studio.project, studio.stores)
    opened.toolbox = ToolRunner(studio.cpu, settings.tools, url_allow=settings.url_allow)
    opened.refiner = OpenAIProvider.opened(studio.cpu, settings)
    keyring = Keyring(settings.master_key)
    opened.load_access = access_loader(studio.db, keyring, settings)
    async with (
        openai_served(OpenAIDouble(keys=[KEY], echo=True)) as opened.openai,
        cutouts_served() as opened.cutouts,
    ):
        yield opened
    await opened.refiner.close()
    await opened.toolbox.close()
    await opened.renewer.close()


async def with_keys(shop: ToolStudio) -> None:
    """Accounts and keys of every paid tool."""
    keyring = Keyring(shop.settings.master_key)
    slug = shop.project.slug
    urls = {code: f"{shop.cutouts.url}/{code}" for code in ("photoroom", "removebg")}
    for code, url in {**urls, "openai": shop.openai.url}.items():
        await upsert_provider_account(shop.db, slug=slug, code=code, base_url=url, actor=None)
        value = KEY if code == "openai" else "good-key"
        await upsert_secret(shop.db, keyring, slug=slug, code=code, name="api_key", value=value, actor=None)


async def work_to_the_end(shop: ToolStudio, run: Run) -> RowMapper:
    for _ in range(10):
        async with shop.db.transaction() as session:
            await session.execute(update(RunJob).values(available_at=None))
        shop.queue.messages = [*await shop.job_messages(run), FinishRun(run_id=run.id)]
        await shop.work()
        rows = await shop.rows(run)
        if rows.run.status not in {RunStatus.QUEUED, RunStatus.RUNNING}:
            return rows
    raise AssertionError("the run does not end")


async def test_the_winner_alone_is_upscaled_then_graded_and_its_files_descend_from_each_other(
    shop: ToolStudio,
) -> None:
    rows = await shop.run_to_end(SCENE, postprocess=BOTH, candidates=2)

    assert rows.run.status == RunStatus.OK, rows.run.stderr
    (job,) = rows.jobs
    run = rows.run.id
    key, index = job.job_key, job.selected_candidate_index
    made = f"outputs/{run}/{key}__c{index}.png"
    larger = f"upscaled/{run}/{key}__c{index}_x2.png"
    graded = f"color_corrected/{run}/{key}__c{index}_x2_cinematic_warm.png"
    assert job.final_output == graded
    kinds = {asset.rel_path: asset.kind for asset in rows.assets}
    assert kinds[made] == "candidate_output"
    assert kinds[larger] == "upscaled"
    assert kinds[graded] == "job_final_output"
    assert {(made, larger), (larger, graded), ("harbor.png", made)} <= await shop.links()
    final = next(asset for asset in rows.assets if asset.rel_path == graded)
    assert (final.width, final.height, final.mime_type) == (384, 256, "image/png")
    assert final.sha256
    assert final.size_bytes == (shop.root / graded).stat().st_size
    assert final.candidate_id == rows.candidates[key][index - 1].id
    assert job.final_asset_id == final.id
    assert shop.toolbox.upscaled == 1
    other = rows.candidates[key][2 - index]
    assert other.final_output_path == other.output_path


async def test_the_run_log_tells_of_the_chain_as_the_original_did_and_of_each_file(shop: ToolStudio) -> None:
    rows = await shop.run_to_end(SCENE, postprocess=BOTH, candidates=1)

    log = shop.log(rows)
    (job,) = log.jobs
    (candidate,) = job.candidates
    folder = f"{rows.run.id}/{job.id}__c1"
    assert log.steps == ["generate", "check_quality", "rank", "postprocess", "verify"]
    assert candidate.upscale == {
        "backend": "python",
        "input": f"outputs/{folder}.png",
        "output": f"upscaled/{folder}_x2.png",
        "scale": 2,
        "model": "lanczos",
    }
    assert candidate.color == {
        "input": f"upscaled/{folder}_x2.png",
        "output": f"color_corrected/{folder}_x2_cinematic_warm.png",
        "profile": "cinematic_warm",
        "settings": "builtin",
    }
    assert (job.upscale, job.color) == (candidate.upscale, candidate.color)
    assert [one.step for one in candidate.derived] == ["upscale", "color"]
    assert candidate.output == f"outputs/{folder}.png"
    assert candidate.final_output == job.final_output == candidate.color["output"]
    assert candidate.result.is_good, candidate.result.reason
    assert candidate.result.reason.startswith("As its source: 384x256")
    # The guard judged the generated picture, which the grade would have tinted.
    assert candidate.output_guard.checked_input == candidate.output
    names = [step.name for step in job.steps]
    assert names[-4:] == ["postprocess/1/color", "postprocess", "verify/1", "verify"]


async def test_every_candidate_that_passed_is_post_processed_where_the_config_says_so(
    shop: ToolStudio,
) -> None:
    shop.config(candidates="all", upscale={"scale": 3, "format": "webp"})

    rows = await shop.run_to_end(SCENE, postprocess=PostprocessSwitches(upscale=True), candidates=2)

    key = rows.jobs[0].job_key
    assert [one.final_output_path for one in rows.candidates[key]] == [
        f"upscaled/{rows.run.id}/{key}__c{index}_x3.webp" for index in (1, 2)
    ]
    finals = [asset.kind for asset in rows.assets if asset.rel_path.startswith("upscaled/")]
    assert sorted(finals) == ["candidate_final_output", "job_final_output"]
    assert shop.toolbox.upscaled == 2


async def test_a_worker_that_takes_over_continues_after_the_last_finished_tool(shop: ToolStudio) -> None:
    shop.toolbox.timeouts = 2

    run = await shop.trigger(SCENE, postprocess=BOTH, candidates=1)
    rows = await work_to_the_end(shop, run)

    assert rows.run.status == RunStatus.OK
    assert rows.jobs[0].attempt == 3
    assert shop.toolbox.upscaled == 1
    assert len(shop.provider.calls) == 1


async def test_a_second_ingest_changes_nothing(shop: ToolStudio) -> None:
    rows = await shop.run_to_end(SCENE, postprocess=BOTH, candidates=1)
    before = {asset.id: (asset.kind, asset.rel_path) for asset in rows.assets}, await shop.links()

    data = (shop.root / rows.run.run_log_path).read_bytes()
    await ingest_log(shop.db, project_id=shop.project.id, log_path=rows.run.run_log_path, data=data)

    again = await shop.rows(rows.run)
    assert ({asset.id: (asset.kind, asset.rel_path) for asset in again.assets}, await shop.links()) == before


async def test_a_result_that_is_not_its_source_is_rejected_with_the_reason(shop: ToolStudio) -> None:
    shop.toolbox.spoil = True

    rows = await shop.run_to_end(SCENE, postprocess=PostprocessSwitches(upscale=True), candidates=1)

    (job,) = rows.jobs
    assert rows.run.status == RunStatus.FAILED
    assert job.error_code == "postprocess_rejected"
    assert "It has 192x128 pixels, not 384x256" in (job.error or "")
    (candidate,) = shop.log(rows).jobs[0].candidates
    assert not candidate.result.is_good
    assert candidate.final_output.startswith("upscaled/")


async def test_what_is_missing_is_a_planning_error_with_what_to_install(shop: ToolStudio) -> None:
    switches = PostprocessSwitches(
        bg_remove=True, bg_refine_openai=True, upscale=True, upscale_backend="ncnn"
    )

    with pytest.raises(PlanningPreflightError) as caught:
        await shop.trigger(SCENE, postprocess=switches)

    text = caught.value.message
    assert "Background removal with 'rembg' is not possible: install rembg" in text
    assert "Upscaling with 'ncnn' is not possible: put the program at" in text
    assert "Refining cut-outs has no key: store it as the project's secret openai/api_key" in text
    assert caught.value.code == "planning_preflight_failed"


async def test_a_dry_run_says_what_is_missing_and_is_planned(shop: ToolStudio) -> None:
    switches = PostprocessSwitches(bg_remove=True, bg_refine_openai=False, bg_remove_backends=("removebg",))

    rows = await shop.run_to_end(SCENE, mode="dry", confirm_spend=None, postprocess=switches)

    assert rows.run.status == RunStatus.OK
    assert "Background removal by 'removebg' has no key" in rows.run.stderr
    assert "REMOVE_BG_API_KEY" in rows.run.stderr
    assert shop.log(rows).postprocess.pipeline_order == ["generate", "bg_remove"]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        pytest.param(
            {"color": {"settings_file": "looks.json"}}, "Unknown color profile 'noir'", id="profile"
        ),
        pytest.param(
            {"color": {"settings_file": "lost.json"}},
            "lost.json: the file cannot be read: no such file",
            id="file",
        ),
    ],
)
async def test_a_profile_that_is_not_there_makes_no_plan(
    shop: ToolStudio, config: dict[str, Any], problem: str
) -> None:
    (shop.settings.data_dir / "looks.json").write_text('{"profiles": {"dusk": {"gamma": 1.1}}}')
    shop.config(**config)

    with pytest.raises(PlanningPreflightError, match=problem):
        await shop.trigger(SCENE, postprocess=PostprocessSwitches(color=True, color_profile="noir"))


async def test_a_look_up_table_of_the_project_is_read_and_held_to_its_hash(shop: ToolStudio) -> None:
    invert = "LUT_1D_SIZE 2\n1 1 1\n0 0 0\n"
    (shop.root / "invert.cube").write_text(invert)
    (shop.settings.data_dir / "looks.json").write_text('{"profiles": {"negative": {"lut": "invert.cube"}}}')
    shop.config(color={"settings_file": "looks.json"})
    switches = PostprocessSwitches(color=True, color_profile="negative")

    run = await shop.trigger(SCENE, postprocess=switches, candidates=1)
    (shop.root / "invert.cube").write_text(invert.replace("1 1 1", "1 1 0.9"))
    await shop.work()
    rows = await shop.rows(run)
    assert "is another one than when the run was planned" in (rows.jobs[0].error or "")

    (shop.root / "invert.cube").write_text("LUT_1D_SIZE 2\n1 1 1\n0 0\n")
    with pytest.raises(
        PlanningPreflightError, match=r"'negative': .*'invert.cube', line 3: there must be three"
    ):
        await shop.trigger(SCENE, postprocess=switches)


async def test_a_background_service_is_paid_through_the_ledger(shop: ToolStudio) -> None:
    await with_keys(shop)
    shop.config(bg_remove={"photoroom": {"price_usd": 0.02}})
    switches = PostprocessSwitches(
        bg_remove=True, bg_remove_backends=("photoroom",), bg_refine_openai=False, color=True
    )

    rows = await shop.run_to_end(SCENE, postprocess=switches, candidates=1)

    assert rows.run.status == RunStatus.OK, rows.jobs[0].error
    assert rows.run.estimated_usd == Decimal("0.02")
    (call,) = await shop.calls()
    assert (call.status, call.operation, call.provider_code) == ("settled", "background_removal", "photoroom")
    assert call.cost_usd == Decimal("0.02")
    (cost,) = [cost for cost in rows.costs if cost.total_cost_usd]
    assert (cost.event_type, cost.total_cost_usd) == ("background_removal", Decimal("0.02"))
    assert shop.cutouts.billed == 1
    final = decode16((shop.root / rows.jobs[0].final_output).read_bytes(), name="final")
    assert final.alpha is not None
    (candidate,) = shop.log(rows).jobs[0].candidates
    assert candidate.bg_remove["backend"] == "photoroom"
    assert candidate.result.shown == pytest.approx(0.5, abs=0.02)


async def test_an_unknown_price_is_said_and_a_budget_refuses_it(shop: ToolStudio) -> None:
    await with_keys(shop)
    switches = PostprocessSwitches(bg_remove=True, bg_remove_backends=("removebg",), bg_refine_openai=False)
    spec = RunSpec.checked(Order(scene_refs=list(SCENE), postprocess=switches, candidates=1))

    quote = await quote_run(
        shop.db,
        shop.stores,
        shop.settings,
        is_confined=False,
        slug="comic",
        spec=spec,
        providers=shop.providers,
        cpu=shop.cpu,
    )
    rows = await shop.run_to_end(SCENE, postprocess=switches, candidates=1)

    assert quote.price.total_usd is None
    assert not quote.price.is_free
    (call,) = await shop.calls()
    assert (call.status, call.cost_usd) == ("settled", None)
    (cost,) = [cost for cost in rows.costs if cost.event_type == "background_removal"]
    assert cost.meta_json["price"] == "unknown"
    await set_budget(shop.db, slug="comic", limit_usd=5, period="total", warning_levels=None, actor=None)
    with pytest.raises(UnknownPriceError):
        await shop.trigger(SCENE, postprocess=switches)


async def test_where_a_service_refuses_the_next_backend_is_tried(shop: ToolStudio) -> None:
    await with_keys(shop)
    shop.cutouts.script(CutoutFault(status=402), CutoutFault(shape="empty"))
    switches = PostprocessSwitches(
        bg_remove=True, bg_remove_backends=("local", "photoroom", "removebg"), bg_refine_openai=False
    )

    rows = await shop.run_to_end(SCENE, postprocess=switches, candidates=1)

    (job,) = rows.jobs
    assert job.status == "failed"
    assert "local: " in (job.error or "")
    assert "photoroom: Provider 'photoroom' failed: the account has no credit left (402)" in (job.error or "")
    assert "removebg: " in (job.error or "")
    statuses = [(call.provider_code, call.number, call.status) for call in await shop.calls()]
    assert statuses == [("photoroom", 1, "refused"), ("removebg", 2, "settled")]


async def test_a_cut_out_is_refined_at_its_own_size_and_counted(shop: ToolStudio) -> None:
    await with_keys(shop)
    shop.config(bg_remove={"photoroom": {"price_usd": 0.02}, "openai": {"model": "gpt-image-1"}})
    switches = PostprocessSwitches(bg_remove=True, bg_remove_backends=("photoroom",))

    rows = await shop.run_to_end(SCENE, postprocess=switches, candidates=1)

    assert rows.run.status == RunStatus.OK, rows.jobs[0].error
    (edit,) = shop.openai.calls
    assert edit.fields["background"] == "transparent"
    assert edit.fields["size"] == "1536x1024"
    assert edit.images[0][1] == "image/png"
    bought = [(call.provider_code, call.operation, call.number) for call in await shop.calls()]
    assert bought == [("photoroom", "background_removal", 1), ("openai", "background_refine", 2)]
    final = rows.jobs[0].final_output
    assert final == f"background_removed/{rows.run.id}/{rows.jobs[0].job_key}__c1_nobg_refined.png"
    picture = decode16((shop.root / final).read_bytes(), name="final")
    assert picture.size == (192, 128)
    (candidate,) = shop.log(rows).jobs[0].candidates
    assert candidate.bg_remove["refine_openai"] is True
    assert rows.run.estimated_usd is not None
    assert rows.run.estimated_usd > Decimal("0.1")
    assert sorted(cost.event_type for cost in rows.costs if cost.total_cost_usd) == [
        "background_refine",
        "background_removal",
    ]


async def test_a_refinement_that_need_not_be_leaves_the_cut_out_with_its_reason(shop: ToolStudio) -> None:
    await with_keys(shop)
    shop.openai.script(Fault(status=400, times=None))
    shop.config(bg_remove={"openai": {"required": False, "model": "gpt-image-1"}})
    switches = PostprocessSwitches(bg_remove=True, bg_remove_backends=("photoroom",))

    rows = await shop.run_to_end(SCENE, postprocess=switches, candidates=1)

    assert rows.run.status == RunStatus.OK, rows.jobs[0].error
    (candidate,) = shop.log(rows).jobs[0].candidates
    assert candidate.bg_remove["refine_openai"] is False
    assert "refused the request (400" in candidate.bg_remove["refine_error"]
    assert candidate.final_output.endswith("_nobg.png")


async def test_a_worker_lost_between_the_settlement_and_the_step_does_not_pay_again(shop: ToolStudio) -> None:
    await with_keys(shop)
    shop.toolbox.timeouts = 1
    switches = PostprocessSwitches(
        bg_remove=True, bg_remove_backends=("photoroom",), bg_refine_openai=False, color=True
    )
    run = await shop.trigger(SCENE, postprocess=switches, candidates=1)
    await shop.work()  # the grade fails in passing, behind the bought cut-out
    async with shop.db.transaction() as session:
        lost = await session.execute(delete(RunStep).where(RunStep.name == "postprocess/1/bg_remove"))
        assert lost.rowcount == 1

    rows = await work_to_the_end(shop, run)

    assert rows.run.status == RunStatus.OK, rows.jobs[0].error
    assert shop.cutouts.billed == len(await shop.calls()) == 1
    assert shop.log(rows).jobs[0].candidates[0].bg_remove["backend"] == "photoroom"
