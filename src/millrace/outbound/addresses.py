"""Which addresses a request may go to that a stranger had us make (server-side request forgery, CWE-918). Pure.

Judged is the address that a name resolved to, never the name: 127.1, 2130706433, localtest.me and a name of one's own all
lead to 127.0.0.1.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NOT_PUBLIC = "not public"
"""The only reason that a setting may overrule."""
EVERYWHERE = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
"""For who asks on his own behalf, from his own machine; what is never allowed is not allowed by it either."""
CREDENTIALS = frozenset(map(ip_address, (
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23",  # Amazon, and most others
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd20:ce::254",  # Alibaba, Microsoft, Oracle, Google
)))  # fmt: skip
"""Where clouds keep the credentials of their machines. No setting allows them."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052, 2.1: the last 32 bits are the IPv4 address that is reached."""
_TUNNELS = tuple(map(IPv6Network, ("2001::/32", "2002::/16", "64:ff9b:1::/48", "::/96", "fec0::/10")))
"""Teredo, 6to4, local NAT64, IPv4-compatible and site-local addresses: ways to an inner address, and no server's own."""


def refusal(text: str, allowed: Iterable[Network] = ()) -> str | None:
    """Why a request may not go to this address, in two words; None where it may.

    Args:
        text: an address as `getaddrinfo` gives it, with or without a zone.
        allowed: networks that are not public and all the same may be reached.
    """
    try:
        address = _reached(ip_address(text.partition("%")[0]))
    except ValueError:
        return "no address"
    why = _never(address)
    if why is not None or address.is_global or any(address in one for one in allowed):
        return why
    return NOT_PUBLIC


def _reached(address: Address) -> Address:
    """An IPv4 address that is spelled as an IPv6 one is what it was."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _never(address: Address) -> str | None:
    if address in CREDENTIALS:
        return "a cloud's credentials"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address.is_unspecified or (address.version == 4 and int(address) >> 24 == 0):
        return "unspecified"
    if address.is_loopback:  # of IPv6 it lies within what is reserved
        return None
    return "reserved" if address.is_reserved or any(address in tunnel for tunnel in _TUNNELS) else None


def network(text: str) -> Network:
    """A network such as 10.0.0.0/8, or a single address.

    Raises:
        ValueError: it is none.
    """
    return ip_network(text)
