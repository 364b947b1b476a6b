"""A double of Stability AI's style transfer and balance over real HTTP, with scripted faults.

The worked example of docs/providers.md is tested against it. Faults are those of ``openai_double``.
"""

import asyncio
import json

from support.doubles.openai_double import (
    EditCall,
    Fault,
    OpenAIDouble,
    Reply,
    cut_off,
    gray_blocks,
    read_form,
    unexpected,
)

PATH = "/v2beta/stable-image/control/style-transfer"


class StabilityDouble(OpenAIDouble):
    """Answers by its script in the service's own wire format."""

    async def answer(self, reader: asyncio.StreamReader) -> Reply:
        method, path, headers, length = await self.head(reader)
        if not headers.get("authorization", "").startswith("Bearer sk-") or "bad" in headers["authorization"]:
            await reader.readexactly(length)
            return _error(401, "unauthorized")
        match method, path:
            case "GET", "/v1/user/balance":
                return Reply(
                    200, json.dumps({"credits": 41.5}).encode(), {"Content-Type": "application/json"}
                )
            case "POST", p if p == PATH:
                return await self._transfer(reader, headers, length)
            case _:
                return _error(404, "not_found")

    async def _transfer(self, reader: asyncio.StreamReader, headers: dict[str, str], length: int) -> Reply:
        fault = self.next_fault()
        if fault.cut == "before":
            raise cut_off()
        call = read_form(headers, await reader.readexactly(length))
        self.calls.append(call)
        complaint = _complaint(call)
        if complaint is not None:
            return complaint
        if fault.status is not None:
            return _refusal(fault, fault.status)
        call_id = f"st-{len(self.billed) + 1}"
        self.billed.append(call_id)
        if fault.cut == "after":
            raise cut_off()
        return _picture(fault, call_id, call)


def _complaint(call: EditCall) -> Reply | None:
    """What the real one would find wrong with a call."""
    types = [mime_type for _, mime_type, _ in call.images]
    if len(types) != 2 or not set(types) <= {"image/png", "image/jpeg", "image/webp"}:
        return _error(400, "init_image and style_image: required, as PNG, JPEG or WebP")
    if not call.fields.get("seed", "").isdigit() or call.fields.get("output_format") != "png":
        return _error(400, "seed, output_format: invalid")
    if call.headers.get("accept") != "image/*":
        return _error(400, "accept: must be image/* or application/json")
    return None


def _picture(fault: Fault, call_id: str, call: EditCall) -> Reply:
    headers = {
        "Content-Type": "image/png",
        "x-request-id": call_id,
        "finish-reason": "SUCCESS",
        "seed": call.fields["seed"],
    }
    if fault.body == "not_an_image":
        return Reply(200, b"no picture", headers)
    if fault.body is not None:
        return Reply(200, unexpected(fault.body), headers)
    return Reply(200, gray_blocks(call_id, width=48, height=32), headers)


def _refusal(fault: Fault, status: int) -> Reply:
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    if 300 <= status < 400:
        headers["Location"] = "http://127.0.0.1:9/elsewhere"
    return _error(status, "refused", headers)


def _error(status: int, name: str, headers: dict[str, str] | None = None) -> Reply:
    body = {"id": "a1b2", "name": name, "errors": ["The double says no."]}
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})
