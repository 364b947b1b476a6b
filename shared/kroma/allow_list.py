"""Hosts and ranges that users' addresses may lead to although they are not public."""

import ipaddress
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final, Self

import msgspec

from kroma.environment import SettingsError

_HOST: Final = re.compile(r"[A-Za-z0-9._-]+")


class AllowList(msgspec.Struct, frozen=True):
    """What ``KROMA_URL_ALLOW`` lists."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Any, ...] = ()
    """Of ``ipaddress``; a union of its two types is one that msgspec cannot convert."""

    @classmethod
    def parsed(cls, entries: Iterable[str]) -> Self:
        """Read host names, addresses and CIDR ranges.

        Raises:
            SettingsError: An entry is none of them: saying more than a host, it would never match one.
        """
        hosts: set[str] = set()
        networks: list[IPv4Network | IPv6Network] = []
        for number, entry in enumerate(entries, start=1):
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                if not _HOST.fullmatch(entry):
                    # By its number: an address with a user and a password may have been put here by mistake.
                    raise SettingsError(
                        f"KROMA_URL_ALLOW entry {number} is not a host or range: write agent.lan, "
                        "192.168.0.7 or 10.0.0.0/8, without scheme, user, port or path"
                    ) from None
                hosts.add(plain_host(entry))
        return cls(frozenset(hosts), tuple(networks))

    def __contains__(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self.networks)


def plain_host(host: str) -> str:
    """A host name as names are compared."""
    return host.strip().lower().rstrip(".")
