"""Settings, read once from the environment by an entry point and passed down."""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import msgspec

from kroma.errors import InvalidRequestError

_TRUE = frozenset({"1", "true", "yes", "on"})
_DEFAULT_BIND = "127.0.0.1:8788"


class SettingsError(InvalidRequestError):
    """An environment variable is missing or wrong; the message names it."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable} {problem}")


def default_data_dir() -> Path:
    """``/var/lib/kroma`` for root, the user's own share directory otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/kroma")
    return Path.home() / ".local" / "share" / "kroma"


def truthy(text: str | None) -> bool:
    """Contract 1.8: ``1``, ``true``, ``yes`` and ``on`` in any case; anything else is false."""
    return text is not None and text.strip().lower() in _TRUE


class Environment:
    """``KROMA_*`` variables, with the original's ``IAT_*`` names as a fallback."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str) -> str | None:
        """The trimmed value of ``KROMA_<name>``, else of ``IAT_<name>``; blank counts as unset."""
        for variable in (f"KROMA_{name}", f"IAT_{name}"):
            value = self._variables.get(variable, "").strip()
            if value:
                return value
        return None

    def flag(self, name: str, *, default: bool) -> bool:
        """A switch after contract 1.8."""
        value = self.text(name)
        return default if value is None else truthy(value)

    def count(self, name: str, *, default: int, minimum: int = 1) -> int:
        """A whole number, at least ``minimum``.

        Raises:
            SettingsError: The value is no such number.
        """
        value = self.text(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or int(value) < minimum:
            raise SettingsError(f"KROMA_{name}", f"must be a whole number of at least {minimum}")
        return int(value)


class Bind(msgspec.Struct, frozen=True):
    """The address the API listens on; port 0 asks for a free one."""

    host: str
    port: int

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Read ``ip:port``; a host name does not parse (contract 1.1).

        Raises:
            SettingsError: The text is not an IP address and a port.
        """
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            address = ipaddress.ip_address(host)
            number = int(port)
        except ValueError:
            address, number = None, -1
        if address is None or not 0 <= number <= 65535:  # noqa: PLR2004 - the range of a port
            raise SettingsError("KROMA_BACKEND_BIND", f"must be ip:port, like {_DEFAULT_BIND}")
        return cls(host=str(address), port=number)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def address(self) -> str:
        """``ip:port``, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"http://{self.address}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an entry point decides from its environment."""

    data_dir: Path
    """Base of every relative path of the contract; pictures, token and logs live below it."""
    database_url: str | None
    """``postgresql://...``; None lets ``kroma up`` start a private server."""
    redis_url: str | None
    """``redis://...``; None lets ``kroma up`` start a private server."""
    bind: Bind
    auth_dev_bypass: bool
    """No authentication at all; only sensible on loopback."""
    auth_bootstrap_first_token: bool
    """Whether ``POST /auth/token`` is open while no active token exists."""
    allow_any_root: bool
    """Whether project roots and settings files may lie outside the data directory."""
    provider: str
    """Code of the provider that makes the pictures when nothing else names one."""
    queue: str
    """``arq`` (Redis rings) or ``postgres`` (no Redis at all)."""
    worker_jobs: int
    """Jobs one worker carries at a time."""
    cpu_processes: int
    """Processes one worker uses for picture work."""

    @classmethod
    def from_environment(
        cls, variables: Mapping[str, str] | None = None, *, data_dir: Path | None = None
    ) -> Self:
        """Read the settings; ``data_dir`` given by a caller beats the environment.

        Raises:
            SettingsError: A variable has a value that cannot be meant.
        """
        env = Environment(os.environ if variables is None else variables)
        bind = Bind.parsed(env.text("BACKEND_BIND") or _DEFAULT_BIND)
        configured = env.text("DATA_DIR")
        chosen = data_dir or (Path(configured) if configured else default_data_dir())
        queue = env.text("QUEUE") or "arq"
        if queue not in {"arq", "postgres"}:
            raise SettingsError("KROMA_QUEUE", "must be one of: arq, postgres")
        bypass = env.flag("API_AUTH_DEV_BYPASS", default=False)
        if bypass and not bind.is_loopback:
            raise SettingsError(
                "KROMA_API_AUTH_DEV_BYPASS",
                "switches authentication off, so KROMA_BACKEND_BIND must be a loopback address, "
                f"not {bind.address}",
            )
        return cls(
            data_dir=chosen.expanduser().absolute(),
            database_url=env.text("DATABASE_URL"),
            redis_url=env.text("REDIS_URL"),
            bind=bind,
            auth_dev_bypass=bypass,
            auth_bootstrap_first_token=env.flag("API_AUTH_BOOTSTRAP_FIRST_TOKEN", default=True),
            allow_any_root=env.flag("ALLOW_ANY_ROOT", default=bind.is_loopback),
            provider=env.text("PROVIDER") or "local",
            queue=queue,
            worker_jobs=env.count("WORKER_JOBS", default=4),
            cpu_processes=env.count("CPU_PROCESSES", default=os.cpu_count() or 1),
        )
