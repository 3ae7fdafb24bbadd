"""Who may do what, from where, and how often: the rules of every server's edge."""

import asyncio
import itertools
from hashlib import sha256
from ipaddress import ip_network
from typing import Any

import pytest

from millrace.domain.keys import Machine
from millrace.domain.roles import Role
from millrace.edge import rate_limit
from millrace.edge.access import (
    GRANTS,
    PEER,
    SUBJECT,
    WORKER,
    Peer,
    PeerRule,
    Rate,
    Rates,
    Rules,
    SubjectRule,
    check_host,
    check_place,
    identify,
    whose_share,
)
from millrace.edge.keys import Key, Keys
from millrace.edge.known_keys import KnownKeys, Mark, UnfamiliarError
from millrace.edge.rate_limit import RateLimiter, Share, exhausted, headers, spend
from millrace.edge.refusal import RefusalError, invalid
from millrace.edge.route import Access
from millrace.programs.http.listen import hosts_of
from millrace.wire.v1.problems import FieldError

SECRET = b"mrs_a-long-and-random-key"
NOW = [100.0]
KEYS = Keys(
    [Key(digest=sha256(SECRET).digest(), name="ci", role="operator", grants=GRANTS[Role.OPERATOR], ends_s=200.0)],
    now_s=lambda: NOW[0],
)


def asked(client: str = "192.0.2.1", **state: Any) -> dict[str, Any]:
    return {"type": "http", "client": (client, 1), "state": state}


def test_each_role_opens_what_the_one_before_does_and_only_workers_work() -> None:
    chain = [GRANTS[role] for role in (Role.VIEWER, Role.SUBMITTER, Role.OPERATOR, Role.ADMIN)]
    assert all(less < more for less, more in itertools.pairwise(chain))
    assert GRANTS[Role.ADMIN] | GRANTS[Role.WORKER] | {Access.OPEN} == {*Access}
    assert GRANTS[Role.WORKER] == {Access.WORK, Access.FETCH}
    assert {*GRANTS} == {*Role}


def test_a_key_is_known_by_its_hash_alone_until_it_ends() -> None:
    rules = Rules(keys=KEYS)
    NOW[0] = 199.0
    found = identify(rules, asked(), {b"authorization": b"Bearer " + SECRET})
    assert found is not None
    assert (found.key.name, found.key.role, found.key.secret) == ("ci", "operator", "")
    assert identify(rules, asked(), {b"x-api-key": SECRET + b"x"}) is None
    # Who has read the file knows the hash, and it opens nothing: neither as a key nor as a browser's session.
    assert identify(rules, asked(), {b"x-api-key": sha256(SECRET).hexdigest().encode()}) is None
    for inside in ("", sha256(SECRET).hexdigest()):
        forged = Keys([Key(secret=inside or "12345678", name="x")], now_s=lambda: 0.0)
        token = forged.session(Key(secret=inside))
        assert identify(rules, asked(), {b"cookie": f"millrace_session={token}".encode()}) is None
    NOW[0] = 200.0
    assert identify(rules, asked(), {b"x-api-key": SECRET}) is None


def test_the_kernel_says_who_is_at_a_unix_socket_and_keys_do_not_matter_there() -> None:
    rules = Rules(keys=KEYS, peers=(PeerRule(role=Role.ADMIN, uid=1000), PeerRule(role=Role.VIEWER, gid=50)))
    NOW[0] = 0.0
    for peer, role in ((Peer(1, 1000, frozenset({50})), "admin"), (Peer(1, 7, frozenset({50, 9})), "viewer")):
        found = identify(rules, asked("uid:1", **{PEER: peer}), {b"x-api-key": SECRET})
        assert found is not None
        assert (found.key.role, found.key.name) == (role, f"uid:{peer.uid}")
        check_place(rules, asked("uid:1", **{PEER: peer}))
    stranger = asked("uid:7", **{PEER: Peer(1, 7, frozenset({51}))})
    assert identify(rules, stranger, {b"x-api-key": SECRET}) is None
    with pytest.raises(RefusalError, match="you are uid:7") as refused:
        check_place(rules, stranger)
    assert refused.value.status == 403


