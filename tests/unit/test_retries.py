import asyncio
import logging

import pytest
from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs

from kroma.retries import retry

pytestmark = pytest.mark.timeout(20)


async def test_a_retry_says_nothing_of_its_error_and_its_arguments(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    @retry(on=OSError, attempts=3, wait_initial=0, wait_jitter=0)
    async def ask(password: str) -> None:
        asked.append(password)
        if len(asked) < 3:
            raise OSError(f"refused {password}")

    with capture_logs() as logged, caplog.at_level(logging.DEBUG):
        await ask("hunter2")
    assert len(asked) == 3
    assert logged == []
    assert "hunter2" not in caplog.text
    assert b"stamina" not in generate_latest(REGISTRY)


async def test_a_canceled_call_is_not_made_again() -> None:
    began: list[int] = []

    @retry(on=OSError, attempts=None, timeout=None)
    async def ask() -> None:
        began.append(1)
        await asyncio.Event().wait()

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert began == [1]
