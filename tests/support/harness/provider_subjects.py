"""The providers that the conformance suite runs on, each with what its double can be told to do."""

import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.providers import PROVIDERS, ProviderKind
from kroma.providers.base import Provider, ProviderAccess
from kroma.providers.fake import FakeProvider, FakeScript
from support.doubles.openai_double import Fault, OpenAIDouble, served
from support.doubles.stability_double import StabilityDouble

KEY: Final = "sk-test-0f3a9c71"
ROOT: Final = Path(__file__).parents[3]
CODES: Final = ("local", "fake", "openai", "stability")


@dataclass(frozen=True)
class Subject:
    """One provider, ready to be called."""

    provider: Provider
    kind: ProviderKind
    access: ProviderAccess = field(default_factory=ProviderAccess)
    script: Callable[[Fault], None] | None = None
    """Tells the double what happens to the next call; None for a provider without a wire."""
    charged: Callable[[], int] = lambda: 0
    """How many calls the double charged for."""
    arrived: Callable[[], int] = lambda: 0
    """How many calls came whole."""


def documented_kind() -> ProviderKind:
    """The table entry of docs/providers.md, made by its own code block."""
    page = (ROOT / "docs" / "providers.md").read_text()
    (block,) = re.findall(r"```python\n(from stability_provider.*?)```", page, re.DOTALL)
    examples = str(ROOT / "examples")
    if examples not in sys.path:
        sys.path.append(examples)
    namespace: dict[str, dict[str, ProviderKind]] = {}
    exec(block, namespace)  # noqa: S102 - the documentation is what is tested
    return namespace["PROVIDERS"]["stability"]


@asynccontextmanager
async def opened(code: str, cpu: CpuPool) -> AsyncIterator[Subject]:
    """The provider with this code, its double running beside it."""
    settings = Settings.from_environment({"KROMA_URL_ALLOW": "127.0.0.0/8"})
    if code == "fake":
        script = FakeScript()
        yield Subject(FakeProvider(script), PROVIDERS[code])
    elif code == "local":
        provider = PROVIDERS[code].open(cpu, settings)
        yield Subject(provider, PROVIDERS[code])
        await provider.close()
    elif code == "openai":
        async with served() as double:
            subject = _wired(PROVIDERS[code], cpu, settings, double, double.url)
            yield subject
            await subject.provider.close()
    else:
        async with served(StabilityDouble()) as double:
            subject = _wired(documented_kind(), cpu, settings, double, double.url.removesuffix("/v1"))
            yield subject
            await subject.provider.close()


def _wired(kind: ProviderKind, cpu: CpuPool, settings: Settings, double: OpenAIDouble, url: str) -> Subject:
    return Subject(
        provider=kind.open(cpu, settings),
        kind=kind,
        access=ProviderAccess(api_key=KEY, base_url=url),
        script=double.script,
        charged=lambda: len(double.billed),
        arrived=lambda: len(double.calls),
    )
