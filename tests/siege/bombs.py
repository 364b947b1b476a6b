"""Bodies that grow, nest or never end once somebody opens them."""

import asyncio
import gzip
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from siege.evidence import Answer
from siege.pictures import bombs, cube_of_comments, cube_of_one_line
from siege.rules import Verdict, none_of
from siege.targets import Field
from support.builders.factories import png

LONGEST_S: Final = 15.0
"""For one bomb on a busy machine; a good picture of the largest size takes as long as that."""
MIB: Final = 1024 * 1024
JSON: Final = {"Content-Type": "application/json"}
AT_ONCE: Final = 3


class Thrown(msgspec.Struct, frozen=True, kw_only=True):
    """A bomb, and what it was answered."""

    name: str
    answer: Answer
    took_s: float


def exploded(thrown: Sequence[Thrown]) -> list[str]:
    """Bombs that broke something, or held it for long."""
    found: list[str] = []
    for it in thrown:
        status = it.answer.status
        # A body that is refused before it was sent ends in a closed connection, and the answer may be lost.
        if status in {500, 502, 503} or "Timeout" in it.answer.text[:40] * (status == 0):
            found.append(f"{it.name}: answered {status or 'nothing'} {it.answer.code}")
        if it.took_s > LONGEST_S:
            found.append(f"{it.name}: took {it.took_s:.1f} s")
    return found


async def attack(field: Field) -> list[Verdict]:
    field.begin("picture bombs")
    pictures = await _pictures(field)
    field.begin("body bombs")
    bodies = await _bodies(field)
    for it in sorted((*pictures, *bodies), key=lambda it: -it.took_s)[:3]:
        field.say(f"  {it.name}: {it.answer.status} in {it.took_s:.1f} s")
    return [
        none_of("picture bombs do nothing", exploded(pictures), tried=len(pictures), what="bombs"),
        none_of("body bombs do nothing", exploded(bodies), tried=len(bodies), what="bombs"),
    ]


async def _pictures(field: Field) -> list[Thrown]:
    locations = asyncio.Semaphore(AT_ONCE)

    async def throw(name: str, path: str, files: Mapping[str, tuple[str, bytes, str]]) -> Thrown:
        async with locations:
            return await _thrown(field, name, path, files=files)

    thrown: list[Thrown] = []
    for name, data in await asyncio.to_thread(lambda: list(bombs())):
        file = {"file": ("a.png", data, "image/png")}
        routes = [f"{field.attacker.path}/assets", "/api/tools/inspect", "/api/tools/qa"]
        thrown += await asyncio.gather(*(throw(f"{name} to {route}", route, file) for route in routes))
    tables = {
        "a table of comments": cube_of_comments(8),
        "a table of one line": cube_of_one_line(8),
        "a table of 4,096 cubed": b"LUT_3D_SIZE 4096\n0 0 0\n",
        "a table of a huge size": b"LUT_3D_SIZE " + b"9" * 5000 + b"\n",
        "a table of blanks": b" \n" * (4 * MIB),
    }
    for name, table in tables.items():
        files = {"file": ("a.png", png(16, 16), "image/png"), "lut": ("a.cube", table, "text/plain")}
        thrown.append(await throw(name, "/api/tools/color", files))
    return thrown


def _json_bodies() -> Iterator[tuple[str, str, bytes]]:
    """Name, path below the project, and body."""
    deep = b"[" * 1_000_000
    nested = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
    template = b'{"provider_code": "openai", "config_json": %b}'
    digits = b"9" * 1_900_000
    keys = ",".join(f'"k{number}": {number}' for number in range(130_000)).encode()
    twice = b'{"name": "a", ' * 1 + b",".join([b'"name": "b"'] * 100_000) + b"}"
    braces = json.dumps({"ai_response_text": "{" * 900_000 + "}" * 900_000}).encode()
    fences = json.dumps({"ai_response_text": "```json\n" * 200_000}).encode()
    items = [{"name": f"c{number}", "prompt_text": "p"} for number in range(40_000)]
    dry = json.dumps({"dry_run": True, "settings": {"characters": items}}).encode()[: 2 * MIB]
    yield "a million brackets", "characters", deep
    yield "200,000 objects in each other", "characters", nested
    yield "a nested config", "provider-accounts", template % nested
    yield "a number of 1,900,000 digits", "budget", b'{"limit_usd": %b, "period": "total"}' % digits
    yield "an exponent of 400", "budget", b'{"limit_usd": 1e400, "period": "total"}'
    yield "a long exponent", "budget", b'{"limit_usd": 1e%b, "period": "total"}' % digits[:1000]
    yield "130,000 keys", "characters", b'{"name": "a", %b}' % keys
    yield "one key 100,000 times", "characters", twice
    yield "half a surrogate", "characters", b'{"name": "\\ud800"}'
    yield "no UTF-8", "characters", b'{"name": "\xff\xfe"}'
    yield "900,000 braces to import", "bootstrap-import", braces
    yield "200,000 fences to import", "bootstrap-import", fences
    yield "a dry run of 2 MB to import", "bootstrap-import", dry
    yield "2 MiB and one byte", "characters", b" " * (2 * MIB + 1)
    yield "a million candidates", "runs/trigger", b'{"mode": "dry", "input": "scenes", "candidates": 1000000}'
    refs = json.dumps(["scenes/harbor.png"] * 80_000).encode()
    yield "80,000 scenes", "runs/quote", b'{"mode": "dry", "scene_refs": %b}' % refs


async def _bodies(field: Field) -> list[Thrown]:
    at = field.attacker.path
    thrown: list[Thrown] = []
    for name, path, body in _json_bodies():
        method = "PUT" if path == "budget" else "POST"
        thrown.append(await _thrown(field, name, f"{at}/{path}", method=method, content=body, headers=JSON))
    bomb = gzip.compress(bytes(512 * MIB), 1)
    for encoding in ("gzip", "deflate", "gzip, gzip", "br"):
        headers = {**JSON, "Content-Encoding": encoding}
        thrown.append(
            await _thrown(
                field, f"512 MiB in {encoding}", f"{at}/characters", content=bomb[: 2 * MIB], headers=headers
            )
        )
    for name, body, kind in _forms():
        headers = {"Content-Type": kind}
        thrown += [
            await _thrown(field, f"{name} to {path}", path, content=body, headers=headers)
            for path in (f"{at}/assets", "/api/tools/inspect")
        ]
    return thrown


def _forms() -> Iterator[tuple[str, bytes, str]]:
    kind = "multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'
    yield "100,000 parts", part * 100_000 + b"--b--\r\n", kind
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="'
    yield "a name of 4 MB", head + b"n" * 4_000_000 + b'"\r\n\r\n\r\n--b--\r\n', kind
    yield "a header without an end", b"--b\r\n" + b"X-A: " + b"h" * 4_000_000, kind
    yield "a field of 4 MB", part[:-2] + b"v" * 4_000_000 + b"\r\n--b--\r\n", kind
    yield "200,000 headers of a part", b"--b\r\n" + b"X-A: b\r\n" * 200_000 + b"\r\n--b--\r\n", kind
    yield "a boundary of 100 kB", b"--\r\n", "multipart/form-data; boundary=" + "b" * 7000
    yield (
        "forms in forms",
        (b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 20_000) + b"--b--\r\n",
        kind,
    )


async def _thrown(field: Field, name: str, path: str, *, method: str = "POST", **options: Any) -> Thrown:
    began = time.monotonic()
    answer = await field.whole.ask(method, path, **options)
    return Thrown(name=name, answer=answer, took_s=time.monotonic() - began)
