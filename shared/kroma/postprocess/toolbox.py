"""Every tool by its name, opened once per process."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kroma.allow_list import AllowList
from kroma.config import ToolOptions
from kroma.cpu import CpuPool, remote
from kroma.errors import KromaError
from kroma.postprocess.base import BackgroundRemover, Upscaler
from kroma.postprocess.errors import ToolError, ToolMissingError
from kroma.postprocess.installed import CUTOUT_BACKENDS, UPSCALE_ALIASES, UPSCALE_BACKENDS
from kroma.postprocess.removers import LocalRemover, RembgRemover
from kroma.postprocess.services import KINDS, CutoutService, ServiceLine
from kroma.postprocess.specs import ColorSpec, CutoutSpec, Made, UpscaleSpec
from kroma.postprocess.upscalers import LanczosUpscaler, RealEsrganUpscaler
from kroma.providers.base import EditRequest, ProviderAccess, ProviderPicture

if TYPE_CHECKING:
    from kroma.postprocess import work
else:
    work = remote("kroma.postprocess.work")


class Toolbox:
    """The tools of an installation."""

    def __init__(
        self, cpu: CpuPool, options: ToolOptions | None = None, *, url_allow: AllowList | None = None
    ) -> None:
        options = options or ToolOptions()
        self._cpu = cpu
        self._line = ServiceLine(options, url_allow or AllowList())
        lanczos, realesrgan = LanczosUpscaler(cpu), RealEsrganUpscaler(cpu, options)
        self.upscalers: Mapping[str, Upscaler] = {tool.code: tool for tool in (lanczos, realesrgan)}
        local, rembg = LocalRemover(cpu), RembgRemover(cpu, options)
        self.removers: Mapping[str, BackgroundRemover] = {tool.code: tool for tool in (local, rembg)}
        self.services: Mapping[str, CutoutService] = {
            kind.code: CutoutService(kind, self._line) for kind in KINDS
        }

    def upscaler(self, backend: str) -> Upscaler:
        """The backend of this name or alias.

        Raises:
            ToolMissingError: The name is unknown.
        """
        tool = self.upscalers.get(UPSCALE_ALIASES.get(backend, backend))
        if tool is None:
            raise ToolMissingError(backend, f"the backend must be one of: {', '.join(UPSCALE_BACKENDS)}")
        return tool

    async def upscale(self, data: bytes, spec: UpscaleSpec, *, name: str) -> Made:
        """As ``Upscaler.upscale`` of the spec's backend.

        Raises:
            ToolError: The backend is unknown, missing, or failed.
            PictureError: The picture does not decode, or would be too large.
        """
        return await self.upscaler(spec.backend).upscale(data, spec, name=name)

    async def grade(
        self, data: bytes, spec: ColorSpec, *, name: str, lut: tuple[str, bytes] | None = None
    ) -> Made:
        """A graded PNG; ``lut`` is the name and content of a ``.cube`` file.

        Raises:
            PictureError: The picture does not decode.
            CubeError: The look-up table cannot be read.
        """
        return await self._cpu.run(work.grade, data, spec.values, lut, name=name)

    def remover(self, backend: str) -> BackgroundRemover:
        """The free backend of this name.

        Raises:
            ToolMissingError: The name is unknown.
        """
        tool = self.removers.get(backend)
        if tool is None:
            raise ToolMissingError(backend, f"the backend must be one of: {', '.join(CUTOUT_BACKENDS)}")
        return tool

    async def finish_service(self, data: bytes, answer: bytes, spec: CutoutSpec, code: str) -> Made:
        """A service's response at the source's size, depth and color space.

        Raises:
            ToolError: It is not a cutout of the source.
        """
        return await self._cpu.run(
            work.finish_cutout, data, answer, spec.format, spec.quality, crop=spec.crop, tool=code
        )

    async def service_picture(self, data: bytes, *, name: str) -> ProviderPicture:
        """A picture in the form that services take.

        Raises:
            PictureError: It does not decode.
        """
        png = await self._cpu.run(work.plain_png, data, name=name)
        return ProviderPicture(name="picture.png", data=png, mime_type="image/png")

    async def close(self) -> None:
        """Close the services' connections; the pool belongs to the caller."""
        await self._line.close()


def all_failed(failures: Mapping[str, KromaError]) -> ToolError:
    """One error with every backend's reason (pipeline.md 5.2)."""
    return ToolError("bg_remove", " | ".join(f"{code}: {error.message}" for code, error in failures.items()))


def service_request(
    picture: ProviderPicture, *, candidate_index: int = 1, access: ProviderAccess | None = None
) -> EditRequest:
    """The request that asks a service to cut out a picture."""
    return EditRequest(
        prompt="",
        scene=picture,
        styles=(),
        stage="background_removal",
        time_of_day="",
        weather="",
        candidate_index=candidate_index,
        seed=0,
        access=access or ProviderAccess(),
    )
