"""Who may do what, from where and how often: the one table of it, and who a request comes from. Pure.

role       read  inspect  submit  operate  admin  work  fetch
viewer      x       x                                     x
submitter   x       x        x                            x
operator    x       x        x       x                    x
admin       x       x        x       x       x            x
worker                                              x     x

A key that is bound to a tenant opens no `inspect`: that shows what the tenants share.
"""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from msgspec import Struct

from millrace.domain.roles import OF_TENANTS, Role
from millrace.edge.keys import Caller, Key, Keys
from millrace.edge.refusal import RefusalError
from millrace.edge.route import Access

_READS = frozenset({Access.READ, Access.INSPECT, Access.FETCH})
_VIEWER = frozenset({Access.READ, Access.INSPECT, Access.FETCH})
GRANTS: Mapping[Role, frozenset[Access]] = {
    Role.VIEWER: _VIEWER,
    Role.SUBMITTER: _VIEWER | {Access.SUBMIT},
    Role.OPERATOR: _VIEWER | {Access.SUBMIT, Access.OPERATE},
    Role.ADMIN: _VIEWER | {Access.SUBMIT, Access.OPERATE, Access.ADMIN},
    Role.WORKER: frozenset({Access.WORK, Access.FETCH}),
}


def grants(role: Role, tenant: str = "") -> frozenset[Access]:
    """What a key opens; one that is bound to a tenant, nothing that the tenants share."""
    if not tenant:
        return GRANTS[role]
    return GRANTS[role] - {Access.INSPECT} if role in OF_TENANTS else frozenset()


_NOTHING: Mapping[str, Any] = {}
PEER, SUBJECT = "peer", "subject"
"""Where, in the `state` of an ASGI scope, a server puts who the kernel says is there (a `Peer`), or a verified certificate (its
subject, as a tuple of texts such as `CN=ci`: a comma in one must not make two)."""
KNOWN = "known"
"""Is put there, for the server, once somebody whom it knows has asked on the connection."""

WORKER = "Millrace worker"
"""The organisation in the certificate of a worker; its common name is the id of its API key (`edge.certificates`)."""


class Peer(Struct, frozen=True):
    """Who is at the other end of a unix socket, as the kernel says (unix(7), SO_PEERCRED and SO_PEERGROUPS)."""

    pid: int
    uid: int
    gids: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return f"uid:{self.uid}"


class PeerRule(Struct, frozen=True, kw_only=True):
    """What a user, or whoever is in a group, may do on the unix socket. One of the two is given."""

    role: Role
    uid: int | None = None
    gid: int | None = None

    def fits(self, peer: Peer) -> bool:
        """Whether it speaks of this one."""
        return peer.uid == self.uid if self.uid is not None else self.gid in peer.gids


class SubjectRule(Struct, frozen=True, kw_only=True):
    """What the holder of a client certificate may do whose subject has all these attributes, such as `CN=ci`."""

    role: Role
    attributes: frozenset[str]


def certified(scope: Mapping[str, Any]) -> str:
    """The id of the key that a verified certificate of a worker stands for; empty where none was shown."""
    subject: tuple[str, ...] = scope.get("state", {}).get(SUBJECT, ())
    if f"O={WORKER}" not in subject:
        return ""
    return next((part.removeprefix("CN=") for part in subject if part.startswith("CN=")), "")


class Rate(Struct, frozen=True, kw_only=True):
    """So many requests a second of one caller in the long run, and so many at once."""

    per_s: float = 100.0
    burst: int = 200


class Rates(Struct, frozen=True, kw_only=True):
    """How often callers may ask, by what they ask for; None: as often as they like.

    `machines` is what one worker may say with a key that is bound to its node: a bound for one that is broken or was broken into.
    `strangers` are counted by address: whoever shows no key that is good, and whoever changes something that wants none, such as a
    login. `all` is for everything that has no rate of its own, and for strangers, too.
    """

    strangers: Rate | None = None
    changes: Rate | None = None
    reads: Rate | None = None
    machines: Rate | None = None
    all: Rate | None = None

    def of(self, access: Access | None, *, known: bool, safe: bool, machine: bool = False) -> tuple[str, Rate] | None:
        """The name of the rate that a request falls under, and the rate. `access` is None where there is no such route; `machine`:
        the key is bound to a node.
        """
        if known:
            own = ("reads", self.reads) if access in _READS else ("changes", self.changes)
            if access is Access.WORK:
                # Whoever slows down heartbeats makes a farm of lost workers, and other keys may be shared by many of these.
                return ("machines", self.machines) if machine and self.machines is not None else None
        elif access is Access.OPEN and safe:
            own = ("", None)  # probes of load balancers, all from one address
        else:
            own = ("strangers", self.strangers)
        name, rate = own if own[1] is not None else ("default", self.all)
        return None if rate is None else (name, rate)

    def shared_by(self, servers: int) -> "Rates":
        """What each of so many servers may let through, so that all together do what one would."""
        if servers <= 1:
            return self
        parts = {name: _part(getattr(self, name), servers) for name in self.__struct_fields__}
        return Rates(**{**parts, "machines": self.machines})  # a worker stays with one server


