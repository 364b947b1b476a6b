"""The paid provider: OpenAI's image edit, or a service with the same address space.

It sends a call once. What a failure means for the money is in the error's class, and only the ledger
decides whether there is a next one.
"""

import asyncio
from decimal import Decimal
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, NoReturn, Self
from uuid import UUID

from kroma.allow_list import AllowList
from kroma.config import OpenAIOptions, Settings
from kroma.cpu import CpuPool, remote
from kroma.imaging.errors import PictureError
from kroma.imaging.header import PictureHeader
from kroma.providers.answers import LEAST_ANSWER_PX, usable_key
from kroma.providers.base import (
    AnswerUnusableError,
    Capabilities,
    EditRequest,
    EditResult,
    FoundCall,
    ModelOffer,
    ProviderAccess,
    ProviderHealth,
    ProviderKeyRefusedError,
    ProviderPicture,
    ProviderRefusedError,
)
from kroma.providers.inputs import InputLimits, is_plainly_ready
from kroma.providers.openai_answers import CODE, ImageReply, RawAnswer, picture_of, read_reply, request_id
from kroma.providers.price_list import PricedModel, ReportedCost, kept_usage, openai_prices

if TYPE_CHECKING:
    from kroma.imaging.codec import verify
    from kroma.outbound.guard import UrlGuard
    from kroma.providers.fitting import fitted
    from kroma.providers.openai_client import EditForm, OpenAICalls
else:
    verify = remote("kroma.imaging.codec").verify
    fitted = remote("kroma.providers.fitting").fitted

OFFICIAL_URL: Final = "https://api.openai.com/v1"


