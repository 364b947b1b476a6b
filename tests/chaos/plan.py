"""What is asked for and what is broken when, all of it drawn from one seed."""

import random
from enum import StrEnum

import msgspec

from support.doubles.openai_double import Fault

SCENES = ("scenes/bridge.png", "scenes/harbor.png", "scenes/tower.png")
WORKERS = 3
SECONDS_PER_RUN = 1.2
LEAST_S = 9.0
LONGEST_FREEZE_S = 12.0


class Break(StrEnum):
    """What can happen to a part of the stack."""

    KILL_WORKER = "kill_worker"
    KILL_API = "kill_api"
    KILL_VALKEY = "kill_valkey"
    KILL_POSTGRES = "kill_postgres"
    FREEZE_WORKER = "freeze_worker"
    FREEZE_API = "freeze_api"
    FREEZE_VALKEY = "freeze_valkey"
    RESTART_WORKER = "restart_worker"
    RESTART_API = "restart_api"
    FLUSH_VALKEY = "flush_valkey"
    FILL_VALKEY = "fill_valkey"


KILLS = (
    (Break.KILL_WORKER, 12),
    (Break.KILL_API, 4),
    (Break.KILL_VALKEY, 2),
    (Break.KILL_POSTGRES, 2),
)
"""Shares; a worker is where a death can cost the most."""
OTHERS = (
    (Break.FREEZE_WORKER, 4),
    (Break.RESTART_WORKER, 3),
    (Break.FLUSH_VALKEY, 3),
    (Break.RESTART_API, 1),
    (Break.FREEZE_API, 1),
    (Break.FREEZE_VALKEY, 1),
    (Break.FILL_VALKEY, 1),
)


class Disturbance(msgspec.Struct, frozen=True, kw_only=True):
    """One break."""

    at_s: float
    what: Break
    target: int = 0
    """Which worker."""
    for_s: float = 0.0
    """How long the part stays dead or frozen."""


class House(msgspec.Struct, frozen=True, kw_only=True):
    """A project."""

    name: str
    provider: str
    budget_usd: str | None = None


HOUSES = (
    House(name="Open purse", provider="openai"),
    House(name="Tight purse", provider="openai", budget_usd="1.10"),
    House(name="Wide purse", provider="openai", budget_usd="200"),
    House(name="Free of charge", provider="local"),
)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A run that a customer wants, and what becomes of the wish."""

    number: int
    at_s: float
    house: int
    key: str
    """Its ``Idempotency-Key``."""
    dry: bool
    scenes: tuple[str, ...]
    candidates: int
    night: bool
    sent_twice: bool
    """Two requests with the same key at the same time, as a hurried client sends them."""
    cancel_after_s: float | None
    retries: bool
    """Whether a failed run is retried."""
    reruns: bool


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """A project is paused for a while, or its key is exchanged for a bad one."""

    at_s: float
    house: int
    for_s: float
    bad_key: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A whole experiment."""

    seed: int
    length_s: float
    orders: tuple[Order, ...]
    disturbances: tuple[Disturbance, ...]
    pauses: tuple[Pause, ...]

    @property
    def kills(self) -> int:
        """How many of the disturbances are ``kill -9``."""
        return sum(disturbance.what.startswith("kill") for disturbance in self.disturbances)


def drawn(seed: int, *, runs: int, kills: int) -> Plan:
    """The plan of a seed: always the same for the same three numbers."""
    chance = random.Random(seed)  # noqa: S311 - a plan, no secret
    length_s = max(LEAST_S, runs * SECONDS_PER_RUN)
    orders = [_order(chance, number, seed=seed, length_s=length_s) for number in range(runs)]
    breaks = [*_shared_out(KILLS, kills), *_shared_out(OTHERS, kills // 2)]
    disturbances = [_disturbance(chance, what, length_s=length_s) for what in breaks]
    pauses = [
        Pause(
            at_s=chance.uniform(0.1, 0.8) * length_s,
            house=chance.randrange(3),
            for_s=chance.uniform(2, 6),
            bad_key=number % 2 == 1,
        )
        for number in range(runs // 30)
    ]
    return Plan(
        seed=seed,
        length_s=length_s,
        orders=tuple(sorted(orders, key=lambda order: order.at_s)),
        disturbances=tuple(sorted(disturbances, key=lambda disturbance: disturbance.at_s)),
        pauses=tuple(sorted(pauses, key=lambda pause: pause.at_s)),
    )


def _shared_out(shares: tuple[tuple[Break, int], ...], count: int) -> list[Break]:
    """``count`` breaks in these proportions, the rarest at least once where the count allows."""
    whole = sum(share for _, share in shares)
    counts = {what: max(1, count * share // whole) for what, share in reversed(shares)}
    ordered = [what for what, number in counts.items() for _ in range(number)]
    common = shares[0][0]
    return [*ordered, *[common] * count][:count]


def _order(chance: random.Random, number: int, *, seed: int, length_s: float) -> Order:
    house = chance.choices(range(len(HOUSES)), weights=(6, 2, 6, 2))[0]
    return Order(
        number=number,
        at_s=chance.uniform(0, length_s),
        house=house,
        key=f"chaos-{seed}-{number}",
        dry=chance.random() < 0.05,
        scenes=tuple(sorted(chance.sample(SCENES, chance.choice((1, 2, 2, 3))))),
        candidates=chance.choice((1, 1, 2, 2, 3)),
        night=chance.random() < 0.2,
        sent_twice=chance.random() < 0.15,
        cancel_after_s=chance.uniform(0, 4) if chance.random() < 0.12 else None,
        retries=chance.random() < 0.4,
        reruns=chance.random() < 0.06,
    )


def _disturbance(chance: random.Random, what: Break, *, length_s: float) -> Disturbance:
    longest = {Break.FREEZE_WORKER: LONGEST_FREEZE_S, Break.KILL_VALKEY: 8.0, Break.FREEZE_VALKEY: 5.0}
    return Disturbance(
        at_s=chance.uniform(0.04, 0.96) * length_s,
        what=what,
        target=chance.randrange(WORKERS),
        for_s=chance.uniform(0.2, longest.get(what, 3.0)),
    )


def weather() -> tuple[Fault, ...]:
    """What the provider does to every call, by chance; the double's own seed decides."""
    lasting = {"times": None}
    return (
        Fault(chance=0.05, status=429, retry_after="1", **lasting),
        Fault(chance=0.04, status=500, **lasting),
        Fault(chance=0.03, status=503, html=True, **lasting),
        Fault(chance=0.03, cut="before", **lasting),
        Fault(chance=0.02, cut="during", **lasting),
        Fault(chance=0.03, cut="after", **lasting),
        Fault(chance=0.02, cut="half", **lasting),
        Fault(chance=0.015, body="garbage", **lasting),
        Fault(chance=0.015, body="not_an_image", **lasting),
        Fault(chance=0.01, body="not_base64", **lasting),
        Fault(chance=0.01, body="empty", **lasting),
        Fault(chance=0.3, delay_before_s=0.3, delay_after_s=0.4, **lasting),
        Fault(chance=0.1, delay_before_s=0.2, delay_after_s=2.5, **lasting),
        Fault(delay_before_s=0.05, delay_after_s=0.05, **lasting),
    )
