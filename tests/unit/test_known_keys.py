"""API keys: how secrets are spelled, what a server remembers of the keys of its store, and sessions that stand for them."""

import asyncio
import os
import re
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.keys import LENGTH, digest, hint, is_whole, spell
from millrace.edge import known_keys
from millrace.edge.access import grants
from millrace.edge.keys import Key, Keys, stranger
from millrace.edge.known_keys import GOOD_FOR_S, GOOD_WITHOUT_S, KnownKeys, Mark, UnfamiliarError
from millrace.scheduler.farm import Farm
from millrace.scheduler.tenancy import within
from millrace.store.store import Store
from millrace.telemetry.redact import MASK, Redactor

FIRST = "the-key-of-the-first-start"
SECRET = spell(bytes(range(32)))
ANN = Key(id="k" + "1" * 32, name="ann", role="viewer", grants=frozenset())


@given(st.binary(min_size=32, max_size=32))
def test_a_secret_is_one_word_that_scanners_find_and_logs_never_show(random: bytes) -> None:
    secret = spell(random)
    assert re.fullmatch(r"mr_[0-9A-Za-z]{49}", secret)
    assert len(secret) == LENGTH
    assert is_whole(secret)
    assert is_whole(secret.encode())
    assert digest(secret) == digest(secret.encode())
    assert len(hint(secret)) == 7
    clean = Redactor()
    for text in (secret, f"the key {secret}.", f"https://farm/v1/jobs/{secret}"):
        assert clean.suspects(text)
        assert secret not in clean.text(text)
        assert MASK in clean.text(text)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_no_two_secrets_are_spelled_alike(one: bytes, other: bytes) -> None:
    assert (spell(one) == spell(other)) == (one == other)


@given(st.integers(0, LENGTH - 1), st.characters(min_codepoint=33, max_codepoint=255))
def test_a_wrong_missing_or_doubled_letter_is_noticed(place: int, letter: str) -> None:
    changed = SECRET[:place] + letter + SECRET[place + 1 :]
    assert is_whole(changed) == (changed == SECRET)
    assert not is_whole(SECRET[:place] + SECRET[place + 1 :])
    assert not is_whole(SECRET[:place] + SECRET[place] + SECRET[place:])


def test_a_typo_is_told_from_a_stranger() -> None:
    def told(key: str) -> str:
        for headers in ({b"x-api-key": key.encode()}, {b"authorization": b"Bearer " + key.encode()}):
            refusal = stranger(headers)
            assert refusal.status == 401
        return refusal.detail

    assert "typo" in told(SECRET[:-1])
    assert "typo" in told(SECRET[:-1] + ("a" if SECRET[-1] != "a" else "b"))
    # A whole key that is none, one of an earlier start, which has no checksum, and anything else.
    for key in (spell(os.urandom(32)), "mr_" + "a" * 43, "hunter2-hunter2", ""):
        assert "typo" not in told(key)


