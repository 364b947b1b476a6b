"""The free provider: redraws the scene on this machine, after the style references.

Honest about what it is: line, tone, color statistics, light and rain by plain image processing
(``kroma.imaging.restyle``), no diffusion model. It does not read the prompt, and it does not know a
face: character references lend a little color, and it says so in its parameters.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Self
from uuid import UUID

from kroma.config import Settings
from kroma.cpu import CpuPool, remote
from kroma.imaging.restyle.spec import RedrawSpec
from kroma.providers.base import (
    Capabilities,
    EditRequest,
    EditResult,
    FoundCall,
    ModelOffer,
    ProviderAccess,
    ProviderHealth,
)

if TYPE_CHECKING:
    from kroma.imaging.restyle.engine import redraw
else:
    redraw = remote("kroma.imaging.restyle.engine").redraw

_MODEL = "kroma-ink-1"


class LocalProvider:
    """Redraws scenes in the picture processes; the same order gives the same bytes."""

    def __init__(self, cpu: CpuPool) -> None:
        self._cpu = cpu

    @classmethod
    def opened(cls, cpu: CpuPool, settings: Settings) -> Self:  # noqa: ARG003 - nothing to set
        return cls(cpu)

    @staticmethod
    def models() -> tuple[ModelOffer, ...]:
        return (ModelOffer(name=_MODEL),)

    @property
    def code(self) -> str:
        return "local"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            models=self.models(),
            mime_types=("image/png", "image/jpeg", "image/webp", "image/bmp", "image/tiff"),
            deterministic=True,
            free=True,
        )

    def estimate(self, request: EditRequest) -> Decimal:  # noqa: ARG002 - free, whatever is asked
        return Decimal(0)

    async def edit(self, request: EditRequest) -> EditResult:
        """Redraw one candidate.

        Raises:
            PictureError: The scene or a reference does not decode.
            InvalidSizeError: The size is no ``<width>x<height>`` within the limit.
            PictureWorkLostError: The picture process died.
        """
        spec = RedrawSpec(
            scene_name=request.scene.name,
            scene=request.scene.data,
            styles=tuple((style.name, style.data) for style in request.styles),
            references=tuple((reference.name, reference.data) for reference in request.references),
            opaque=request.background == "opaque",
            stage=request.stage,
            time_of_day=request.time_of_day,
            weather=request.weather,
            candidate_index=request.candidate_index,
            seed=request.seed,
            size=request.size,
        )
        redrawn = await self._cpu.run(redraw, spec)
        return EditResult(
            data=redrawn.png,
            mime_type="image/png",
            provider_code=self.code,
            model=_MODEL,
            cost_usd=Decimal(0),
            parameters=redrawn.parameters,
        )

    async def find_call(self, call_id: UUID, access: ProviderAccess) -> FoundCall | None:  # noqa: ARG002 - remembers none
        """Nothing: its calls are no one's money, and are simply made again."""
        return None

    async def health(self, access: ProviderAccess) -> ProviderHealth:  # noqa: ARG002 - needs none
        return ProviderHealth(ok=True, message="Redraws on this machine; no key, no cost")

    async def close(self) -> None:
        """Nothing to give back; the pool belongs to the caller."""
