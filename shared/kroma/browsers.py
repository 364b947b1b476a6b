"""What web pages may do with our servers: which hosts are answered, which origins are our own, and headers.

A page of a foreign site can make its own name resolve to a loopback address (DNS rebinding) and then reads
what it likes as if it were ours. What it cannot do is send another ``Host`` than its own name.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from kroma.environment import SettingsError
from kroma.errors import InvalidRequestError

SECURITY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        # Else a page of another site shows our pictures as its own where no token is asked for.
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)
"""Of every answer that sets no other: a browser takes it for what it says, and runs and frames nothing."""

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::([0-9]{0,5}))?")
_ORIGIN: Final = re.compile(rf"(https?)://{_HOST.pattern}", re.IGNORECASE)
_PORTS: Final = {"http": "80", "https": "443"}


class BadHostError(InvalidRequestError):
    """The request names no host, more than one, or something that is none (RFC 9112, 3.2)."""

    text = "Send exactly one Host header that is a name or an address, with a port or without"


class MisdirectedRequestError(InvalidRequestError):
    """The request is for another host than this one."""

    code = "misdirected_request"

    def __init__(self, *, or_public: bool = True) -> None:
        answered = "localhost, 127.0.0.1, [::1]" + (" and the host of KROMA_PUBLIC_URL" if or_public else "")
        super().__init__(
            f"This server listens on a loopback address and answers only requests for {answered}"
        )


class AnsweredHosts:
    """The hosts that requests may name."""

    def __init__(self, *public_urls: str, on_loopback: bool) -> None:
        """Loopback names and the hosts of these URLs.

        Args:
            public_urls: Where others reach this server.
            on_loopback: Whether only this machine reaches it. Otherwise any host is answered: containers and
                probes come by many names.
        """
        self._takes_any = not on_loopback
        self._public = {_bare(host) for url in public_urls if (host := urlsplit(url).hostname)}

    def check(self, hosts: Sequence[str]) -> None:
        """Look at the ``Host`` headers of a request.

        Raises:
            BadHostError: There is not exactly one, or it is no host.
            MisdirectedRequestError: It is not answered here.
        """
        named = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if named is None:
            raise BadHostError
        name = _bare(named[1])
        if not (self._takes_any or _is_loopback(name) or name in self._public):
            raise MisdirectedRequestError(or_public=bool(self._public))


class OwnOrigins:
    """The origins whose pages may change something: our own, and those that the operator allows."""

    def __init__(self, public_url: str, allowed: Iterable[str]) -> None:
        """Take them as they are set.

        Args:
            public_url: Where others reach this server.
            allowed: As ``parsed_origin`` gives them.
        """
        self._public = parsed_origin("/".join(public_url.split("/", 3)[:3]))
        self._allowed = frozenset(allowed)

    @property
    def has_allowed(self) -> bool:
        """Whether pages of other sites are allowed at all."""
        return bool(self._allowed)

    def is_allowed(self, origin: str) -> bool:
        return parsed_origin(origin) in self._allowed

    def is_own(self, origin: str, host: str) -> bool:
        """Whether the page comes from here.

        Args:
            origin: As the header says.
            host: That the request names; whether TLS ends before us is not known here, so any scheme will do.
        """
        found = parsed_origin(origin)
        if found is None:
            return False
        scheme = found.partition(":")[0]
        return found in {self._public, parsed_origin(f"{scheme}://{host}")}


def parsed_origin(text: str) -> str | None:
    """``scheme://host:port`` in lower case and with its port; None for what is no origin of the web."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme = match[1].lower()
    return f"{scheme}://{match[2].lower()}:{match[3] or _PORTS[scheme]}"


def listed_origins(variable: str, texts: Iterable[str]) -> frozenset[str]:
    """The origins that a variable lists.

    Raises:
        SettingsError: One is none, or stands for any.
    """
    found: set[str] = set()
    for text in texts:
        origin = parsed_origin(text)
        if origin is None or "*" in text:
            raise SettingsError(
                f"{variable} lists {text[:80]!r}; each entry must be an exact origin, such as "
                "https://studio.example:8443, without a path or wildcard"
            )
        found.add(origin)
    return frozenset(found)


def _bare(name: str) -> str:
    return name.strip("[]").removesuffix(".").lower()


def _is_loopback(name: str) -> bool:
    # Browsers keep all of .localhost on this machine. Shorter and other spellings of 127.0.0.1 are none:
    # what they mean depends on who resolves them.
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address == ipaddress.IPv6Address(1)
    return address.is_loopback
