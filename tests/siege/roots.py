"""Roots, paths and links that lead out of a project."""

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from siege.evidence import Answer, Caller
from siege.rules import Verdict, none_of
from siege.targets import Field, shows

CONFIG_FIELDS: Final = (
    "app_settings_path",
    "project_settings_path",
    "manifest_path",
    "postprocess_config_path",
)
OURS: Final = ("token", "run", "logs", "postgres", "valkey", "config", "var/backend")
"""What of the data directory is Kroma's own."""


def overlaps(roots: Mapping[str, Path], data_dir: Path) -> list[str]:
    """Roots that equal, contain or lie within each other or something of Kroma's own, links resolved."""
    real = {name: root.resolve() for name, root in roots.items()}
    found = [
        f"the roots of {one} and {other} overlap: {real[one]} and {real[other]}"
        for one, other in itertools.combinations(sorted(real), 2)
        if _overlap(real[one], real[other])
    ]
    own = [(data_dir / name).resolve() for name in OURS]
    found += [
        f"the root of {name} overlaps {kept}"
        for name, root in real.items()
        for kept in own
        if _overlap(root, kept)
    ]
    return found


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def _real(path: Path) -> Path:
    return path.resolve()


def told_apart(existing: Answer, missing: Answer, names: tuple[str, str]) -> bool:
    """Whether two answers say which of two paths exists."""
    texts = [
        answer.text.replace(name, "PATH").replace(Path(name).name, "PATH")
        for answer, name in zip((existing, missing), names, strict=True)
    ]
    return existing.status != missing.status or texts[0] != texts[1]


async def attack(field: Field) -> list[Verdict]:
    own = field.attacker.root
    _lay_links(field)
    tried = await _tried_roots(field)
    raced = await _races(field)
    roots = await all_roots(field)
    paths = await _paths(field)
    probes = await _probed(field)
    links = await _through_links(field)
    for link in ("link", "linked", "scenes/link.png", "scenes/key.png"):
        (own / link).unlink(missing_ok=True)
    return [
        none_of(
            "no token moves a root where it should not", tried, tried=len(_bad_roots(field)), what="roots"
        ),
        none_of(
            "simultaneous changes leave roots disjoint", raced, tried=field.size.root_races, what="races"
        ),
        none_of(
            "roots are disjoint, and none is Kroma's own",
            overlaps(roots, field.stack.data_dir),
            tried=len(roots),
            what="roots",
        ),
        none_of("no path leads out of a project", paths[0], tried=paths[1], what="requests"),
        none_of("no answer tells which files exist", probes[0], tried=probes[1], what="pairs of paths"),
        none_of("no link leads out of a project", links[0], tried=links[1], what="requests"),
    ]


def _lay_links(field: Field) -> None:
    """Links in the attacker's folder, as a tool beside Kroma could lay them."""
    own, victim = field.attacker.root, field.victim.root
    for name, to in (
        ("link", victim),
        ("linked", victim / "scenes"),
        ("scenes/link.png", victim / "scenes" / "harbor.png"),
        ("scenes/key.png", field.stack.data_dir / "token"),
    ):
        (own / name).symlink_to(to)


def _bad_roots(field: Field) -> list[dict[str, str]]:
    """What a project's token may not have as a root."""
    data, own, victim = field.stack.data_dir, field.attacker.root, field.victim.root
    other = f"var/projects/{field.victim.slug}"
    roots = [
        *(str(path) for path in (victim, victim / "scenes", victim.parent, data, data / "var", data.parent)),
        *(str(data / name) for name in OURS),
        *OURS,
        *(
            ".",
            "..",
            "/",
            "/etc",
            "/root",
            "/srv/siege",
            "/proc/self/root",
            "/var/siege",
            "var",
            "var/projects",
        ),
        *(other, f"{other}/", f"./{other}", f"var//projects/./{field.victim.slug}", f"{other}/scenes/new"),
        f"{own}/../{field.victim.slug}",
        f"{own}x",
        *(str(own / "link"), str(own / "link" / "scenes"), str(own / "linked")),
        *("~", "~root", "$HOME", "file:///etc", "\\\\server\\share", "a\0b"),
    ]
    folders = [
        str(victim),
        str(data),
        *(".", "..", "/", "var", "config", "var/backend", other),
        str(own / "link"),
    ]
    return [{"project_root": root} for root in roots] + [{"base_dir": folder} for folder in folders]