def test_a_certificate_stands_for_a_role_by_its_subject_and_a_key_goes_before_it() -> None:
    rules = Rules(keys=KEYS, subjects=(SubjectRule(role=Role.ADMIN, attributes=frozenset({"CN=ci", "O=Ex"})),))
    NOW[0] = 0.0
    found = identify(rules, asked(**{SUBJECT: ("C=DE", "O=Ex", "CN=ci")}), {})
    assert found is not None
    assert (found.key.role, found.key.name) == ("admin", "certificate C=DE,O=Ex,CN=ci")
    # A name with a comma inside is one attribute, whatever it says.
    for subject in ((), ("CN=ci",), ("CN=x,CN=ci,O=Ex",), ("CN=x,CN=ci", "O=Ex")):
        assert identify(rules, asked(**{SUBJECT: subject}), {}) is None
    keyed = identify(rules, asked(**{SUBJECT: ("O=Ex", "CN=ci")}), {b"x-api-key": SECRET})
    assert keyed is not None
    assert keyed.key.role == "operator"
    # Who shows a wrong key is not taken for somebody else.
    assert identify(rules, asked(**{SUBJECT: ("O=Ex", "CN=ci")}), {b"x-api-key": b"wrong"}) is None
    # Without a verified certificate there is no subject, whatever a header says.
    assert identify(rules, asked(), {b"x-ssl-client-s-dn": b"O=Ex,CN=ci"}) is None


