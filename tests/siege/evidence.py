"""Every answer that the siege was given, kept for the search for secrets at the end."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

LONGEST_BYTES = 1024 * 1024
"""Of a body that is kept; what is longer is a picture."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a request was answered; status 0 is no answer at all."""

    request: str
    status: int
    headers: dict[str, str] = {}
    body: bytes = b""

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        request = response.request
        return cls(
            request=f"{request.method} {request.url.raw_path.decode()}",
            status=response.status_code,
            headers=dict(response.headers),
            body=response.content,
        )

    @property
    def json(self) -> Any:
        """The body, where it is a JSON object; else an empty one."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def code(self) -> str:
        return str(self.json.get("error_code", ""))

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def is_open(self) -> bool:
        """Whether the caller was let in: whatever came of it."""
        return self.status not in {0, 401, 403, 421}


class Evidence:
    """A file of answers; those that show a token on purpose are left out."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab")
        self._path = file
        self.errors: list[str] = []
        """Answers that were our own failure."""
        self.count = 0

    def keep(self, answer: Answer, *, shows_token: bool = False) -> Answer:
        self.count += 1
        if answer.status == httpx.codes.INTERNAL_SERVER_ERROR:
            self.errors.append(f"{answer.request} was answered {answer.status}")
        body = b"" if shows_token else answer.body[:LONGEST_BYTES]
        # Not what was asked: that holds what the siege itself wrote into paths.
        head = json.dumps([answer.status, list(answer.headers.items())])
        self._file.write(head.encode() + b"\n" + body + b"\n")
        return answer

    def close(self) -> None:
        self._file.close()

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Everything that was kept, with where it is from."""
        self._file.flush()
        yield self._path.name, self._path.read_bytes()


class Caller:
    """Someone with a token, or with none."""

    def __init__(self, client: httpx.AsyncClient, evidence: Evidence, token: str | None = None) -> None:
        self._client = client
        self._evidence = evidence
        self.token = token

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        shows_token: bool = False,
        **options: Any,
    ) -> Answer:
        """Its answer; no answer within 60 s, or a broken connection, is status 0."""
        try:
            response = await self._client.request(
                method, path, headers={**self.headers, **(headers or {})}, **options
            )
        except httpx.HTTPError as exc:
            return Answer(request=f"{method} {path}", status=0, body=repr(exc).encode())
        return self._evidence.keep(Answer.of(response), shows_token=shows_token)

    async def made(self, method: str, path: str, **options: Any) -> Any:
        """The body of an answer that must be good."""
        answer = await self.ask(method, path, **options)
        if answer.status not in {200, 202}:
            message = f"{method} {path} was answered {answer.status}: {answer.text[:300]}"
            raise RuntimeError(message)
        return answer.json