def _bad_for_everybody(field: Field) -> list[dict[str, str]]:
    """What not even the installation's token may set: it would overlap something."""
    data, own, victim = field.stack.data_dir, field.attacker.root, field.victim.root
    roots = (victim, victim / "scenes", victim.parent, data, data / "var", data.parent, own / "link")
    named = [*(str(root) for root in roots), *OURS, ".", "..", "/", "var", "var/projects"]
    return [{"project_root": root} for root in named] + [{"base_dir": str(victim)}]


async def _tried_roots(field: Field) -> list[str]:
    storage = f"{field.attacker.path}/storage"
    before = _real(field.attacker.root)
    found: list[str] = []

    async def tried(caller: Caller, name: str, bodies: Iterable[dict[str, str]]) -> None:
        for body in bodies:
            answer = await caller.ask("PUT", f"{storage}/local", json=body)
            now = Path((await field.owner.made("GET", storage))["storage"]["local"]["project_root"])
            if _real(now) != before:
                found.append(f"{name} moved the root to {now} by {body}")
                # What the siege does next is about this project's own folder.
                back = {"base_dir": "var/projects", "project_root": str(before)}
                await field.owner.ask("PUT", f"{storage}/local", json=back)
            elif not 400 <= answer.status < 500:
                found.append(f"{body} by {name} was answered {answer.status}")

    await tried(field.whole, "the project's token", _bad_roots(field))
    await tried(field.scoped["storage"], "scope storage", _bad_roots(field))
    await tried(field.owner, "the installation's token", _bad_for_everybody(field))
    return found


async def all_roots(field: Field) -> dict[str, Path]:
    """Where every project has its files, by slug."""
    listed = (await field.owner.made("GET", "/api/projects"))["projects"]
    roots: dict[str, Path] = {}
    for project in listed:
        told = await field.owner.made("GET", f"/api/projects/{project['slug']}/storage")
        roots[project["slug"]] = Path(told["storage"]["local"]["project_root"])
    return roots


async def _races(field: Field) -> list[str]:
    """Two projects that ask at once for one folder, or for one within the other's."""
    slugs = [
        (await field.owner.made("POST", "/api/projects", json={"name": f"Race {side}"}))["project"]["slug"]
        for side in ("One", "Two")
    ]
    found: list[str] = []
    for number in range(field.size.root_races):
        shared = field.stack.folder / f"race-{number}"
        locations = (shared, shared if number % 2 else shared / "inner")
        await asyncio.gather(
            *(
                field.owner.ask(
                    "PUT", f"/api/projects/{slug}/storage/local", json={"project_root": str(location)}
                )
                for slug, location in (
                    *zip(slugs, locations, strict=True),
                    *zip(slugs, locations[::-1], strict=True),
                )
            )
        )
        roots = await all_roots(field)
        found += overlaps({slug: roots[slug] for slug in slugs}, field.stack.data_dir)
    taken = {"project_root": "var/projects/race_three"}
    await field.owner.ask("PUT", f"/api/projects/{slugs[0]}/storage/local", json=taken)
    made = await field.owner.ask("POST", "/api/projects", json={"name": "Race Three"})
    if made.status != 200:
        found.append(f"a project whose default folder is taken was answered {made.status}")
    return found