def _part(rate: Rate | None, servers: int) -> Rate | None:
    return None if rate is None else Rate(per_s=rate.per_s / servers, burst=max(1, rate.burst // servers))


class Rules(Struct, frozen=True, kw_only=True):
    """Everything that decides about a request. `networks` None: from anywhere; empty: from nowhere but a unix socket.

    `workers`: the certificate of a worker stands for the key that it names. `hosts`: the names by which a server may be asked,
    beside addresses and `localhost`, such as `farm.example.org` and `*.example.org`; None: any.
    """

    keys: Keys | None = None
    peers: tuple[PeerRule, ...] = ()
    subjects: tuple[SubjectRule, ...] = ()
    workers: bool = False
    networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    rates: Rates | None = None
    hosts: frozenset[str] | None = None


def check_host(rules: Rules, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> None:
    """Pass who asks for this server by a name that it has. A page of another site that has its own name resolve to our address
    (DNS rebinding) asks by that name, and would otherwise be of one origin with us.

    Raises:
        RefusalError: by another name.
    """
    if rules.hosts is None or PEER in scope.get("state", _NOTHING):
        return
    host = headers.get(b"host", b"")
    if not _is_own(rules.hosts, host):
        raise RefusalError(
            421,
            "misdirected",
            f"cannot answer to the name {host.decode('latin-1')[:80]!r}: ask for localhost or an address, or have an operator "
            "allow this name, with MILLRACE_HOSTS for a master and `hosts` in the access file of a supervisor",
            headers={"connection": "close"},
        )


@lru_cache(maxsize=256)
def _is_own(hosts: frozenset[str], host: bytes) -> bool:
    """Whether a Host header names an address, this machine, or one of `hosts`. No name is an address, so none leads there."""
    text = host.decode("latin-1").lower()
    name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0].removesuffix(".")
    if name in ("", "localhost") or name.endswith(".localhost") or _address(name) is not None:
        return True
    return name in hosts or f"*.{name.partition('.')[2]}" in hosts


def check_place(rules: Rules, scope: Mapping[str, Any]) -> None:
    """Pass who comes from an allowed address, or is somebody on a unix socket.

    Raises:
        RefusalError: from elsewhere, also from where that cannot be told.
    """
    peer = scope.get("state", _NOTHING).get(PEER)
    if peer is not None:
        if _role_of(rules, peer) is None:
            raise RefusalError(
                403,
                "forbidden",
                f"cannot answer: this socket is for the user who runs this program, for root, and for whom its access file "
                f"names; you are {peer}",
                headers={"connection": "close"},
            )
        return
    if rules.networks is None:
        return
    address = _address(str((scope.get("client") or ("",))[0]))
    if address is None or not any(address in network for network in rules.networks):
        raise RefusalError(403, "forbidden-address", "cannot answer: this address is not among those that may ask")


def identify(rules: Rules, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Caller | None:
    """Who asks: the peer on a unix socket, who shows a key, else the holder of a client certificate; None for a stranger."""
    state = scope.get("state", _NOTHING)
    peer = state.get(PEER)
    if peer is not None:
        role = _role_of(rules, peer)
        return None if role is None else _caller(str(peer), role)
    shown = b"authorization" in headers or b"x-api-key" in headers
    if shown or SUBJECT not in state:
        return rules.keys.identify(headers) if rules.keys is not None else None
    if rules.workers and rules.keys is not None and (key_id := certified(scope)):
        key = rules.keys.of_machine(key_id)
        return None if key is None else Caller(key)
    subject = state[SUBJECT]
    role = next((rule.role for rule in rules.subjects if rule.attributes <= frozenset(subject)), None)
    return None if role is None else _caller(f"certificate {','.join(subject)}", role)


def whose_share(scope: Mapping[str, Any], caller: Caller | None) -> str:
    """Whose share of requests one is taken from: of a known caller, else of an address (of IPv6, of its /64)."""
    if caller is not None:
        return f"caller {caller.key.name}"
    client = str((scope.get("client") or ("nobody",))[0])
    return f"address {client if PEER in scope.get('state', ()) else place_of(client)}"


def place_of(client: str) -> str:
    """Who counts as one where callers are told apart by address: an IPv4 address, or the /64 of an IPv6 one."""
    address = _address(client)
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address or client)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as a client has it; an IPv4 one that a socket for both shows as IPv6 is what it was."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _role_of(rules: Rules, peer: Peer) -> Role | None:
    return next((rule.role for rule in rules.peers if rule.fits(peer)), None)


def _caller(name: str, role: Role) -> Caller:
    return Caller(Key(name=name, role=role.value, grants=GRANTS[role]))
