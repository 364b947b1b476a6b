"""The protocols of the backends; tests/integration/postprocess has their conformance tests."""

from typing import Protocol, runtime_checkable

from kroma.postprocess.specs import CutoutSpec, Made, UpscaleSpec


@runtime_checkable
class Upscaler(Protocol):
    """Enlarges pictures."""

    @property
    def code(self) -> str: ...

    async def upscale(self, data: bytes, spec: UpscaleSpec, *, name: str) -> Made:
        """The picture, ``spec.scale`` times as wide and high, with its alpha and color space.

        Raises:
            PictureError: It does not decode, or would be too large; the message contains ``name``.
            ToolError: The tool failed.
        """
        ...


@runtime_checkable
class BackgroundRemover(Protocol):
    """Makes a picture's background transparent."""

    @property
    def code(self) -> str: ...

    async def remove(self, data: bytes, spec: CutoutSpec, *, name: str) -> Made:
        """The picture without its background, at the same size.

        Raises:
            PictureError: It does not decode; the message contains ``name``.
            ToolError: The tool failed, or its result is unsure.
        """
        ...
