"""Addresses of servers in the environment, refused at the start rather than at their first use."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from kroma.environment import SettingsError

LAST_PORT: Final = 65535
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]|(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?")
_UNSEEN: Final = re.compile(r"[\s\x00-\x20\x7f]")
_REDIS_OPTIONS: Final = frozenset(
    {
        "client_name",
        "db",
        "health_check_interval",
        "max_connections",
        "password",
        "protocol",
        "retry_on_timeout",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_timeout",
        "username",
    }
)
_REDIS_TLS_OPTIONS: Final = frozenset(
    {"ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"}
)


def is_port(text: str) -> bool:
    """Whether a text is a port in ASCII digits, 0 included."""
    return _PORT.fullmatch(text) is not None and int(text) <= LAST_PORT


def check_http_url(variable: str, url: str, *, may_ask: bool = True) -> None:
    """See that a text is the address of an HTTP server.

    Args:
        variable: Where it comes from.
        may_ask: Whether it may have a query.

    Raises:
        SettingsError: It is none.
    """
    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"{variable} must start with http:// or https://")
    split = _split(url)
    if split is None or not _has_hosts(split.netloc) or split.fragment:
        raise SettingsError(f"{variable} must be a URL such as https://host:443/path")
    if "@" in split.netloc:
        raise SettingsError(f"{variable} must not contain a user name or password")
    if split.query and not may_ask:
        raise SettingsError(f"{variable} must not have a query, since Kroma appends paths to it")


def wrong_database_url(variable: str) -> SettingsError:
    """The error for a text that is not the URL of a PostgreSQL server."""
    return _wrong_url(variable, "postgresql://user:password@host:5432/name")


def wrong_redis_url(variable: str) -> SettingsError:
    """The error for a text that is not the URL of a Redis server."""
    return _wrong_url(variable, "redis://:password@host:6379/0")


def _wrong_url(variable: str, example: str) -> SettingsError:
    return SettingsError(f"{variable} must be a URL such as {example}, with the password percent-encoded")


def check_database_url(variable: str, url: str) -> None:
    """See that a text is the address of a PostgreSQL, whose own parameters the server judges.

    Raises:
        SettingsError: It is none.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise SettingsError(f"{variable} must start with postgresql://")
    split = _split(url)
    given = None if split is None else _options(split.query)
    if split is None or given is None or split.netloc.count("@") > 1:
        raise wrong_database_url(variable)
    # Without a host it is a socket, or named in the query.
    if not split.netloc.endswith("@") and split.netloc and not _has_hosts(split.netloc):
        raise wrong_database_url(variable)
    if not all(is_port(port) for port in given.get("port", "0").split(",")):
        raise SettingsError(f"{variable} must use a port from 0 to {LAST_PORT}")


def check_redis_url(variable: str, url: str) -> None:
    """See that a text is the address of a Redis, with nothing in it that its client does not know.

    Raises:
        SettingsError: It is none.
    """
    split = _split(url)
    given = None if split is None else _options(split.query)
    if split is None or given is None or split.scheme not in {"redis", "rediss", "unix"}:
        raise wrong_redis_url(variable)
    is_socket = split.scheme == "unix"
    if not is_socket and not _has_hosts(split.netloc, most=1):
        raise wrong_redis_url(variable)
    databases = [given.get("db", "0"), "0" if is_socket else split.path.removeprefix("/") or "0"]
    if not all(re.fullmatch("[0-9]{1,9}", database) for database in databases):
        raise SettingsError(f"{variable} must select its database by number, such as redis://host:6379/0")
    is_tls = split.scheme == "rediss"
    _refuse_unknown(variable, given, _REDIS_OPTIONS | _REDIS_TLS_OPTIONS if is_tls else _REDIS_OPTIONS)


def _refuse_unknown(variable: str, given: Iterable[str], known: frozenset[str]) -> None:
    if not known.issuperset(given):
        # Which one is not said: it may be a part of a password that holds a question mark.
        raise SettingsError(f"{variable} has an unknown parameter; known are: {', '.join(sorted(known))}")


def _split(url: str) -> SplitResult | None:
    if _UNSEEN.search(url):
        return None
    try:
        return urlsplit(url)
    except ValueError:  # half a pair of brackets
        return None


def _options(query: str) -> dict[str, str] | None:
    """The parameters by name, the last of each; None when one has no value."""
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        return None


def _has_hosts(netloc: str, *, most: int = 16) -> bool:
    """Whether there are hosts behind the user, each with a port or without."""
    hosts = netloc.rpartition("@")[2].split(",")
    return len(hosts) <= most and all(map(_is_host, hosts))


def _is_host(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "0"
    return _HOST.fullmatch(host) is not None and is_port(port)
