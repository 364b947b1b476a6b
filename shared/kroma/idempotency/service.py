"""One answer for each ``Idempotency-Key``: a request that is sent again is not carried out again.

The record of a key is written before its request is carried out, and marked ``applied`` by every
transaction of the request that writes, inside that transaction. So whatever moment the process dies
at, the record tells whether anything was changed::

    in_flight -> answered             below 500; the answer is given again for a week
    in_flight -> (deleted)            500 or above and nothing changed: the key is free
    in_flight -> applied -> answered  a change was committed
    in_flight, lease over             nothing was changed: the next request is carried out
    applied, lease over               its answer was lost: said so, or built again where the request
                                      finds what it made by ``id`` (``runs.idempotency_id``)
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.engine import BEFORE_COMMIT, Database
from kroma.db.prepared import Prepared
from kroma.errors import InfraError
from kroma.idempotency.errors import (
    AnswerNotKeptError,
    KeyReusedError,
    OutcomeUnknownError,
    RequestInFlightError,
)
from kroma.idempotency.models import IdempotencyKey
from kroma.leases.claim import lease_is_free

KEPT: Final = timedelta(days=7)
LEASE: Final = timedelta(seconds=15)
RENEW_EVERY: Final = timedelta(seconds=5)
RETRY_AFTER_S: Final = 1
FORGOTTEN_AT_ONCE: Final = 500
FILES_OF_ONE_BYTES: Final = 256 * 1024**2
"""What one caller's large answers take, at most, all together."""


class KeyedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two requests the same."""

    scope: str
    """The token's id, or a word for callers without one."""
    path: str
    key: str
    request_hash: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a request was answered."""

    status_code: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    file: "AnswerFile | None" = None
    """Where the body lies instead."""


class AnswerFile(msgspec.Struct, frozen=True):
    """A body that is kept outside the table."""

    name: str | None
    """None where it is not kept at all."""
    size_bytes: int


class RecordLostError(InfraError):
    """The key's record was taken over: this request was thought dead and may no longer write."""

    text = "the request lost its idempotency key to a later one"


_KEYS: Final = cast("Table", IdempotencyKey.__table__)
_NOW: Final = func.clock_timestamp()

_BEGIN: Final = Prepared(
    insert(_KEYS)
    .values(
        id=bindparam("id"),
        scope=bindparam("scope"),
        path=bindparam("path"),
        key=bindparam("key"),
        request_hash=bindparam("request_hash"),
        state=text("'in_flight'"),
        lease_expires_at=_NOW + LEASE,
        expires_at=_NOW + KEPT,
        created_at=_NOW,
    )
    .on_conflict_do_nothing(index_elements=["scope", "path", "key"])
    .returning(_KEYS.c.id)
)
_FIND: Final = Prepared(
    select(
        *_KEYS.c,
        (~lease_is_free(IdempotencyKey)).label("is_held"),
        (_KEYS.c.expires_at <= _NOW).label("is_expired"),
    ).where(
        _KEYS.c.scope == bindparam("scope"),
        _KEYS.c.path == bindparam("path"),
        _KEYS.c.key == bindparam("key"),
    )
)
# Of two that find the same dead record, one moves its lease and the other finds it moved.
_TAKE_OVER: Final = Prepared(
    update(_KEYS)
    .where(_KEYS.c.id == bindparam("old_id"), _KEYS.c.lease_expires_at == bindparam("old_lease"))
    .values(
        id=bindparam("id"),
        request_hash=bindparam("request_hash"),
        state=case((_KEYS.c.id == bindparam("id"), _KEYS.c.state), else_=literal("in_flight")),
        lease_expires_at=_NOW + LEASE,
        expires_at=_NOW + KEPT,
        status_code=null(),
        headers_json=null(),
        body=null(),
        body_file=null(),
        body_bytes=null(),
    )
    .returning(_KEYS.c.id)
)
_RENEW: Final = Prepared(
    update(_KEYS)
    .where(_KEYS.c.id == bindparam("id"), _KEYS.c.state != text("'answered'"))
    .values(lease_expires_at=_NOW + LEASE)
)
_ANSWER: Final = Prepared(
    update(_KEYS)
    .where(_KEYS.c.id == bindparam("id"))
    .values(
        state=text("'answered'"),
        status_code=bindparam("status_code"),
        headers_json=bindparam("headers_json", type_=_KEYS.c.headers_json.type),
        body=bindparam("body"),
        body_file=bindparam("body_file"),
        body_bytes=bindparam("body_bytes"),
    )
)
# Of one caller, the newest first: what is beyond the bound is let go.
_LET_GO: Final = text(
    """
    WITH beyond AS (
        SELECT id, body_file FROM (
            SELECT id, body_file, sum(body_bytes) OVER (ORDER BY expires_at DESC, id) AS total
            FROM idempotency_keys WHERE scope = :scope AND body_file IS NOT NULL
        ) AS files WHERE total > :most
    )
    UPDATE idempotency_keys AS kept SET body_file = NULL FROM beyond WHERE kept.id = beyond.id
    RETURNING beyond.body_file
    """
)
_RELEASE: Final = Prepared(
    delete(_KEYS).where(_KEYS.c.id == bindparam("id"), _KEYS.c.state == text("'in_flight'"))
)
_END_LEASE: Final = Prepared(update(_KEYS).where(_KEYS.c.id == bindparam("id")).values(lease_expires_at=_NOW))
# A transaction has an id of its own from its first write on.
_MARK: Final = text(
    """
    WITH marked AS (
        UPDATE idempotency_keys SET state = 'applied'
        WHERE id = :id AND pg_current_xact_id_if_assigned() IS NOT NULL RETURNING 1
    )
    SELECT pg_current_xact_id_if_assigned() IS NOT NULL AND NOT EXISTS (SELECT FROM marked)
    """
)


