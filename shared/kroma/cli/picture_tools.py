"""``kroma generate | upscale | color | bgremove | qa | archive-bad``: pictures without a project."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from kroma.cli.batch import Outcome, finished, open_tool_runner, run_all, sources
from kroma.cli.console import complain, say
from kroma.cli.options import AsJson
from kroma.config import Settings

if TYPE_CHECKING:
    from kroma.tools.files import Item
    from kroma.tools.options import QaOptions
    from kroma.tools.runner import Result, Source, ToolRunner

Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Pictures or folders of pictures.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="PLACE", help="Output file, or a folder that mirrors the input folders."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
ConfirmSpend = Annotated[bool, typer.Option("--confirm-spend", help="Confirm that calls may cost money.")]
OutputQuality = Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG and WebP files.")]
FormatOption = Annotated[str, typer.Option("--format", help="png, jpg or webp.")]
Styles = Annotated[
    list[Path] | None, typer.Option("--style", metavar="FILE", help="A style reference; repeatable.")
]


def generate(
    *,
    inputs: Inputs,
    style: Styles = None,
    prompt: Annotated[str | None, typer.Option(help="Defaults to the built-in prompt.")] = None,
    provider: Annotated[
        str | None, typer.Option(help="local or openai; defaults to KROMA_PROVIDER, then local.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model of the provider.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Size in pixels; defaults to the size of the scene.")
    ] = None,
    quality: Annotated[str | None, typer.Option(help="Quality level, for providers that have one.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same picture.")] = 0,
    candidates: Annotated[int, typer.Option(min=1, max=6, help="Pictures to make per scene.")] = 1,
    stage: Annotated[str, typer.Option(help="style, time or weather.")] = "style",
    time: Annotated[str, typer.Option(help="day or night.")] = "day",
    weather: Annotated[str, typer.Option(help="clear or rain.")] = "clear",
    confirm_spend: ConfirmSpend = False,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Redraw scenes into the folder `outputs`."""
    from kroma.tools.files import Outputs, collected
    from kroma.tools.options import GenerateOptions, checked

    given = {
        "prompt": prompt,
        "provider": provider,
        "model": model,
        "size": size,
        "quality": quality,
        "seed": seed,
        "candidates": candidates,
        "stage": stage,
        "time": time,
        "weather": weather,
        "confirm_spend": confirm_spend,
    }
    options = checked(GenerateOptions, given)
    settings = Settings.from_environment()
    target = output or Path("outputs")
    items = collected(inputs, without=target)
    references = sources(style or [])
    outputs = Outputs(target, items, overwrite=overwrite)

    async def run() -> tuple[list[Outcome], dict[str, Any]]:
        async with open_tool_runner(settings, with_ledger=confirm_spend) as tool_runner:
            choice = tool_runner.resolve_model(options, styles=len(references))
            maker = tool_runner.provider(choice.provider)
            price = tool_runner.price(maker, options, choice, styles=len(references), scenes=len(items))
            tool_runner.check_spend(price, is_confirmed=confirm_spend)

            async def work(item: "Item") -> Outcome:
                outcome = Outcome(input=str(item.path))
                targets = [
                    outputs.target(item, "png", mark=f"__c{index}") for index in range(1, candidates + 1)
                ]
                scene = await _read(item)
                for index, target in enumerate(targets, start=1):
                    result = await tool_runner.generate(
                        scene, references, options, provider=maker, choice=choice, index=index
                    )
                    written = target.with_suffix(f".{result.extension}")
                    await asyncio.to_thread(outputs.write, written, result.data)
                    outcome.outputs.append(str(written))
                    outcome.results.append(_told(result))
                return outcome

            try:
                label = f"generate ({choice.provider})"
                outcomes = await run_all(items, work, label=label, at_once=settings.cpu_processes)
            finally:
                await maker.close()
            usd = None if price.usd is None else float(price.usd)
            return outcomes, {"provider": choice.provider, "estimated_usd": usd}

    outcomes, more = asyncio.run(run())
    finished("generate", outcomes, as_json=as_json, more=more)


