"""The guard between a user's address and a socket (design section 6).

A name is resolved once, every address it has is judged, and the caller connects to what was
judged: a name that answers differently a moment later changes nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import httpx
import msgspec

from kroma.allow_list import AllowList, plain_host
from kroma.outbound.errors import HostNotFoundError, UrlRefusedError

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, best first; OSError when there are none."""

_PORTS: Final = {"http": 80, "https": 443}
_LAST_PORT: Final = 65535
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
"""All that IANA has given to hosts of IPv6; what lies outside is local, special or nobody's."""
_REFUSED: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            # The IANA registries of special-purpose addresses, anycast and deprecated ones too: no agent or
            # provider has its address there. What Python knows of them depends on its version.
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",
            "2620:4f:8000::/48",
            "3fff::/20",
            # Azure's host services, a public address by its range.
            "168.63.129.16/32",
        ),
    )
)
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})
"""How an interface's half of an IPv6 address begins that ends in an IPv4 address of a site (RFC 5214)."""


async def system_addresses(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedUrl(msgspec.Struct, frozen=True):
    """An address that passed."""

    url: httpx.URL
    host: str
    """As the user wrote it, for the Host header and the certificate."""
    addresses: tuple[str, ...]
    """Where to connect, best first; nowhere else."""


class UrlGuard:
    """Decides which addresses may be called."""

    def __init__(self, allowed: AllowList, *, resolve: Resolver = system_addresses) -> None:
        self._allowed = allowed
        self._resolve = resolve

    async def check(self, url: str) -> GuardedUrl:
        """Resolve an address and judge where it leads.

        Raises:
            UrlRefusedError: It is no plain http(s) address, or leads to a host that is not public.
            HostNotFoundError: Its name has no address.
        """
        parsed = _parsed(url)
        host = plain_host(parsed.raw_host.decode("ascii"))
        addresses = await self._addresses(host, _port(parsed))
        if host not in self._allowed.hosts and not all(map(self._may_call, addresses)):
            # All of them: a name with a public and a private address is how a guard is probed.
            raise UrlRefusedError(
                "The address is refused: its host is not public; list it in KROMA_URL_ALLOW to allow it"
            )
        return GuardedUrl(parsed, host, tuple(map(str, addresses)))

    async def is_listed(self, url: str) -> bool:
        """Whether the settings themselves name where an address leads, not only the rule for public hosts.

        Raises:
            UrlRefusedError: It may not be called at all.
            HostNotFoundError: Its name has no address.
        """
        target = await self.check(url)
        addresses = (_inner(ipaddress.ip_address(address)) for address in target.addresses)
        return target.host in self._allowed.hosts or all(address in self._allowed for address in addresses)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        literal = _literal(host)
        if literal is not None:
            return [literal]
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as exc:
            raise HostNotFoundError from exc
        if not found:
            raise HostNotFoundError
        return [ipaddress.ip_address(text) for text in found]

    def _may_call(self, address: Address) -> bool:
        inner = _inner(address)
        return address in self._allowed or inner in self._allowed or _is_public(inner)


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError) as exc:
        raise UrlRefusedError("The address is refused: it is not a valid URL") from exc
    if parsed.scheme not in _PORTS or not parsed.host:
        raise UrlRefusedError(
            "The address is refused: it must start with http:// or https:// and name a host"
        )
    if not 0 < _port(parsed) <= _LAST_PORT:
        raise UrlRefusedError("The address is refused: its port must be from 1 to 65535")
    if parsed.userinfo:
        raise UrlRefusedError("The address is refused: it must not contain a user name or password")
    return parsed


def _port(url: httpx.URL) -> int:
    return _PORTS[url.scheme] if url.port is None else url.port


def _literal(host: str) -> Address | None:
    """The address a host spells, also in the forms only C knows: 2130706433, 0x7f.1, 0177.0.0.1."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(address.packed[-4:])
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (
        address not in _GLOBAL_UNICAST or int.from_bytes(address.packed[8:12]) in _ISATAP
    ):
        return False
    # Python's own list as well: a later one may know ranges that were assigned since.
    return address.is_global and not any(address in network for network in _REFUSED)
