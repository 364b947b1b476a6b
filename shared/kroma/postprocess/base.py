"""The protocols of the tools; one conformance suite holds them all (tests/unit/postprocess)."""

from typing import Protocol, runtime_checkable

from kroma.postprocess.specs import CutoutSpec, Made, UpscaleSpec


@runtime_checkable
class Upscaler(Protocol):
    """Enlarges pictures."""

    @property
    def code(self) -> str: ...

    def missing(self, spec: UpscaleSpec) -> str | None:
        """What is to be installed or set before it can carry out this order; None when nothing is."""
        ...

    async def upscale(self, data: bytes, spec: UpscaleSpec, *, name: str) -> Made:
        """The picture ``spec.scale`` times as wide and high, in the order's format.

        Alpha and colour space stay.

        Raises:
            PictureError: It does not decode, or would be too large; the message names it.
            ToolError: The tool failed.
        """
        ...


@runtime_checkable
class BackgroundRemover(Protocol):
    """Leaves the subject of a picture on a transparent ground."""

    @property
    def code(self) -> str: ...

    def missing(self, spec: CutoutSpec) -> str | None: ...

    async def remove(self, data: bytes, spec: CutoutSpec, *, name: str) -> Made:
        """The picture without its background, in the order's format; at its size but where it is cropped.

        Raises:
            PictureError: It does not decode; the message names it.
            ToolError: The tool failed, or is not sure.
        """
        ...