def upscale(
    *,
    inputs: Inputs,
    scale: Annotated[int, typer.Option(min=1, max=8, help="Scale factor for width and height.")] = 2,
    backend: Annotated[str, typer.Option(help="lanczos or realesrgan-ncnn.")] = "lanczos",
    format_name: FormatOption = "png",
    output_quality: OutputQuality = 95,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Enlarge pictures into the folder `upscaled`."""
    from kroma.tools.options import UpscaleOptions, checked

    given = {"scale": scale, "backend": backend, "format": format_name, "output_quality": output_quality}
    options = checked(UpscaleOptions, given)

    async def tool(tool_runner: "ToolRunner", source: "Source") -> "Result":
        return await tool_runner.upscale(source, options)

    _each(
        "upscale",
        tool,
        inputs,
        target=output or Path("upscaled"),
        extension=options.format,
        overwrite=overwrite,
        as_json=as_json,
    )


def color(
    *,
    inputs: Inputs,
    profile: Annotated[str, typer.Option(help="neutral, cinematic_warm or cold_rain.")] = "neutral",
    temperature: Annotated[
        float | None, typer.Option(min=-100, max=100, help="Shift in mired; positive is warmer.")
    ] = None,
    lut: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .cube look-up table, applied last.")
    ] = None,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Color-grade pictures to PNG into the folder `color_corrected`."""
    from kroma.tools.options import ColorOptions, checked

    options = checked(ColorOptions, {"profile": profile, "temperature": temperature})
    (table,) = sources([lut]) if lut is not None else (None,)

    async def tool(tool_runner: "ToolRunner", source: "Source") -> "Result":
        return await tool_runner.color(source, options, table)

    _each(
        "color",
        tool,
        inputs,
        target=output or Path("color_corrected"),
        extension="png",
        overwrite=overwrite,
        as_json=as_json,
    )


def bgremove(
    *,
    inputs: Inputs,
    backends: Annotated[
        str,
        typer.Option(metavar="A,B", help="Backends, tried in this order: local, rembg, photoroom, removebg."),
    ] = "local",
    format_name: FormatOption = "png",
    output_quality: OutputQuality = 95,
    confirm_spend: ConfirmSpend = False,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Remove backgrounds into the folder `background_removed`."""
    from kroma.tools.files import collected
    from kroma.tools.options import BgremoveOptions, checked

    given = {
        "backends": tuple(name.strip() for name in backends.split(",") if name.strip()) or ("local",),
        "format": format_name,
        "output_quality": output_quality,
        "confirm_spend": confirm_spend,
    }
    options = checked(BgremoveOptions, given)
    target = output or Path("background_removed")
    pictures = len(collected(inputs, without=target))

    async def tool(tool_runner: "ToolRunner", source: "Source") -> "Result":
        return await tool_runner.bgremove(source, options)

    def check(tool_runner: "ToolRunner") -> None:
        tool_runner.check_spend(
            tool_runner.cutout_price(options, pictures=pictures), is_confirmed=options.confirm_spend
        )

    _each(
        "bgremove",
        tool,
        inputs,
        target=target,
        extension=options.format,
        overwrite=overwrite,
        as_json=as_json,
        check=check,
    )


def qa(
    *,
    inputs: Inputs,
    max_chroma_delta: Annotated[
        float, typer.Option(min=0, max=255, help="Chroma limit of the color check, on a scale of 0 to 170.")
    ] = 2.0,
    enforce_grayscale: Annotated[
        bool, typer.Option("--enforce-grayscale", help="Fail pictures that exceed the chroma limit.")
    ] = False,
    fail_on_chroma_exceed: Annotated[
        bool, typer.Option("--fail-on-chroma-exceed", help="Same as --enforce-grayscale.")
    ] = False,
    hard: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="A check that fails pictures instead of warning; repeatable."),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fail pictures whose quality score is lower.")
    ] = None,
    scene: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The scene they were drawn from, to compare sharpness, edges and size."
        ),
    ] = None,
    style: Styles = None,
    as_json: AsJson = False,
) -> None:
    """Check pictures against the quality rules, a scene and styles; exit code 1 if one fails."""
    from kroma.tools.files import collected
    from kroma.tools.options import QaOptions, checked

    settings = Settings.from_environment()
    options = checked(
        QaOptions,
        {
            "max_chroma_delta": max_chroma_delta,
            "enforce_grayscale": enforce_grayscale,
            "fail_on_chroma_exceed": fail_on_chroma_exceed,
            "hard": tuple(hard or ()),
            "min_score": min_score,
        },
    )
    items = collected(inputs)
    (compared,) = sources([scene]) if scene is not None else (None,)
    styles = sources(style or [])
    outcomes = asyncio.run(_check(settings, items, options, compared, styles))
    if not as_json:
        for outcome in outcomes:
            _say_checked(outcome)
    shown = msgspec.to_builtins(options)
    finished("qa", outcomes, as_json=as_json, more={"settings": shown})


def archive_bad(
    *,
    inputs: Inputs,
    archive_dir: Annotated[Path, typer.Option(metavar="DIR", help="Destination folder.")] = Path(
        "archive/bad"
    ),
    failing: Annotated[
        bool, typer.Option("--failing", help="Only pictures that fail `kroma qa --enforce-grayscale`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Move pictures and their records to an archive; nothing is deleted or overwritten."""
    from kroma.tools.files import collected, moved_to_archive
    from kroma.tools.options import QaOptions

    settings = Settings.from_environment()
    items = collected(inputs, without=archive_dir)
    if failing:
        options = QaOptions(enforce_grayscale=True)
        checked = asyncio.run(_check(settings, items, options, None, []))
        items = [item for item, outcome in zip(items, checked, strict=True) if not outcome.ok]

    async def work(item: "Item") -> Outcome:
        target = await asyncio.to_thread(moved_to_archive, item, archive_dir)
        return Outcome(input=str(item.path), outputs=[str(target)])

    outcomes = asyncio.run(run_all(items, work, label="archive-bad", at_once=1))
    moved = [{"from": outcome.input, "to": to} for outcome in outcomes for to in outcome.outputs]
    more = {"archive_dir": str(archive_dir), "moved": moved, "moved_count": len(moved)}
    finished("archive-bad", outcomes, as_json=as_json, more=more)


def _each(
    name: str,
    tool: "Callable[[ToolRunner, Source], Awaitable[Result]]",
    inputs: list[Path],
    *,
    target: Path,
    extension: str,
    overwrite: bool,
    as_json: bool,
    check: "Callable[[ToolRunner], None] | None" = None,
) -> None:
    """One picture out of each picture."""
    from kroma.tools.files import Outputs, collected

    settings = Settings.from_environment()
    items = collected(inputs, without=target)
    outputs = Outputs(target, items, overwrite=overwrite)

    async def run() -> list[Outcome]:
        async with open_tool_runner(settings, with_ledger=check is not None) as tool_runner:
            if check is not None:
                check(tool_runner)

            async def work(item: "Item") -> Outcome:
                target = outputs.target(item, extension)
                result = await tool(tool_runner, await _read(item))
                await asyncio.to_thread(outputs.write, target, result.data)
                return Outcome(input=str(item.path), outputs=[str(target)], results=[_told(result)])

            return await run_all(items, work, label=name, at_once=settings.cpu_processes)

    finished(name, asyncio.run(run()), as_json=as_json)


async def _read(item: "Item") -> "Source":
    from kroma.tools.files import read_picture
    from kroma.tools.runner import Source

    return Source(str(item.path), await asyncio.to_thread(read_picture, item.path))


def _told(result: "Result") -> dict[str, Any]:
    return {
        "mime_type": result.mime_type,
        "width": result.width,
        "height": result.height,
        "size_bytes": len(result.data),
        **result.details,
    }


async def _check(
    settings: Settings,
    items: "list[Item]",
    options: "QaOptions",
    scene: "Source | None",
    styles: "list[Source]",
) -> list[Outcome]:
    from kroma.errors import InvalidRequestError
    from kroma.tools.runner import unreadable

    async with open_tool_runner(settings, with_ledger=False) as tool_runner:
        facts = await tool_runner.facts(options, scene=scene, styles=styles)

        async def work(item: "Item") -> Outcome:
            try:
                report = await tool_runner.check(await _read(item), options, facts)
            except InvalidRequestError as exc:
                report = unreadable(str(item.path), exc)
            failed = report.has_hard_failures
            return Outcome(
                input=str(item.path),
                ok=not failed,
                results=[msgspec.to_builtins(report)],
                error="; ".join(report.hard_fail_reasons) if failed else "",
                error_code="qa_failed" if failed else "",
            )

        return await run_all(items, work, label="qa", at_once=settings.cpu_processes)


def _say_checked(outcome: Outcome) -> None:
    if not outcome.results:
        return
    report = outcome.results[0]
    score, delta = report["quality"].get("score"), report["guard"].get("chroma_delta")
    parts = [f"color {delta:g}" if delta is not None else "unreadable"]
    if score is not None:
        parts.append(f"score {score:g}")
    parts += report["soft_warnings"]
    line = f"{'FAILED' if not outcome.ok else 'passed'}  {outcome.input}: {', '.join(parts)}"
    (say if outcome.ok else complain)(line)