async def begin(db: Database, request: KeyedRequest, *, is_rebuilt: bool) -> UUID | Answer:
    """Take a key for a request that is about to be carried out.

    Args:
        is_rebuilt: Whether the request finds by the record's id what it made, so that it may be
            carried out again although it was applied.

    Returns:
        The record's id, under a lease; or the answer the same request was given.

    Raises:
        KeyReusedError: The key stands for another request.
        RequestInFlightError: The same request is being carried out.
        OutcomeUnknownError: It was applied and its answer was lost.
        AnswerNotKeptError: It was answered with a secret, or its answer is no longer kept.
    """
    fields = msgspec.structs.asdict(request)
    while True:
        if await db.fetch(_BEGIN, fields | {"id": (identifier := uuid4())}):
            return identifier
        found = await db.fetch(_FIND, fields)
        if not found:
            continue  # freed in between
        (row,) = found
        if not row["is_expired"]:
            answer = _settled(row, request, is_rebuilt=is_rebuilt)
            if answer is not None:
                return answer
            if is_rebuilt:
                identifier = row["id"]
        # A new id fences the old request: what it would still write names a record that is gone.
        taken = {"id": identifier, "old_id": row["id"], "old_lease": row["lease_expires_at"]}
        if await db.fetch(_TAKE_OVER, fields | taken):
            return identifier


def _settled(row: Mapping[str, Any], request: KeyedRequest, *, is_rebuilt: bool) -> Answer | None:
    """The answer of a record; None when it is dead and the request is to be carried out."""
    if row["request_hash"] != request.request_hash:
        raise KeyReusedError
    if row["state"] == "answered":
        headers = msgspec.convert(row["headers_json"], tuple[tuple[str, str], ...])
        if row["body"] is not None:
            return Answer(status_code=row["status_code"], headers=headers, body=row["body"])
        if row["body_file"] is None:
            raise AnswerNotKeptError(row["body_bytes"])
        file = AnswerFile(row["body_file"], row["body_bytes"])
        return Answer(status_code=row["status_code"], headers=headers, body=b"", file=file)
    if row["is_held"]:
        raise RequestInFlightError(RETRY_AFTER_S)
    if row["state"] == "applied" and not is_rebuilt:
        raise OutcomeUnknownError
    return None


@asynccontextmanager
async def marking(identifier: UUID) -> AsyncGenerator[None]:
    """Mark the record in every transaction of the block that writes, as a part of it.

    Raises:
        RecordLostError: Inside the block, where a transaction would commit although the record was taken
            over.
    """

    async def mark(session: AsyncSession) -> None:
        if await session.scalar(_MARK, {"id": identifier}):
            raise RecordLostError

    token = BEFORE_COMMIT.set(mark)
    try:
        yield
    finally:
        BEFORE_COMMIT.reset(token)


async def renew(db: Database, identifier: UUID) -> None:
    """Hold the record of a request that takes longer."""
    await db.fetch(_RENEW, {"id": identifier})


async def keep(db: Database, identifier: UUID, answer: Answer, *, is_secret: bool = False) -> None:
    """Keep what the request was answered; of a secret answer only that there was one."""
    await db.fetch(
        _ANSWER,
        {
            "id": identifier,
            "status_code": answer.status_code,
            "headers_json": [] if is_secret else [list(header) for header in answer.headers],
            "body": None if is_secret or answer.file is not None else answer.body,
            "body_file": None if answer.file is None else answer.file.name,
            "body_bytes": None if answer.file is None else answer.file.size_bytes,
        },
    )


async def let_go(db: Database, scope: str) -> list[str]:
    """Forget where a caller's older answers lie, as far as they are together larger than one may keep.

    Returns:
        The names of their files, which nobody asks for any more.
    """
    async with db.transaction() as session:
        return list(await session.scalars(_LET_GO, {"scope": scope, "most": FILES_OF_ONE_BYTES}))


async def release(db: Database, identifier: UUID) -> None:
    """Free the key of a request that failed on our side, if it changed nothing."""
    await db.fetch(_RELEASE, {"id": identifier})
    await db.fetch(_END_LEASE, {"id": identifier})


async def forget_expired(session: AsyncSession) -> int:
    """Delete some of the records whose week is over.

    Returns:
        How many were deleted; at most ``FORGOTTEN_AT_ONCE``.
    """
    over = (
        select(_KEYS.c.id)
        .where(_is_over())
        .order_by(_KEYS.c.expires_at)
        .limit(FORGOTTEN_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    gone = await session.execute(delete(_KEYS).where(_KEYS.c.id.in_(over)).returning(_KEYS.c.id))
    return len(gone.all())


def _is_over() -> ColumnElement[bool]:
    return and_(_KEYS.c.expires_at <= _NOW, or_(_KEYS.c.state == "answered", lease_is_free(IdempotencyKey)))
