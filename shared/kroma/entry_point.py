"""How both services start."""

import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

from kroma.config import Settings, SettingsError
from kroma.db.schema import WrongSchemaError
from kroma.logs import configure_logs
from kroma.terminal import refuse

_EXIT_WRONG_SETTINGS: Final = 2
_EXIT_WRONG_SCHEMA: Final = 3


def run_service(program: str, serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Run a service; a wrong environment or schema is one line on standard error, and exit code 2 or 3."""
    configure_logs()
    try:
        settings = Settings.from_environment()
        configure_logs(settings.logs)
        settings.refuse_keys_of_one_machine()
        uvloop.run(serve(settings))
    except SettingsError as exc:
        refuse(program, exc.message)
        sys.exit(_EXIT_WRONG_SETTINGS)
    except WrongSchemaError as exc:
        refuse(program, exc.message)
        sys.exit(_EXIT_WRONG_SCHEMA)