class Book:
    """Where keys are kept: it answers when it is let to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.keys: dict[Mark, Key] = {digest(SECRET): ANN, ANN.id: ANN}
        self.asked: list[Mark] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.known: KnownKeys[Key] = KnownKeys(self.find, monotonic_s=lambda: self.now_s)
        self.server = Keys([Key(secret=FIRST)], now_s=lambda: self.now_s, stored=self.known)

    async def find(self, mark: Mark) -> Key | None:
        self.asked.append(mark)
        found = self.keys.get(mark)
        await self.gate.wait()
        return found


def test_a_key_is_looked_up_once_and_again_when_its_time_is_over() -> None:
    async def body() -> None:
        book = Book()
        for _ in range(100):
            assert await book.server.find(SECRET) is ANN
        assert len(book.asked) == 1
        book.now_s = GOOD_FOR_S - 0.01
        book.keys.clear()
        assert await book.server.find(SECRET) is ANN  # revoked elsewhere, and not heard of yet
        book.now_s = GOOD_FOR_S
        assert await book.server.find(SECRET) is None
        assert await book.server.find(SECRET) is None
        assert len(book.asked) == 2  # that it is none is remembered too

    asyncio.run(body())


def test_neither_the_first_key_nor_a_typo_is_looked_up() -> None:
    async def body() -> None:
        book = Book()
        assert (await book.server.find(FIRST) or ANN).name == "api"
        for wrong in (SECRET[:-1], "mr_" + "a" * 43, "", digest(SECRET).hex(), ANN.id):
            assert await book.server.find(wrong) is None
        assert book.asked == []
        assert await book.server.find(spell(os.urandom(32))) is None
        assert len(book.asked) == 1

    asyncio.run(body())


def test_many_who_ask_for_one_key_at_once_ask_once_and_one_who_leaves_takes_no_answer_away() -> None:
    async def body() -> None:
        book = Book()
        book.gate.clear()
        first, *others = (asyncio.create_task(book.server.find(SECRET)) for _ in range(5))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        book.gate.set()
        assert [await one for one in others] == [ANN] * 4
        assert len(book.asked) == 1

    asyncio.run(body())


def test_an_answer_from_before_a_change_is_not_believed() -> None:
    async def body() -> None:
        book = Book()
        book.gate.clear()
        asking = asyncio.create_task(book.server.find(SECRET))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(book.asked) == 1
        book.keys.clear()
        book.server.forget()  # it was revoked here
        book.gate.set()
        assert await asking is None
        assert len(book.asked) == 2

    asyncio.run(body())


def test_what_goes_wrong_with_the_look_is_the_callers_and_is_not_remembered() -> None:
    async def body() -> None:
        book = Book()

        async def fail(_: Mark) -> Key | None:
            raise ConnectionError("the store is away")

        book.known._find = fail
        with pytest.raises(ConnectionError):
            await book.server.find(SECRET)
        book.known._find = book.find
        assert await book.server.find(SECRET) is ANN

    asyncio.run(body())


def test_a_key_that_was_good_goes_on_for_a_while_where_the_store_is_away_and_no_other_does() -> None:
    async def body() -> None:
        book = Book()
        assert await book.server.find(SECRET) is ANN
        other = spell(os.urandom(32))
        assert await book.server.find(other) is None

        async def fail(mark: Mark) -> Key | None:
            book.asked.append(mark)
            raise ConnectionError("the store is away")

        book.known._find = fail
        asked = len(book.asked)
        book.now_s = GOOD_FOR_S
        assert [await book.server.find(SECRET) for _ in range(9)] == [ANN] * 9
        assert len(book.asked) == asked + 1
        with pytest.raises(ConnectionError):
            await book.server.find(other)
        book.now_s = GOOD_WITHOUT_S - 0.01
        assert await book.server.find(SECRET) is ANN
        book.now_s = GOOD_WITHOUT_S + GOOD_FOR_S
        with pytest.raises(ConnectionError):
            await book.server.find(SECRET)
        # Once it is back, a key that was ended meanwhile is no key any more.
        book.known._find = book.find
        book.keys.clear()
        assert await book.server.find(SECRET) is None
        # And what was ended here is not good without the store either.
        book.keys[digest(SECRET)] = ANN
        book.now_s += GOOD_FOR_S
        assert await book.server.find(SECRET) is ANN
        book.server.forget()
        book.known._find = fail
        with pytest.raises(ConnectionError):
            await book.server.find(SECRET)

    asyncio.run(body())


def test_no_more_is_remembered_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "MOST", 3)

    async def body() -> None:
        book = Book()
        assert await book.server.find(SECRET) is ANN
        for _ in range(10):
            assert await book.server.find(spell(os.urandom(32))) is None
        assert len(book.known._answers) == 3
        with pytest.raises(UnfamiliarError):
            book.server.named(SECRET)

    asyncio.run(body())


def test_use_is_told_once() -> None:
    async def body() -> None:
        book = Book()
        await book.server.find(SECRET)
        await book.server.find(spell(os.urandom(32)))
        assert (book.known.take_used(), book.known.take_used()) == ({ANN.id}, frozenset())

    asyncio.run(body())


def test_a_session_stands_for_a_stored_key_as_long_as_there_is_one() -> None:
    async def body() -> None:
        book = Book()

        async def who(token: str) -> str:
            headers = {b"cookie": f"millrace_session={token}".encode()}
            while True:
                try:
                    found = book.server.identify(headers)
                except UnfamiliarError as error:
                    await book.server.learn(error)
                else:
                    return found.key.name if found else ""

        token = book.server.session(ANN)
        until, key_id, seal = token.split(".")
        assert await who(token) == "ann"
        # Who knows all that the store keeps can still make none: it takes the first key.
        forger = Keys([Key(secret=digest(SECRET).hex())], now_s=lambda: 0.0)
        assert await who(forger.session(ANN)) == ""
        for forged in (
            f"{until}.{'k' + '2' * 32}.{seal}",
            f"{int(until) + 1}.{key_id}.{seal}",
            f"{until}.{seal}",
            f"{until}..{seal}",
        ):
            assert await who(forged) == ""
        book.keys.clear()
        book.server.forget()
        assert await who(token) == ""

    asyncio.run(body())


def test_without_the_secret_of_the_first_key_no_sessions_can_be_vouched_for() -> None:
    async def find(_: Mark) -> Key | None:
        return None

    known: KnownKeys[Key] = KnownKeys(find, monotonic_s=lambda: 0.0)
    with pytest.raises(ValueError, match="vouches"):
        Keys([Key(digest=digest("x"), name="ci")], now_s=lambda: 0.0, stored=known)


def test_a_role_that_cannot_be_bound_to_a_tenant_opens_nothing_where_it_is() -> None:
    from millrace.domain.roles import OF_TENANTS, Role
    from millrace.edge.route import Access

    for role in Role:
        bound = grants(role, "acme")
        assert bound == (grants(role) - {Access.INSPECT} if role in OF_TENANTS else frozenset())
        assert Access.INSPECT not in bound


class BusyFarm:
    """A store in which much happens, and nothing of this tenant's."""

    def __init__(self) -> None:
        self.newest = "9"
        self.read_from: list[str | None] = []

    async def last_cursor(self) -> str | None:
        return self.newest

    async def events(self, *, after: str | None, limit: int, tenant: str | None) -> list[object]:
        assert (limit, tenant) == (5, "acme")
        self.read_from.append(after)
        return []


@pytest.mark.parametrize("after", ["3", None])
def test_whoever_follows_a_quiet_tenant_does_not_read_the_same_transitions_again_and_again(after: str | None) -> None:
    async def body() -> None:
        store = BusyFarm()
        view = within(Farm(store=cast("Store", store)), "acme").store
        for newest in ("9", "12", "15"):
            store.newest = newest
            await view.events(after=after, limit=5)
        assert store.read_from == [after, "9", "12"]
        await view.events(after="1", limit=5)  # from elsewhere: nothing is known of it
        assert store.read_from[-1] == "1"

    asyncio.run(body())
