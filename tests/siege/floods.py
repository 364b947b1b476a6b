"""Floods of bytes and of work from one token, while another project uploads a picture."""

import asyncio
import io
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from PIL import Image

from siege.evidence import Answer
from siege.pictures import cube_of_comments, marked, noise_of
from siege.rules import Verdict, none_of
from siege.targets import Field
from support.builders.factories import noise_png, png

TIMES_UNLADEN: Final = 3
LEAST_S: Final = 0.05
"""What a shared machine's own noise may cost."""
SLOW_PX: Final = (6000, 4500)
TURNED_AWAY: Final = frozenset({429, 503})
"""Answers of a service that has enough to do: right, as long as they say when to come again."""


def slowed(
    unladen: Sequence[float],
    laden: Sequence[float],
    *,
    rule: str,
    failed: Sequence[str],
    least_s: float = LEAST_S,
) -> Verdict:
    """A neighbor's upload beside a flood against one without, each as it usually is."""
    if not unladen or not laden:
        failed = [*failed, f"{len(unladen)} uploads were timed unladen and {len(laden)} beside the flood"]
        return Verdict(rule=rule, measured="nothing", allowed="a time", wrong=tuple(failed))
    before, during = statistics.median(unladen), statistics.median(laden)
    bound = max(TIMES_UNLADEN * before, least_s)
    wrong = [*failed]
    if during > bound:
        wrong.append(f"{during:.2f} s, at most {bound:.2f} s")
    measured = f"{during:.2f} s ({before:.2f} s unladen; slowest {max(laden):.2f} s of {len(laden)})"
    return Verdict(rule=rule, measured=measured, allowed=f"{bound:.2f} s", wrong=tuple(wrong))


def waited(laden: Sequence[float], unladen: Sequence[float], *, lone_s: float) -> list[str]:
    """Uploads that waited for another token's pictures.

    Behind a queue an upload waits for whole pictures of the other token; where all processes are taken but
    turns are kept, for the rest of one. With a process left it waits for none, and is as slow as the
    machine's cores are busy.
    """
    if not laden or not unladen:
        return ["nothing was timed"]
    found: list[str] = []
    usual, most = statistics.median(laden), max(TIMES_UNLADEN * max(unladen), lone_s / 4, LEAST_S)
    if usual > most:
        found.append(f"an upload usually took {usual:.2f} s, at most {most:.2f} s")
    if max(laden) > max(lone_s, TIMES_UNLADEN * max(unladen)):
        found.append(f"an upload took {max(laden):.2f} s, longer than one of the pictures ({lone_s:.2f} s)")
    return found


def unserved(answers: Sequence[Answer]) -> list[str]:
    """Uploads that were neither kept nor turned away with a time to come again; or none kept at all."""
    found = [
        f"{it.request} was answered {it.status} {it.code} {it.text[:80] if it.status == 0 else ''}".strip()
        for it in answers
        if it.status != 200 and not (it.status in TURNED_AWAY and "retry-after" in it.headers)
    ]
    if not any(it.status == 200 for it in answers):
        found.append("none of them was kept")
    return found


async def attack(field: Field) -> list[Verdict]:
    field.begin("keyed uploads")
    keyed = await _keyed_uploads(field)
    # Every process of the pool warm, so that neither side pays for a start.
    await asyncio.gather(*(_upload(field, number) for number in range(-4, 0)))
    field.begin("uploads unladen")
    unladen = await _timed(field, 0)
    field.begin("LUT flood")
    luts, lut_answers = await _beside(field, _lut, field.size.lut_uploads, first=1000)
    field.begin("picture flood")
    work, lone_s = await _slow_work(field)
    pictures, picture_answers = await _beside(field, work, field.size.slow_pictures, first=2000)
    field.begin("")
    field.say(
        f"  one picture of the flood takes {lone_s:.1f} s by itself; "
        f"answers {dict(Counter(it.status for it in lut_answers))} to tables, "
        f"{dict(Counter(it.status for it in picture_answers))} to pictures"
    )
    held = [*pictures.failed, *waited(pictures.seconds, unladen.seconds, lone_s=lone_s)]
    return [
        none_of(
            "uploads with a key are kept or turned away", unserved(keyed), tried=len(keyed), what="uploads"
        ),
        slowed(
            unladen.seconds,
            luts.seconds,
            rule="another project's upload beside the LUT flood",
            failed=[*unladen.failed, *luts.failed],
            least_s=field.size.least_upload_s,
        ),
        none_of(
            "no token holds all picture processes",
            held,
            tried=len(pictures.seconds),
            what=f"uploads, slowest {max(pictures.seconds, default=0.0):.2f} s",
        ),
    ]