async def _paths(field: Field) -> tuple[list[str], int]:
    """Scenes, styles and folders that a run should never find."""
    victim, data = field.victim, field.stack.data_dir
    out = [
        f"../{victim.slug}/scenes/harbor.png",
        f"scenes/../../{victim.slug}/scenes/harbor.png",
        f"./../{victim.slug}/scenes/tower.png",
        str(victim.root / "scenes" / "harbor.png"),
        f"file://{victim.root}/scenes/harbor.png",
        f"..\\{victim.slug}\\scenes\\harbor.png",
        f"%2e%2e/{victim.slug}/scenes/harbor.png",
        str(data / "token"),
        "../../../token",
        "/etc/passwd",
        "/proc/self/environ",
        "link/scenes/harbor.png",
        "linked/harbor.png",
        "scenes/link.png",
        "scenes/key.png",
        "scenes/harbor.png\0.png",
    ]
    folders = [
        "..",
        f"../{victim.slug}/scenes",
        str(victim.root / "scenes"),
        "/",
        "/etc",
        "link",
        "linked",
        "../..",
    ]
    style = ["styles/ink.png"]
    orders: list[dict[str, Any]] = [
        {"mode": "dry", "scene_refs": [path], "style_refs": style} for path in out
    ]
    orders += [{"mode": "dry", "input": "scenes/harbor.png", "style_refs": [path]} for path in out]
    orders += [{"mode": "dry", "input": path, "style_refs": style} for path in (*out, *folders)]
    found: list[str] = []
    for order in orders:
        for route in ("trigger", "quote"):
            answer = await field.whole.ask("POST", f"{field.attacker.path}/runs/{route}", json=order)
            if not 400 <= answer.status < 500 or shows(answer, victim):
                found.append(f"{route} of {order} was answered {answer.status}")
    listed = await field.whole.made("GET", f"{field.attacker.path}/assets?limit=2000")
    theirs = {digest.hex() for digest in victim.pictures}
    found += [
        f"{it['rel_path']} is a picture of the victim" for it in listed["assets"] if it["sha256"] in theirs
    ]
    return found, 2 * len(orders)


def _pairs(field: Field) -> list[tuple[str, str]]:
    """A path that exists, and one that does not."""
    data, victim = field.stack.data_dir, field.victim.root
    return [
        ("var/backend/master.key", "var/backend/master.kez"),
        ("run/stack.json", "run/stack.jsom"),
        ("callback.key", "callback.kez"),
        (str(data / "callback.key"), str(data / "callback.kez")),
        (str(data / "var" / "backend" / "master.key"), str(data / "var" / "backend" / "master.kez")),
        (str(data / "run" / "stack.json"), str(data / "run" / "stack.jsom")),
        (str(victim / "notes.json"), str(victim / "notex.json")),
        (f"var/projects/{field.victim.slug}/notes.json", f"var/projects/{field.victim.slug}/notex.json"),
        (f"../{field.victim.slug}/notes.json", f"../{field.victim.slug}/notex.json"),
        ("link/notes.json", "link/notex.json"),
        ("/etc/passwd", "/etc/passwx"),
        ("logs/api.log", "logs/api.loh"),
        (str(data / "logs"), str(data / "logz")),
        ("postgres/password", "postgres/passwore"),
    ]


async def _probed(field: Field) -> tuple[list[str], int]:
    """Config paths: what is there must be answered like what is not, and nothing of it be told."""
    found: list[str] = []
    callers: Sequence[tuple[Caller, str]] = ((field.whole, "the project"), (field.scoped["create"], "create"))
    for caller, name in callers:
        for config in CONFIG_FIELDS:
            for pair in _pairs(field):
                existing, missing = [
                    await caller.ask(
                        "POST", f"{field.attacker.path}/runs/validate-config", json={config: path}
                    )
                    for path in pair
                ]
                if told_apart(existing, missing, pair):
                    found.append(f"{config} {pair[0]} by {name}: {existing.text[:140]}")
    return found, len(callers) * len(CONFIG_FIELDS) * len(_pairs(field))


async def _through_links(field: Field) -> tuple[list[str], int]:
    """An asset whose file has become a link to something else."""
    listed = (await field.whole.made("GET", f"{field.attacker.path}/assets?kind=input"))["assets"]
    asset = listed[0]
    file = field.attacker.root / asset["rel_path"]
    kept = file.read_bytes()
    secrets = [
        field.stack.data_dir / "token",
        field.victim.root / "scenes" / "tower.png",
        Path("/etc/passwd"),
    ]
    found: list[str] = []
    try:
        for to in secrets:
            file.unlink()
            file.symlink_to(to)
            for view in ("content", "thumbnail"):
                path = f"{field.attacker.path}/assets/{asset['id']}/{view}"
                answer = await field.whole.ask("GET", path)
                if answer.status in {200, 206}:
                    found.append(f"the {view} of a link to {to} was answered {answer.status}")
    finally:
        file.unlink()
        file.write_bytes(kept)
    return found, 2 * len(secrets)
