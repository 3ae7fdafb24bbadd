"""Webhooks from the change of a job to a receiver on this machine, and through the API."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_serving import Rig, on_master, serving, time_passed
from msgspec.structs import force_setattr
from receiver import CLOSE, ENDLESS, HANG, OK, Receiver, answer, receiving

from millrace.domain.webhooks import BACKOFF_CAP_S, MAX_ATTEMPTS, Answer, signature
from millrace.outbound.addresses import network
from millrace.outbound.guard import Guard
from millrace.outbound.post import Sender
from millrace.runtime.clock import SystemClock
from millrace.scheduler.clean import clean
from millrace.scheduler.outbox import LEASE_S, OF_ONE, Outbox, Post

LOOPBACK = [network("127.0.0.0/8")]


@asynccontextmanager
async def delivering(
    rig: Rig, *, guard: Guard | None = None, post: Post | None = None, total_s: float = 30
) -> AsyncIterator[None]:
    """A master's outbox runs, and what it complains of fails the test."""
    guard = guard or Guard(allowed=LOOPBACK)
    force_setattr(rig.app.master, "guard", guard)
    sender = Sender(guard, clock=SystemClock(), total_s=total_s)
    complaints: list[Exception] = []
    try:
        async with Outbox(rig.farm, post or sender, complain=lambda _, error: complaints.append(error)):
            yield
    finally:
        await sender.close()
    assert not complaints


