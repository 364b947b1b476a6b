"""Which addresses may be called for users."""

import ipaddress
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address

import pytest

from kroma.allow_list import AllowList
from kroma.config import SettingsError
from kroma.outbound.errors import HostNotFoundError, UrlRefusedError
from kroma.outbound.guard import UrlGuard

PUBLIC = "93.184.216.34"


class Names:
    """A resolver that knows these names and counts what it was asked."""

    def __init__(self, **known: Sequence[str]) -> None:
        self.known = {name.replace("_", "."): addresses for name, addresses in known.items()}
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        if host not in self.known:
            raise OSError
        return self.known[host]


def guard(*allow: str, names: Names | None = None) -> UrlGuard:
    return UrlGuard(AllowList.parsed(allow), resolve=names or Names())


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1/", id="loopback"),
        pytest.param("http://127.8.9.1:8080/x", id="all of 127.0.0.0/8"),
        pytest.param("http://2130706433/", id="one decimal number"),
        pytest.param("http://0x7f000001/", id="one hexadecimal number"),
        pytest.param("http://0x7f.1/", id="hexadecimal and short"),
        pytest.param("http://127.1/", id="short"),
        pytest.param("http://127.0.0.1./", id="a dot at the end"),
        pytest.param("http://0.0.0.0/", id="this host"),
        pytest.param("http://0/", id="zero"),
        pytest.param("http://10.1.2.3/", id="10.0.0.0/8"),
        pytest.param("http://172.16.0.1/", id="172.16.0.0/12"),
        pytest.param("http://192.168.1.1/", id="192.168.0.0/16"),
        pytest.param("http://100.64.0.1/", id="carrier NAT"),
        pytest.param("http://100.100.100.200/", id="metadata of Alibaba"),
        pytest.param("http://169.254.169.254/latest/meta-data", id="metadata of AWS and others"),
        pytest.param("http://168.63.129.16/", id="metadata of Azure"),
        pytest.param("http://192.0.0.192/", id="metadata of Oracle"),
        pytest.param("http://224.0.0.1/", id="multicast"),
        pytest.param("http://240.0.0.1/", id="reserved"),
        pytest.param("http://255.255.255.255/", id="broadcast"),
        pytest.param("http://198.18.0.1/", id="benchmarks"),
        pytest.param("http://[::1]/", id="IPv6 loopback"),
        pytest.param("http://[::]/", id="IPv6 any"),
        pytest.param("http://[fe80::1]/", id="IPv6 link-local"),
        pytest.param("http://[fd00:ec2::254]/", id="IPv6 metadata"),
        pytest.param("http://[fc00::1]/", id="IPv6 unique local"),
        pytest.param("http://[ff02::1]/", id="IPv6 multicast"),
        pytest.param("http://[::ffff:127.0.0.1]/", id="mapped loopback"),
        pytest.param("http://[::ffff:a9fe:a9fe]/", id="mapped metadata in hexadecimal"),
        pytest.param("http://[::127.0.0.1]/", id="compatible loopback"),
        pytest.param("http://[64:ff9b::10.0.0.1]/", id="NAT64 of a private address"),
        pytest.param("http://[64:ff9b:1::1]/", id="NAT64 inside a site"),
        pytest.param("http://[2002:7f00:1::]/", id="6to4 of loopback"),
    ],
)
async def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    names = Names()

    with pytest.raises(UrlRefusedError, match="not public"):
        await guard(names=names).check(url)
    assert names.asked == []


# All of https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry,
# with the multicast and unassigned spaces.
SPECIAL = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",  # with 192.0.0.0/29, .8, .9, .10, .170 and .171
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
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "::/96",  # IPv4-compatible, even of a public address
    "::ffff:0:0:0/96",  # IPv4-translated (SIIT), even of a public address
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "200::/7",
    "400::/6",
    "800::/5",
    "1000::/4",
    "2001::/23",
    "2001::/32",  # Teredo, which holds a server, a client and a port
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2620:4f:8000::/48",
    "3fff::/20",
    "4000::/2",
    "5f00::/16",
    "8000::/1",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)
