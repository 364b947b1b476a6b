"""Which addresses may be called for users."""

from collections.abc import Sequence

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
        await guard(names=names).checked(url)
    assert names.asked == []


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
        await guard(names=Names(agent_example=[PUBLIC])).checked(url)


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
        await guard(names=Names(agent_example=addresses)).checked("https://agent.example/")


async def test_a_public_name_is_resolved_once_and_keeps_its_addresses() -> None:
    names = Names(agent_example=[PUBLIC, "2606:2800:220:1::1"])
    passed = await guard(names=names).checked(" https://Agent.Example:8443/run?a=1 ")

    assert passed.addresses == (PUBLIC, "2606:2800:220:1::1")
    assert passed.host == "agent.example"
    assert passed.url.path == "/run"
    assert names.asked == [("agent.example", 8443)]


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
async def test_a_name_is_resolved_for_its_schemes_port(scheme: str, port: int) -> None:
    names = Names(agent_example=[PUBLIC])
    await guard(names=names).checked(f"{scheme}://agent.example")

    assert names.asked == [("agent.example", port)]


async def test_a_name_without_an_address_may_have_one_later() -> None:
    with pytest.raises(HostNotFoundError) as raised:
        await guard().checked("http://nowhere.example/")
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
    passed = await guard(allow, names=Names(agent_lan=["192.168.0.7"])).checked(url)

    assert len(passed.addresses) == 1


async def test_a_listed_host_opens_nothing_else() -> None:
    with pytest.raises(UrlRefusedError):
        await guard("agent.lan", names=Names(evil_lan=["192.168.0.7"])).checked("http://evil.lan/")


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
    with pytest.raises(SettingsError, match=r"KROMA_URL_ALLOW.* is no host or range"):
        AllowList.parsed([entry])


async def test_a_refusal_does_not_repeat_the_address() -> None:
    with pytest.raises(UrlRefusedError) as raised:
        await guard().checked("http://10.0.0.1/?token=topsecret")
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