class OpenAIProvider:
    """Draws by OpenAI's image models, for money."""

    def __init__(self, cpu: CpuPool, options: OpenAIOptions, *, url_allow: AllowList | None = None) -> None:
        """Make it; ``url_allow`` holds the hosts and ranges that need not be public."""
        self._cpu = cpu
        self._options = options
        self._url_allow = url_allow or AllowList()
        self._calls: OpenAICalls | None = None
        self._loading = asyncio.Lock()

    @classmethod
    def opened(cls, cpu: CpuPool, settings: Settings) -> Self:
        return cls(cpu, settings.openai, url_allow=settings.url_allow)

    @staticmethod
    def models() -> tuple[ModelOffer, ...]:
        return openai_prices().offers()

    @staticmethod
    def environment_key(settings: Settings) -> str | None:
        return settings.openai.api_key

    @property
    def code(self) -> str:
        return CODE

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            models=self.models(),
            mime_types=openai_prices().input_mime_types,
            max_input_pixels=openai_prices().max_input_pixels,
            max_input_bytes=openai_prices().max_input_bytes,
            deterministic=False,
            free=False,
            takes_key=True,
            official_url=OFFICIAL_URL,
            prices_as_of=openai_prices().as_of,
        )

    def estimate(self, request: EditRequest) -> Decimal | None:
        """The price of a call from the list, the pictures sent along included; None when unknown."""
        model = openai_prices().find(request.model or self._options.model)
        if model is None:
            return None
        return model.estimate(
            size=request.size or self._options.size,
            quality=request.quality or self._options.quality,
            prompt=request.prompt.strip(),
            pictures=len(request.pictures),
        )

    async def edit(self, request: EditRequest) -> EditResult:
        """Make one candidate, by one call.

        Raises:
            ProviderRefusedError: It was not done and cost nothing.
            AnswerLostError: It may have been done and charged.
            AnswerUnusableError: It was charged, and brought no picture.
            PictureError: An input does not decode.
        """
        # Imported here, by the first paid call: it is heavy, see its module.
        api_key, base_url = _checked(request.access)
        model = self._model(request)
        prompt = _prompt(request)
        pictures = [await self._fit(picture) for picture in request.pictures]
        calls = await self._load()
        from kroma.providers.openai_client import EditForm  # noqa: PLC0415 - as above

        form = EditForm(
            model=model.name,
            size=request.size or self._options.size,
            quality=request.quality or self._options.quality,
            prompt=prompt,
            input_fidelity=model.input_fidelity,
            pictures=pictures,
            background=request.background,
        )
        call_id = None if request.call_id is None else str(request.call_id)
        answer = await calls.edit(form, api_key=api_key, base_url=base_url, call_id=call_id)
        reply = await asyncio.to_thread(read_reply, answer)
        cost = _charged(reply, model, form)
        return await self._result(answer, reply, form, cost)

    async def find_call(self, call_id: UUID, access: ProviderAccess) -> FoundCall | None:  # noqa: ARG002 - cannot be asked
        """Nothing: OpenAI has no way to ask what became of a call."""
        return None

    async def health(self, access: ProviderAccess) -> ProviderHealth:
        """Ask for the list of models, which costs nothing and loads no SDK."""
        try:
            api_key, base_url = _checked(access)
        except ProviderKeyRefusedError as exc:
            return ProviderHealth(ok=False, code="key_missing", message=exc.message)
        # In a thread, so that other requests go on meanwhile; an API that never checks carries no client.
        await asyncio.to_thread(__import__, "kroma.providers.openai_check")
        from kroma.providers.openai_check import ask  # noqa: PLC0415 - loaded just now

        return await ask(self._guard(), api_key=api_key, base_url=base_url)

    async def close(self) -> None:
        if self._calls is not None:
            await self._calls.close()

    async def _load(self) -> "OpenAICalls":
        async with self._loading:
            if self._calls is None:
                # In a thread, so that other jobs go on meanwhile.
                await asyncio.to_thread(__import__, "kroma.providers.openai_client")
                from kroma.providers.openai_client import OpenAICalls  # noqa: PLC0415 - loaded just now

                self._calls = OpenAICalls(self._guard(), self._options)
        return self._calls

    def _guard(self) -> "UrlGuard":
        from kroma.outbound.guard import UrlGuard  # noqa: PLC0415 - 15 MB that the API need not carry

        return UrlGuard(self._url_allow)

    def _model(self, request: EditRequest) -> PricedModel:
        name = request.model or self._options.model
        model = openai_prices().find(name)
        if model is None:
            raise ProviderRefusedError(CODE, f"the price list has no model '{name}'")
        return model

    async def _fit(self, picture: ProviderPicture) -> tuple[str, bytes, str]:
        prices = openai_prices()
        limits = InputLimits(
            mime_types=prices.input_mime_types,
            max_bytes=prices.max_input_bytes,
            max_pixels=prices.max_input_pixels,
        )
        name = PurePosixPath(picture.name)
        changed = None
        if not is_plainly_ready(picture.data, picture.name, limits):
            changed = await self._cpu.run(fitted, picture.data, picture.name, limits)
        if changed is None:
            return name.name, picture.data, picture.mime_type
        return f"{name.stem}.png", changed.data, changed.mime_type

    async def _result(
        self, answer: RawAnswer, reply: ImageReply, form: "EditForm", cost: ReportedCost
    ) -> EditResult:
        def unusable(reason: str) -> NoReturn:
            raise AnswerUnusableError(
                CODE,
                reason,
                model=form.model,
                request_id=request_id(answer),
                cost_usd=cost.usd,
                cost_doubt=cost.doubt,
            )

        data = await asyncio.to_thread(picture_of, reply)
        if data is None:
            unusable("its answer holds no picture")
        header = await self._verify(data)
        if header is None:
            unusable("its answer is no usable picture")
        if min(header.width, header.height) < LEAST_ANSWER_PX:
            unusable(f"its answer is a picture of {header.width}x{header.height} pixels")
        return EditResult(
            data=data,
            mime_type=header.mime_type,
            provider_code=CODE,
            model=form.model,
            cost_usd=cost.usd,
            cost_doubt=cost.doubt,
            request_id=request_id(answer),
            usage=kept_usage(reply.usage or {}),
            parameters={"size": form.size, "quality": form.quality},
        )

    async def _verify(self, data: bytes) -> PictureHeader | None:
        try:
            return await self._cpu.run(verify, data, name="answer")
        except PictureError:
            return None


def _checked(access: ProviderAccess) -> tuple[str, str]:
    """Key and address.

    Raises:
        ProviderKeyRefusedError: There is no key, or one that no header can carry.
    """
    return usable_key(CODE, access), access.base_url or OFFICIAL_URL


def _charged(reply: ImageReply, model: PricedModel, form: "EditForm") -> ReportedCost:
    """What a call cost: by its usage, else by the list's price of the picture."""
    stated = openai_prices().charged(
        model, reply.usage or {}, prompt=form.prompt, pictures=len(form.pictures)
    )
    return stated or ReportedCost((model.usd_per_image or {}).get(form.quality, {}).get(form.size))


def _prompt(request: EditRequest) -> str:
    """The prompt as it is sent.

    Raises:
        ProviderRefusedError: It is blank or too long, or there are too many pictures.
    """
    prices = openai_prices()
    prompt = request.prompt.strip()
    if not prompt:
        raise ProviderRefusedError(CODE, "the prompt is empty")
    if len(prompt) > prices.max_prompt_characters:
        raise ProviderRefusedError(
            CODE, f"the prompt has more than {prices.max_prompt_characters} characters"
        )
    if len(request.pictures) > prices.max_inputs:
        raise ProviderRefusedError(CODE, f"one call takes at most {prices.max_inputs} pictures")
    return prompt