async def _keyed_uploads(field: Field) -> list[Answer]:
    """Many large uploads at once, each of which can be told from its repetition."""
    base = noise_of(field.size.keyed_upload_mib)

    async def one(number: int) -> Answer:
        return await field.whole.ask(
            "POST",
            f"{field.attacker.path}/assets",
            files={"file": (f"{number}.png", marked(base, str(number)), "image/png")},
            headers={"Idempotency-Key": f"siege-{number}"},
            timeout=120,
        )

    return list(await asyncio.gather(*(one(number) for number in range(field.size.keyed_uploads))))


class _Timed:
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.failed: list[str] = []


async def _upload(field: Field, number: int) -> Answer:
    files = {"file": (f"{number}.png", noise_png(160, 120, seed=number + 100_000), "image/png")}
    return await field.neighbor_whole.ask("POST", f"{field.neighbor.path}/assets", files=files, timeout=120)


async def _timed(field: Field, first: int) -> _Timed:
    """One upload of the neighbor after the other."""
    timed = _Timed()
    for number in range(first, first + field.size.timed_uploads):
        began = time.perf_counter()
        answer = await _upload(field, number)
        timed.seconds.append(time.perf_counter() - began)
        if answer.status != 200:
            timed.failed.append(f"the neighbor's upload was answered {answer.status} {answer.code}")
        await asyncio.sleep(0.1)
    return timed


Work = Callable[[Field], Awaitable[Answer]]


async def _beside(field: Field, work: Work, at_once: int, *, first: int) -> tuple[_Timed, list[Answer]]:
    """The neighbor's uploads while the attacker keeps so many requests in flight."""
    answers: list[Answer] = []
    is_over = asyncio.Event()

    async def flood() -> None:
        while not is_over.is_set():
            answers.append(await work(field))
            if answers[-1].status != 200:
                await asyncio.sleep(0.1)

    floods = [asyncio.create_task(flood()) for _ in range(at_once)]
    await asyncio.sleep(1.0)
    timed = await _timed(field, first)
    is_over.set()
    await asyncio.gather(*floods)
    return timed, answers


_TABLES: dict[int, bytes] = {}


async def _lut(field: Field) -> Answer:
    mib = field.size.lut_mib
    if mib not in _TABLES:
        _TABLES[mib] = cube_of_comments(mib)
    files = {"file": ("a.png", png(16, 16), "image/png"), "lut": ("a.cube", _TABLES[mib], "text/plain")}
    return await field.whole.ask("POST", "/api/tools/color", files=files, timeout=120)


async def _slow_work(field: Field) -> tuple[Work, float]:
    """Something small that takes a picture process long, and how long it takes by itself."""
    picture = io.BytesIO()
    Image.linear_gradient("L").resize(SLOW_PX).convert("RGB").save(picture, "PNG")

    async def work(field: Field) -> Answer:
        files = {"file": ("a.png", picture.getvalue(), "image/png")}
        return await field.whole.ask("POST", "/api/tools/qa", files=files, timeout=120)

    await work(field)
    began = time.perf_counter()
    answer = await work(field)
    if answer.status != 200:
        message = f"the picture of the flood was answered {answer.status}: {answer.text[:200]}"
        raise RuntimeError(message)
    return work, time.perf_counter() - began
