"""Where requests may go that strangers have us make."""

import asyncio
from collections.abc import Sequence

import pytest

from millrace.outbound.addresses import network, refusal
from millrace.outbound.guard import ForbiddenTargetError, Guard, UnresolvedError

PUBLIC = [
    "93.184.215.14",
    "8.8.8.8",
    "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
    "2a00:1450:4001:830::200e",
    "64:ff9b::808:808",
]
NEVER = [
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "::ffff:169.254.169.254", "169.254.0.1", "fe80::1",
    "fe80::1%eth0", "224.0.0.1", "239.255.255.250", "ff02::1", "0.0.0.0", "::", "0.1.2.3", "255.255.255.255", "240.0.0.1",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::169.254.169.254", "2002:7f00:1::", "2001:0:7f00:1::", "::10.0.0.1",
    "64:ff9b:1::1", "fec0::1",
]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.8.9.1", "::1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.1", "fd12:3456::1", "fc00::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "198.18.0.1", "192.0.2.1", "203.0.113.9", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize("address", [*NEVER, *PRIVATE, "nonsense", ""])
def test_no_other_may(address: str) -> None:
    assert refusal(address) is not None


@pytest.mark.parametrize("address", NEVER)
def test_no_setting_allows_credentials_link_local_or_multicast(address: str) -> None:
    everything = [network("0.0.0.0/0"), network("::/0")]
    assert refusal(address, everything) is not None


@pytest.mark.parametrize("address", PRIVATE)
def test_a_setting_allows_private_networks(address: str) -> None:
    everything = [network("0.0.0.0/0"), network("::/0")]
    assert refusal(address, everything) is None


def test_a_network_allows_what_lies_in_it_and_nothing_else() -> None:
    allowed = [network("10.1.0.0/16"), network("fd12::/16")]
    assert refusal("10.1.2.3", allowed) is None
    assert refusal("::ffff:10.1.2.3", allowed) is None
    assert refusal("fd12:1::1", allowed) is None
    for address in ("10.2.0.1", "127.0.0.1", "fd13::1"):
        assert refusal(address, allowed) is not None, address


def _guard(*answers: Sequence[str] | OSError, allowed: Sequence[str] = ()) -> tuple[Guard, list[tuple[str, int]]]:
    """A guard whose names resolve to these answers, one after the other."""
    asked: list[tuple[str, int]] = []
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        answer = left.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    return Guard(allowed=[network(one) for one in allowed], resolve=resolve), asked


def test_the_connection_goes_to_the_address_that_was_judged_and_speaks_as_to_the_name() -> None:
    guard, asked = _guard(["8.8.8.8", "2a00::1"], ["127.0.0.1"])
    first, second = asyncio.run(guard.places("https://Hooks.Example.com./a/b?c=d#e"))
    assert asked == [("hooks.example.com", 443)]
    assert (first.url, first.host, first.sni) == (
        "https://8.8.8.8:443/a/b?c=d",
        "hooks.example.com",
        "hooks.example.com",
    )
    assert second.url == "https://[2a00::1]:443/a/b?c=d"
    # The name leads elsewhere now: it is judged anew each time.
    with pytest.raises(ForbiddenTargetError, match="not public"):
        asyncio.run(guard.places("https://hooks.example.com/"))


def test_of_several_addresses_only_those_that_pass_are_tried() -> None:
    guard, _ = _guard(["169.254.169.254", "8.8.8.8", "10.0.0.1"])
    assert [place.url for place in asyncio.run(guard.places("http://x.example:8080"))] == ["http://8.8.8.8:8080/"]


def test_the_header_names_a_port_that_is_not_the_usual_one() -> None:
    guard, _ = _guard(["8.8.8.8"], ["::1"], allowed=["::1/128"])
    assert asyncio.run(guard.places("https://x.example:8443"))[0].host == "x.example:8443"
    assert asyncio.run(guard.places("http://[::1]:9000/a"))[0].host == "[::1]:9000"


def test_a_name_that_does_not_resolve_is_no_refusal() -> None:
    guard, _ = _guard(OSError("no such name"))
    with pytest.raises(UnresolvedError):
        asyncio.run(guard.places("https://x.example"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example/", "file:///etc/passwd", "gopher://x.example/", "//x.example", "x.example", "", "https://", "https:///path",
        "https://user@x.example/", "https://user:word@x.example/", "https://good.example@127.0.0.1/", "https://x.example:22/",
        "https://x.example:25/", "http://x.example:6667/", "https://x.example:0/", "https://x.example:99999/", "https://x.example:a/",
        "https://x .example/", "https://x.example/\r\nX-Evil: 1", "https://x.example\\@127.0.0.1/", "https://ex\u00e4mple.com/",
        "https://[::1/", "https://[fe80::1%25eth0]/", "https://x.example/" + "a" * 2048, "https://%31%32%37.0.0.1/",
    ],
)  # fmt: skip
def test_odd_urls_are_refused_before_anybody_is_asked(url: str) -> None:
    guard, asked = _guard(["8.8.8.8"])
    with pytest.raises(ForbiddenTargetError):
        asyncio.run(guard.places(url))
    assert asked == []


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f000001", "0177.0.0.1", "localhost", "127.0.0.1", "[::1]"])
def test_the_systems_own_spellings_of_loopback_are_refused(host: str) -> None:
    with pytest.raises((ForbiddenTargetError, UnresolvedError)):
        asyncio.run(Guard().places(f"http://{host}/"))