def test_a_certificate_of_a_worker_stands_for_the_key_that_it_names_and_for_no_persons() -> None:
    node, person = (
        Key(
            id="k" + digit * 32,
            mark="k" + digit * 32,
            name=digit,
            machine=machine,
            role="worker",
            grants=GRANTS[Role.WORKER],
        )
        for digit, machine in (("1", Machine("n" + "1" * 32, "fingerprint-1")), ("2", None))
    )

    async def find(mark: Mark) -> Key | None:
        return {node.id: node, person.id: person}.get(str(mark))

    async def main() -> None:
        keys = Keys(
            [Key(secret="first-key-of-all")], now_s=lambda: 0.0, stored=KnownKeys(find, monotonic_s=lambda: 0.0)
        )
        rules = Rules(keys=keys, workers=True)

        async def who(*subject: str, by: Rules = rules, headers: dict[bytes, bytes] | None = None) -> Key | None:
            while True:
                try:
                    found = identify(by, asked(**{SUBJECT: subject}), headers or {})
                except UnfamiliarError as error:
                    await keys.learn(error)
                else:
                    return found.key if found is not None else None

        mine = (f"O={WORKER}", f"CN={node.id}")
        assert await who(*mine) == node
        # Whoever signs: no certificate opens what the key of a person does.
        assert await who(f"O={WORKER}", f"CN={person.id}") is None
        for other in ((f"CN={node.id}",), (f"O={WORKER}",), (f"O={WORKER}", "CN=k" + "3" * 32), ()):
            assert await who(*other) is None
        assert await who(*mine, by=Rules(keys=keys)) is None  # a server that signs for nobody
        assert await who(*mine, headers={b"x-api-key": b"wrong"}) is None
        first = await who(*mine, headers={b"x-api-key": b"first-key-of-all"})
        assert first is not None
        assert first.name == "api"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("client", "passes"),
    [
        ("10.1.2.3", True), ("192.0.2.7", True), ("::ffff:10.1.2.3", True), ("2001:db8::1", True), ("fe80::1%eth0", True),
        ("11.1.2.3", False), ("192.0.2.8", False), ("::ffff:11.1.2.3", False), ("2001:db9::1", False), ("", False), ("nonsense", False),
    ],
)  # fmt: skip
def test_only_the_networks_that_are_named_may_ask(client: str, passes: bool) -> None:
    named = tuple(map(ip_network, ("10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "fe80::/10")))
    check_place(Rules(), asked(client))  # nobody asked for a list
    if passes:
        check_place(Rules(networks=named), asked(client))
        with pytest.raises(RefusalError):
            check_place(Rules(networks=()), asked(client))
    else:
        with pytest.raises(RefusalError, match="address"):
            check_place(Rules(networks=named), asked(client))


def test_who_is_known_has_a_share_of_his_own_and_a_stranger_that_of_his_address() -> None:
    NOW[0] = 0.0
    known = identify(Rules(keys=KEYS), asked(), {b"x-api-key": SECRET})
    assert whose_share(asked("192.0.2.1"), known) == whose_share(asked("192.0.2.2"), known) == "caller ci"
    assert whose_share(asked("192.0.2.1"), None) != whose_share(asked("192.0.2.2"), None)
    # Whoever has a /64 has 2^64 addresses.
    assert whose_share(asked("2001:db8:1:2::1"), None) == whose_share(asked("2001:db8:1:2:ffff::2"), None)
    assert whose_share(asked("2001:db8::1"), None) == whose_share(asked("2001:db8::2:3:4:5"), None)
    assert whose_share(asked("2001:db8:1:2::1"), None) != whose_share(asked("2001:db8:1:3::1"), None)
    assert whose_share(asked("::ffff:10.0.0.1"), None) == whose_share(asked("10.0.0.1"), None) == "address 10.0.0.1"


def test_who_is_not_told_what_is_left_is_counted_as_everybody() -> None:
    rate, now_s = Rate(per_s=2.0, burst=3), [100.0]
    told, untold = RateLimiter(lambda: now_s[0]), RateLimiter(lambda: now_s[0])
    for step_s in (0.0, 0.0, 0.0, 0.0, 0.4, 0.2, 0.0, 1.0, 0.0, 0.0, 0.0, 60.0, 0.0, 0.0, 0.0):
        now_s[0] += step_s
        assert untold.passes(rate, "a") == (told.spend(rate, "a").wait_s == 0), now_s
    assert untold.passes(rate, "b")


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    rate, now_s = Rate(per_s=2.0, burst=3), 0.0
    arrival_s, left = 0.0, []
    for _ in range(3):
        arrival_s, share = spend(rate, arrival_s, now_s)
        left.append(share.left)
        assert share.wait_s == 0
    assert left == [2, 1, 0]
    after, share = spend(rate, arrival_s, now_s)
    assert (after, share.left, share.wait_s) == (arrival_s, 0, 0.5)  # a refusal costs nothing
    arrival_s, share = spend(rate, arrival_s, 0.5)
    assert share.wait_s == 0
    assert spend(rate, arrival_s, 0.5)[1].wait_s == 0.5
    # In the long run exactly the rate, whoever asks how often.
    now_s, passed = 10.0, 0
    for step in range(10_000):
        arrival_s, share = spend(rate, arrival_s, now_s + step / 100)
        passed += not share.wait_s
    assert passed == 3 + 2 * 100 - 1
    assert spend(rate, arrival_s, 1e9)[1] == Share(left=2, reset_s=0.5)


SOME, MORE, MANY = Rate(per_s=1.0, burst=1), Rate(per_s=2.0, burst=2), Rate(per_s=3.0, burst=3)


@pytest.mark.parametrize(
    ("access", "known", "safe", "found"),
    [
        (Access.READ, True, True, ("reads", MORE)),
        (Access.INSPECT, True, True, ("reads", MORE)),
        (Access.SUBMIT, True, False, ("changes", MANY)),
        (Access.ADMIN, True, True, ("changes", MANY)),
        (Access.WORK, True, False, None),
        (Access.WORK, False, False, ("strangers", SOME)),
        (Access.READ, False, True, ("strangers", SOME)),
        (None, False, True, ("strangers", SOME)),
        (None, True, True, ("changes", MANY)),
        (Access.OPEN, False, False, ("strangers", SOME)),
        (Access.OPEN, False, True, None),
    ],
)  # fmt: skip
def test_what_a_request_falls_under(access: Access | None, known: bool, safe: bool, found: object) -> None:
    rates = Rates(strangers=SOME, reads=MORE, changes=MANY)
    assert rates.of(access, known=known, safe=safe) == found
    if access is not Access.WORK or not known:
        assert Rates(all=SOME).of(access, known=known, safe=safe) == ("default", SOME)
    assert Rates().of(access, known=known, safe=safe) is None


def test_servers_share_a_rate_and_each_lets_something_through() -> None:
    rates = Rates(strangers=Rate(per_s=9.0, burst=10), reads=SOME)
    assert rates.shared_by(1) is rates
    assert rates.shared_by(3) == Rates(strangers=Rate(per_s=3.0, burst=3), reads=Rate(per_s=1 / 3, burst=1))


def test_the_whole_burst_is_there_for_every_rate() -> None:
    for per_s, burst in ((3.0, 10), (7.0, 100), (100.0, 200), (0.1, 3), (1e6, 1000)):
        rate, arrival_s = Rate(per_s=per_s, burst=burst), 0.0
        for now_s in (0.0, 12_345.678):
            passed = 0
            while True:
                arrival_s, share = spend(rate, max(arrival_s, now_s), now_s)
                if share.wait_s:
                    break
                passed += 1
                assert share.left == burst - passed
            assert passed == burst
            arrival_s = 0.0


def test_callers_do_not_spend_each_others_share_and_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    most, now_s = 100, [0.0]
    monkeypatch.setattr(rate_limit, "MAX_CALLERS", most)
    limiter, rate = RateLimiter(lambda: now_s[0]), Rate(per_s=1.0, burst=1)
    assert limiter.spend(rate, "a").wait_s == 0
    assert limiter.spend(rate, "a").wait_s == 1
    assert limiter.spend(rate, "b").wait_s == 0
    for number in range(3 * most):
        limiter.spend(rate, f"flood {number}")
        assert limiter.spend(rate, "a").wait_s > 0  # who keeps asking is not forgotten for others
    assert len(limiter._arrivals) <= most
    now_s[0] = 5.0
    assert limiter.spend(rate, "a").wait_s == 0


def test_what_a_caller_is_told_of_his_share() -> None:
    rate = Rate(per_s=4.0, burst=10)
    _, share = spend(rate, 0.0, 50.0)
    assert headers("default", rate, share) == (
        (b"ratelimit-policy", b'"default";q=10;w=3'),
        (b"ratelimit", b'"default";r=9;t=1'),
    )
    refusal = exhausted(Share(left=0, reset_s=9.0, wait_s=2.25))
    assert (refusal.status, refusal.headers) == (429, {"retry-after": "3"})


def test_a_fault_of_the_whole_body_names_no_field() -> None:
    assert invalid(FieldError(field="", message="too deep")).detail == "cannot accept the request: too deep"
    assert invalid(FieldError(field="a.b", message="too deep")).detail == "cannot accept the request: a.b: too deep"


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        (b"127.0.0.1:8080", True), (b"[::1]:8080", True), (b"192.0.2.7", True), (b"localhost:1", True), (b"LOCALHOST.", True),
        (b"a.localhost", True), (b"", True), (b"farm.example.org", True), (b"Farm.Example.Org:443", True), (b"x.example.net", True),
        (b"evil.example", False), (b"farm.example.org.evil.example", False), (b"localhost.evil.example", False),
        (b"127.0.0.1.evil.example", False), (b"example.net", False), (b"x.y.example.net", False), (b"[evil]", False), (b"\xff", False),
        (b"127.1", False),
    ],
)  # fmt: skip
def test_a_server_answers_to_its_own_names_alone(host: bytes, passes: bool) -> None:
    rules = Rules(hosts=frozenset({"farm.example.org", "*.example.net"}))
    check_host(Rules(), asked(), {b"host": host})  # nobody asked for a list
    check_host(rules, asked(**{PEER: Peer(1, 1)}), {b"host": host})  # nobody resolves the name of a socket
    if passes:
        check_host(rules, asked(), {b"host": host})
    else:
        with pytest.raises(RefusalError) as refused:
            check_host(rules, asked(), {b"host": host})
        assert (refused.value.status, refused.value.headers) == (421, {"connection": "close"})


def test_the_names_of_a_server_follow_from_where_it_listens() -> None:
    assert hosts_of("127.0.0.1", ()) == hosts_of("localhost", ()) == frozenset()
    assert hosts_of("0.0.0.0", ()) is hosts_of("127.0.0.1", ("*",)) is None
    assert hosts_of("0.0.0.0", ("Farm.example.org",)) == {"farm.example.org"}