INSIDE = ("10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "198.18.0.1", "0.0.0.1")


@pytest.mark.parametrize("network", SPECIAL)
async def test_every_special_range_is_refused_from_its_first_address_to_its_last(network: str) -> None:
    span = ipaddress.ip_network(network)
    for address in (span[0], span[-1]):
        with pytest.raises(UrlRefusedError, match="not public"):
            await guard(names=Names(agent_example=[str(address)])).check("http://agent.example/")


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda v4: f"::ffff:{v4}", id="mapped"),
        pytest.param(lambda v4: f"::{v4}", id="compatible"),
        pytest.param(lambda v4: f"::ffff:0:{v4}", id="translated"),
        pytest.param(lambda v4: f"64:ff9b::{v4}", id="NAT64"),
        pytest.param(lambda v4: f"64:ff9b:1::{v4}", id="NAT64 of a site"),
        pytest.param(lambda v4: str(IPv6Address((0x2002 << 112) | (int(IPv4Address(v4)) << 80))), id="6to4"),
        pytest.param(
            lambda v4: str(IPv6Address((0x20010000 << 96) | (int(IPv4Address(v4)) ^ 0xFFFFFFFF))), id="Teredo"
        ),
        pytest.param(lambda v4: f"2606:4700::5efe:{v4}", id="ISATAP"),
        pytest.param(lambda v4: f"2606:4700::200:5efe:{v4}", id="ISATAP of a unique interface"),
    ],
)
async def test_an_address_inside_another_is_judged(inside: str, form: Callable[[str], str]) -> None:
    with pytest.raises(UrlRefusedError, match="not public"):
        await guard().check(f"http://[{form(inside)}]/")


@pytest.mark.parametrize(
    "address",
    [
        PUBLIC,
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2001:db9::1",
        "2606:4700::1111",
        "2a00:1450::1",
        "3ffe:ffff::1",
        "3fff:1000::1",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
        "2002:808:808::1",
    ],
)
async def test_the_public_neighbours_of_special_ranges_pass(address: str) -> None:
    passed = await guard(names=Names(agent_example=[address])).check("http://agent.example/")

    assert len(passed.addresses) == 1


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("ftp://agent.example/", id="another scheme"),
        pytest.param("file:///etc/passwd", id="a file"),
        pytest.param("agent.example/run", id="no scheme"),
        pytest.param("http:///run", id="no host"),
        pytest.param("", id="nothing"),
        pytest.param("http://user:pass@agent.example/", id="a user and password"),
        pytest.param("http://agent.example@127.0.0.1/", id="a host as a user"),
        pytest.param("http://agent.example:99999/", id="no port"),
        pytest.param("http://agent.example:0/", id="port zero"),
        pytest.param("http://0177.0.0.1/", id="octal"),
        pytest.param("http://[::1/", id="half a bracket"),
        pytest.param("http://a\nb/", id="a line break"),
    ],
)
async def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(UrlRefusedError):
        await guard(names=Names(agent_example=[PUBLIC])).check(url)


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["10.0.0.1"], id="private"),
        pytest.param(["::1"], id="loopback"),
        pytest.param([PUBLIC, "192.168.0.1"], id="public and private"),
        pytest.param(["fe80::1%2"], id="link-local with a zone"),
    ],
)
async def test_a_name_that_leads_inside_is_refused(addresses: list[str]) -> None:
    with pytest.raises(UrlRefusedError):
        await guard(names=Names(agent_example=addresses)).check("https://agent.example/")


async def test_a_public_name_is_resolved_once_and_keeps_its_addresses() -> None:
    names = Names(agent_example=[PUBLIC, "2606:2800:220:1::1"])
    passed = await guard(names=names).check(" https://Agent.Example:8443/run?a=1 ")

    assert passed.addresses == (PUBLIC, "2606:2800:220:1::1")
    assert passed.host == "agent.example"
    assert passed.url.path == "/run"
    assert names.asked == [("agent.example", 8443)]


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
async def test_a_name_is_resolved_for_its_schemes_port(scheme: str, port: int) -> None:
    names = Names(agent_example=[PUBLIC])
    await guard(names=names).check(f"{scheme}://agent.example")

    assert names.asked == [("agent.example", port)]