def with_receiver(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test with a `Rig`, whose webhooks may go to this machine, and a receiver."""

    @functools.wraps(test)
    def run(tmp_path: Path, **arguments: Any) -> None:
        async def body() -> None:
            async with serving(tmp_path) as rig, receiving() as receiver, asyncio.timeout(120):
                force_setattr(rig.app.master, "guard", Guard(allowed=LOOPBACK))
                await test(rig, receiver, **arguments)

        asyncio.run(body())

    own = list(inspect.signature(test).parameters.values())[2:]
    folder = inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Path)
    run.__signature__ = inspect.Signature([folder, *own])  # type: ignore[attr-defined]
    del run.__wrapped__
    return run


async def _add(rig: Rig, url: str, *events: str, **more: object) -> Any:
    return await rig.post("/v1/webhooks", {"url": url, "events": list(events), **more}, status=201)


async def _log(rig: Rig, webhook: str, query: str = "") -> Any:
    return (await rig.get(f"/v1/webhooks/{webhook}/deliveries{query}"))["deliveries"]


async def _until(rig: Rig, webhook: str, *states: str) -> Any:
    """The log once its messages stand like this, newest first."""
    async with asyncio.timeout(60):
        while True:
            found = await _log(rig, webhook)
            if [one["state"] for one in found] == list(states):
                return found
            await asyncio.sleep(0)


async def _tried(rig: Rig, webhook: str, attempts: int) -> Any:
    """The only message of the log once so many attempts of it, or on a slow machine more, have come to something."""
    async with asyncio.timeout(60):
        while True:
            found = await _log(rig, webhook)
            if found and found[0]["attempts"] >= attempts and found[0]["result"]:
                return found[0]
            await asyncio.sleep(0)


def _later(rig: Rig, seconds: float) -> None:
    time_passed[0] += timedelta(seconds=seconds)
    rig.farm.changes.ring()


async def _canceled(rig: Rig, count: int = 1) -> list[int]:
    numbers = []
    for _ in range(count):
        numbers.append((await rig.submit(labels={"show": "news"}))["number"])
        await rig.post(f"/v1/jobs/{numbers[-1]}/cancel")
    return numbers


@with_receiver
async def test_a_receiver_hears_of_each_change_in_order_and_can_check_who_says_so(rig: Rig, receiver: Receiver) -> None:
    made = await _add(rig, receiver.url + "?token=t", "*")
    async with delivering(rig):
        numbers = await _canceled(rig, 3)
        await receiver.until(lambda: len(receiver.got) == 6)
        await _until(rig, made["webhook"]["id"], *["delivered"] * 6)
    for number in numbers:
        told = [one.told for one in receiver.got if one.told["data"]["number"] == number]
        assert [one["type"] for one in told] == ["job.queued", "job.canceled"]
        assert told[0]["data"]["sequence"] < told[1]["data"]["sequence"]
        assert told[1]["data"]["labels"] == {"show": "news"}
    got = receiver.got[0]
    assert got.path == "/hook?token=t"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    timestamp, identity = got.headers["webhook-timestamp"], got.headers["webhook-id"]
    assert got.headers["webhook-signature"] == signature(made["secret"], identity, timestamp, got.content)
    assert len({one.headers["webhook-id"] for one in receiver.got}) == 6


@with_receiver
async def test_what_happened_while_no_master_delivered_is_told_later(rig: Rig, receiver: Receiver) -> None:
    made = await _add(rig, receiver.url)
    await _canceled(rig, 2)
    assert await _log(rig, made["webhook"]["id"]) == []
    async with delivering(rig):
        await receiver.until(lambda: len(receiver.got) == 2)


@with_receiver
async def test_a_job_is_not_deleted_before_its_end_was_told(rig: Rig, receiver: Receiver) -> None:
    await _add(rig, receiver.url, "job.canceled")
    await _canceled(rig)
    time_passed[0] += timedelta(days=31)
    assert len(await clean(rig.farm)) == 1
    async with delivering(rig):
        await receiver.until(lambda: receiver.got)
    assert receiver.got[0].told["data"]["number"] == 1


@pytest.mark.parametrize(
    ("said", "result"),
    [
        (answer(500), "answered 500"),
        (answer(404), "answered 404"),
        (answer(302, "location: http://169.254.169.254/latest/meta-data/"), "answered 302"),
        (b"HTTP/1.1 403 hidden\r\nx-key: hidden\r\ncontent-length: 6\r\n\r\nhidden", "answered 403"),
        (CLOSE, "no whole answer (RemoteProtocolError)"),
        (b"no http at all\r\n\r\n", "no whole answer (RemoteProtocolError)"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * (1 << 20), "no whole answer (RemoteProtocolError)"),
        (HANG, "no whole answer within 4 s"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "no whole answer (RemoteProtocolError)"),
    ],
)
@with_receiver
async def test_what_is_no_success_is_tried_again_with_the_same_message(
    rig: Rig, receiver: Receiver, said: bytes, result: str
) -> None:
    mended = asyncio.Event()
    receiver.answers = lambda _: OK if mended.is_set() else said
    made = await _add(rig, receiver.url, "job.canceled")
    async with delivering(rig, total_s=4 if said == HANG else 60):
        await _canceled(rig)
        entry = await _tried(rig, made["webhook"]["id"], 1)
        assert (entry["state"], entry["result"]) == ("pending", result)
        assert entry["due"] is not None
        assert "hidden" not in str(entry)
        mended.set()
        _later(rig, BACKOFF_CAP_S)
        (entry,) = await _until(rig, made["webhook"]["id"], "delivered")
    assert (entry["attempts"] >= 2, entry["result"]) == (True, "answered 200")
    first, second = receiver.got[0], receiver.got[-1]
    assert first.content == second.content
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == entry["id"]


@with_receiver
async def test_a_body_without_end_is_left_where_it_is(rig: Rig, receiver: Receiver) -> None:
    receiver.answers = lambda _: ENDLESS
    made = await _add(rig, receiver.url, "job.canceled")
    async with delivering(rig):
        await _canceled(rig)
        await _until(rig, made["webhook"]["id"], "delivered")
        await receiver.until(lambda: receiver.open == 0)


@with_receiver
async def test_nobody_there_is_no_end(rig: Rig, receiver: Receiver) -> None:
    made = await _add(rig, "http://127.0.0.1:1024/", "job.canceled")
    async with delivering(rig):
        await _canceled(rig)
        assert (await _tried(rig, made["webhook"]["id"], 1))["result"] == "cannot connect"


@with_receiver
async def test_a_receiver_that_hangs_holds_up_no_other_and_gets_few_at_once(rig: Rig, receiver: Receiver) -> None:
    made = await _add(rig, receiver.url, "job.canceled")
    async with receiving() as slow:
        slow.answers = lambda _: HANG
        await _add(rig, slow.url, "job.canceled")
        async with delivering(rig):
            await _canceled(rig, 12)
            await receiver.until(lambda: len(receiver.got) == 12)
            await _until(rig, made["webhook"]["id"], *["delivered"] * 12)
            assert 1 <= slow.most_open < 2 * OF_ONE


@with_receiver
async def test_a_message_that_fails_holds_back_the_others_of_its_job_alone(rig: Rig, receiver: Receiver) -> None:
    receiver.answers = lambda got: (
        answer(500) if (got.told["data"]["number"], got.told["type"]) == (1, "job.queued") else OK
    )
    made = await _add(rig, receiver.url, "*")
    async with delivering(rig):
        await _canceled(rig, 2)
        await _until(rig, made["webhook"]["id"], "delivered", "delivered", "pending", "pending")
        await receiver.until(lambda: len(receiver.got) == 3)
        receiver.answers = lambda _: OK
        _later(rig, 10)
        await _until(rig, made["webhook"]["id"], *["delivered"] * 4)
    assert [one.told["type"] for one in receiver.got if one.told["data"]["number"] == 1] == [
        "job.queued", "job.queued", "job.canceled",
    ]  # fmt: skip


@with_receiver
async def test_a_master_that_is_killed_while_it_sends_leaves_the_message_to_another(
    rig: Rig, receiver: Receiver
) -> None:
    made = await _add(rig, receiver.url, "job.canceled")
    sending = asyncio.Event()

    async def dies(*_: object) -> Answer:
        sending.set()
        raise asyncio.CancelledError  # as little comes of it as of a process that is gone

    async with delivering(rig, post=dies):
        await _canceled(rig)
        await asyncio.wait_for(sending.wait(), 60)
    async with delivering(rig):
        _later(rig, LEASE_S + 1)
        (entry,) = await _until(rig, made["webhook"]["id"], "delivered")
    assert (entry["attempts"], len(receiver.got)) == (2, 1)


@with_receiver
async def test_two_masters_deliver_each_message_once(rig: Rig, receiver: Receiver) -> None:
    made = await _add(rig, receiver.url, "*")
    async with delivering(rig), delivering(rig):
        await _canceled(rig, 20)
        await _until(rig, made["webhook"]["id"], *["delivered"] * 40)
    assert len(receiver.got) == len({one.headers["webhook-id"] for one in receiver.got}) == 40


@with_receiver
async def test_gone_disables_and_a_dead_message_is_sent_again(rig: Rig, receiver: Receiver) -> None:
    made = await _add(rig, receiver.url, "job.canceled")
    webhook = made["webhook"]["id"]
    attempts = 0

    async def fails(*_: object) -> Answer:
        nonlocal attempts
        attempts += 1
        return Answer(status=503)

    outbox = Outbox(rig.farm, fails, complain=print)
    await _canceled(rig)
    await outbox.relay()
    for _ in range(MAX_ATTEMPTS + 1):
        await outbox.deliver()
        await outbox.idle()
        _later(rig, 10_000)
    (entry,) = await _log(rig, webhook)
    assert entry["state"] == "dead"
    assert attempts == MAX_ATTEMPTS
    assert entry["result"] == "answered 503; all 24 attempts are spent"
    assert [one["id"] for one in await _log(rig, webhook, "?state=dead")] == [entry["id"]]
    metrics = (await rig.call("GET", "/metrics")).text
    assert 'millrace_webhook_messages{state="dead"} 1' in metrics
    assert await rig.post(f"/v1/webhooks/{webhook}/replay") == {"replayed": 1}
    async with delivering(rig):
        await _until(rig, webhook, "delivered")
        assert receiver.got[0].headers["webhook-id"] == entry["id"]
        receiver.answers = lambda _: answer(410)
        await _canceled(rig, 1)
        await _until(rig, webhook, "dead", "delivered")
        async with asyncio.timeout(60):
            while (await rig.get("/v1/webhooks"))["webhooks"][0]["disabled"] is None:
                await asyncio.sleep(0)
        await _canceled(rig, 1)
    (shown,) = (await rig.get("/v1/webhooks"))["webhooks"]
    assert (shown["disabled_why"], shown["dead"], shown["pending"]) == ("its receiver answered 410 Gone", 1, 0)
    assert len(receiver.got) == 2
    assert (await rig.call("POST", f"/v1/webhooks/{webhook}/replay")).status_code == 409


@with_receiver
async def test_a_name_that_leads_elsewhere_by_the_time_of_sending_is_not_followed(rig: Rig, receiver: Receiver) -> None:
    leads = ["203.0.114.1"]
    asked: list[str] = []

    async def resolve(host: str, _: int) -> Sequence[str]:
        asked.append(host)
        return leads

    async with delivering(rig, guard=Guard(resolve=resolve)):
        made = await _add(rig, f"http://rebinds.example:{receiver.port}/", "job.canceled")
        leads[0] = "127.0.0.1"
        await _canceled(rig)
        entry = await _tried(rig, made["webhook"]["id"], 1)
    assert entry["result"].startswith("not sent: the URL leads to an address that may not be reached (not public)")
    assert asked == ["rebinds.example"] * 2
    assert receiver.got == []


@with_receiver
async def test_the_connection_goes_to_the_address_that_was_judged(rig: Rig, receiver: Receiver) -> None:
    """The name exists nowhere: had anybody looked it up again, nothing would have arrived."""

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with delivering(rig, guard=Guard(resolve=resolve, allowed=LOOPBACK)):
        await _add(rig, f"http://nowhere.invalid:{receiver.port}/", "job.canceled")
        await _canceled(rig)
        await receiver.until(lambda: receiver.got)
    assert receiver.got[0].headers["host"] == f"nowhere.invalid:{receiver.port}"


@with_receiver
async def test_no_cookie_goes_from_one_receiver_to_the_next(rig: Rig, receiver: Receiver) -> None:
    receiver.answers = lambda _: answer(200, "set-cookie: session=secret; Path=/")
    await _add(rig, receiver.url, "*")
    async with delivering(rig):
        await _canceled(rig, 3)
        await receiver.until(lambda: len(receiver.got) == 6)
    assert not any("cookie" in one.headers for one in receiver.got)


@on_master
async def test_urls_and_events_that_cannot_be_are_refused_with_the_field(rig: Rig) -> None:
    for url in (
        "http://127.0.0.1/",
        "http://169.254.169.254/",
        "http://localhost:8080/",
        "https://u:p@example.com/",
        "ftp://a/",
    ):
        response = await rig.call("POST", "/v1/webhooks", json={"url": url})
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "url"), url
    response = await rig.call("POST", "/v1/webhooks", json={"url": "https://8.8.8.8/", "events": ["job.done"]})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "events")
    assert "job.completed" in response.json()["errors"][0]["allowed"]
    assert (await rig.get("/v1/webhooks"))["webhooks"] == []


@on_master
async def test_a_secret_is_shown_once_and_tenants_see_their_own(rig: Rig) -> None:
    keys = {}
    for tenant in ("mine", "other"):
        key = {"name": tenant, "role": "submitter", "tenant": tenant}
        keys[tenant] = {"x-api-key": (await rig.post("/v1/keys", key, status=201))["secret"]}
    viewer = (await rig.post("/v1/keys", {"name": "v", "role": "viewer"}, status=201))["secret"]
    made = await rig.post("/v1/webhooks", {"url": "https://8.8.8.8/"}, status=201, headers=keys["mine"])
    webhook = made["webhook"]
    assert made["secret"].startswith("whsec_")
    assert (webhook["tenant"], webhook["actor"]) == ("mine", "mine")
    assert webhook["events"] == ["job.completed", "job.failed", "job.canceled", "job.rejected"]
    refused = await rig.call(
        "POST", "/v1/webhooks", json={"url": "https://8.8.8.8/", "tenant": "mine"}, headers=keys["other"]
    )
    assert refused.status_code == 422
    assert (await rig.get("/v1/webhooks", headers=keys["other"]))["webhooks"] == []
    path = f"/v1/webhooks/{webhook['id']}"
    for method, below in (("DELETE", ""), ("POST", "/rotate"), ("GET", "/deliveries"), ("POST", "/replay")):
        assert (await rig.call(method, path + below, headers=keys["other"])).status_code == 404, below
        assert (await rig.call(method, path + below, headers={"x-api-key": viewer})).status_code == 403, below
    shown = await rig.call("GET", "/v1/webhooks", headers=keys["mine"])
    assert made["secret"] not in shown.text
    rotated = await rig.post(path + "/rotate", {"grace_s": 60}, headers=keys["mine"])
    assert rotated["secret"] != made["secret"]
    assert rotated["webhook"]["old_until"] is not None
    assert await rig.post(path + "/replay", headers=keys["mine"]) == {"replayed": 0}
    missing = await rig.call("POST", path + "/replay", json={"message": "m1"}, headers=keys["mine"])
    assert missing.status_code == 404
    assert (await rig.call("DELETE", path, headers=keys["mine"])).status_code == 204
    assert (await rig.get("/v1/webhooks"))["webhooks"] == []


@on_master
async def test_there_is_a_bound(rig: Rig) -> None:
    for _ in range(50):
        await rig.post("/v1/webhooks", {"url": "https://8.8.8.8/"}, status=201)
    assert (await rig.call("POST", "/v1/webhooks", json={"url": "https://8.8.8.8/"})).status_code == 409