async def test_a_name_without_an_address_may_have_one_later() -> None:
    with pytest.raises(HostNotFoundError) as raised:
        await guard().check("http://nowhere.example/")
    assert raised.value.retryable


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        pytest.param("127.0.0.1", "http://127.0.0.1:9/", id="an address"),
        pytest.param("127.0.0.0/8", "http://127.1/", id="a range"),
        pytest.param("10.0.0.0/8", "http://[::ffff:10.0.0.1]/", id="the address inside another"),
        pytest.param("::1", "http://[::1]/", id="an IPv6 address"),
        pytest.param("agent.lan", "http://agent.lan/", id="a name"),
        pytest.param("Agent.LAN.", "http://agent.lan/", id="a name in another spelling"),
        pytest.param("192.168.0.0/16", "http://agent.lan/", id="the range of a name"),
        pytest.param("10.0.0.1/8", "http://10.2.0.1/", id="a range with host bits"),
    ],
)
async def test_what_the_settings_list_may_be_called(allow: str, url: str) -> None:
    passed = await guard(allow, names=Names(agent_lan=["192.168.0.7"])).check(url)

    assert len(passed.addresses) == 1


async def test_a_listed_host_opens_nothing_else() -> None:
    with pytest.raises(UrlRefusedError):
        await guard("agent.lan", names=Names(evil_lan=["192.168.0.7"])).check("http://evil.lan/")


@pytest.mark.parametrize(
    "entry",
    [
        "10.0.0.0/33",
        "agent.lan/8",
        "/",
        "127.0.0.1:9000",
        "agent.lan:80",
        "http://agent.lan",
        "*.lan",
        "[::1]",
        "me@agent.lan",
        "two hosts",
        "bücher.lan",
    ],
)
def test_an_entry_that_could_never_match_stops_the_start(entry: str) -> None:
    with pytest.raises(SettingsError, match=r"KROMA_URL_ALLOW.* not a host or range"):
        AllowList.parsed([entry])


@pytest.mark.parametrize(
    "entry",
    ["http://me:hunter2@agent.lan", "me:hunter2@agent.lan", "hunter2/8", "10.0.0.0/8;hunter2", "hunter2@"],
)
def test_a_wrong_entry_is_not_repeated(entry: str) -> None:
    with pytest.raises(SettingsError, match="entry 2 ") as raised:
        AllowList.parsed(["agent.lan", entry])
    assert "hunter2" not in str(raised.value)


async def test_a_refusal_does_not_repeat_the_address() -> None:
    with pytest.raises(UrlRefusedError) as raised:
        await guard().check("http://10.0.0.1/?token=topsecret")
    assert "topsecret" not in str(raised.value)
    assert "10.0.0.1" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "allow", "is_listed"),
    [
        pytest.param("http://93.184.216.34/", (), False, id="public, and nothing is listed"),
        pytest.param("http://93.184.216.34/", ("93.184.0.0/16",), True, id="public, and in a range"),
        pytest.param("http://127.0.0.1/", ("127.0.0.0/8",), True, id="private, and in a range"),
        pytest.param("http://[::ffff:127.0.0.1]/", ("127.0.0.0/8",), True, id="the same in another spelling"),
    ],
)
async def test_an_address_is_listed_only_by_the_settings(
    url: str, allow: tuple[str, ...], *, is_listed: bool
) -> None:
    assert await UrlGuard(AllowList.parsed(allow)).is_listed(url) is is_listed


async def test_a_name_is_listed_by_itself() -> None:
    async def names(host: str, port: int) -> list[str]:
        assert (host, port) == ("images.example", 443)
        return ["93.184.216.34"]

    for allow, wanted in ((("images.example",), True), (("other.example",), False)):
        guard = UrlGuard(AllowList.parsed(allow), resolve=names)
        assert await guard.is_listed("https://images.example/v1") is wanted
