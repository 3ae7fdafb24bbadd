"""The control API of a supervisor: real processes, a real unix socket, the routes as a client has them."""

import asyncio
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from control_rig import KEY, PATIENCE_S, Rig, play

from millrace.config.errors import SettingError
from millrace.domain.roles import Role
from millrace.edge.access import PEER, Peer, PeerRule, Rules
from millrace.edge.keys import Key, Keys
from millrace.process.look import read_process
from millrace.programs.control_doors import ControlDoors
from millrace.programs.control_server import local, remote
from millrace.programs.control_settings import ControlSettings
from millrace.programs.http.listen import listen, url_of
from millrace.programs.http.unix_socket import UnixSocket
from millrace.runtime.clock import SystemClock
from millrace.supervisor.control.app import control_app
from millrace.supervisor.control.supervisor import Supervisor


def up(found: Any) -> bool:
    return {one["name"]: one["ready"] for one in found["processes"]} == {
        "bad": 0, "db": 1, "once": 0, "spare": 0, "web": 2,
    } and next(one for one in found["processes"] if one["name"] == "bad")["state"] == "failed"  # fmt: skip


def test_the_status_tells_everything_but_secrets(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        found = await rig.until("/v1/processes", up)
        shown = {one["name"]: one for one in found["processes"]}
        (bad,) = shown["bad"]["instances"]
        assert (bad["state"], bad["pid"], bad["started"], bad["reason"]) == ("failed", None, None, "exited with code 3")
        assert bad["last_end"]["code"] == 3
        assert shown["spare"]["instances"] == []
        web = shown["web"]["instances"][1]
        assert web["id"] == "web-1"
        assert read_process(web["pid"]) is not None
        assert web["started"].endswith("Z")
        assert web["uptime_s"] >= 0
        assert shown["web"]["depends_on"] == {"db": "ready"}
        texts = [
            (await rig.client.get(path)).text
            for path in ("/v1/processes", "/v1/processes/db", "/v1/processes/db/logs", "/v1/health", "/v1/openapi.json")
        ]
        assert not [text for text in texts if "hunter2" in text or "hidden-word" in text]
        assert (await rig.get("/v1/health"))["ready"] is False  # bad has failed
        metrics = await rig.client.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'millrace_supervisor_process_up{process="web",instance="web-1"} 1\n' in metrics.text
        assert {*(await rig.get("/v1/openapi.json"))["paths"]} >= {"/v1/processes/{name}/scale", "/v1/events"}

    play(tmp_path, body)


def test_a_request_is_answered_when_the_process_has_come_to_rest(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        before = await rig.until("/v1/processes", up)
        pids = {one["pid"] for process in before["processes"] for one in process["instances"] if one["pid"]}
        found = await rig.post("/v1/processes/web/restart")
        assert found["settled"]
        assert found["process"]["ready"] == 2
        assert not pids & {one["pid"] for one in found["process"]["instances"]}
        found = await rig.post("/v1/processes/web/stop")
        assert [one["state"] for one in found["process"]["instances"]] == ["stopped", "stopped"]
        assert [one["last_end"]["signal"] for one in found["process"]["instances"]] == ["SIGTERM", "SIGTERM"]
        found = await rig.post("/v1/processes/web/start?wait=0", status=202)
        assert not found["settled"]
        await rig.until("/v1/processes/web", lambda one: one["ready"] == 2)
        found = await rig.post("/v1/processes/web/scale", {"desired": 3})
        assert [one["id"] for one in found["process"]["instances"]] == ["web-0", "web-1", "web-2"]
        found = await rig.post("/v1/processes/web/scale", {"delta": -2})
        assert [one["id"] for one in found["process"]["instances"]] == ["web-0"]
        found = await rig.post("/v1/processes/web/scale", {"desired": 0})
        assert found["process"]["state"] == "stopped"
        # As many come back as were wanted the last time.
        assert (await rig.post("/v1/processes/web/start"))["process"]["desired"] == 1
        # What was given up is tried afresh.
        assert (await rig.post("/v1/processes/bad/start"))["process"]["instances"][0]["restarts"] == 1

    play(tmp_path, body)


def test_what_cannot_be_done_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", up)
        for path, request, status, said in (
            ("nix/start", None, 404, "there is no process nix; the plan has bad, db, once, spare, web"),
            ("web/start", None, 409, "cannot start web: it is running already"),
            ("spare/stop", None, 409, "cannot stop spare: it is stopped"),
            ("spare/restart", None, 409, "cannot restart spare: it is stopped; start it instead"),
            ("web/scale", {"desired": 1001}, 422, "makes 1001 of web; allowed: 0 to 1000"),
            ("spare/scale", {"desired": 4}, 422, "makes 4 of spare; allowed: 0 to 3"),
            ("once/scale", {"delta": 2}, 422, "makes 2 of once; allowed: 0 to 1"),
            ("web/scale", {"delta": -3}, 422, "makes -1 of web"),
            ("web/scale", {}, 422, "give either desired or delta"),
            ("web/scale", {"desired": 1, "delta": 1}, 422, "give either desired or delta"),
            ("web/scale", {"count": 1}, 400, "there is no such field"),
            ("web/stop?wait=soon", None, 400, "must be a whole number"),
        ):
            found = await rig.post(f"/v1/processes/{path}", request, status=status)
            assert said in found["detail"], found
            assert found["type"].startswith("urn:millrace:problem:")
        assert "no process" in (await rig.get("/v1/processes/nix", status=404))["detail"]
        assert (await rig.get("/v1/processes"))["processes"][4]["ready"] == 2  # nothing of it did anything

    play(tmp_path, body)


def test_the_last_lines_and_those_to_come(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        found = await rig.until("/v1/processes/web/logs", lambda one: len(one["lines"]) == 2)
        assert sorted(line["text"] for line in found["lines"]) == ["web-0 says hello", "web-1 says hello"]
        assert [line["number"] for line in found["lines"]] == [1, 2]
        await rig.post("/v1/processes/web/restart")
        more = await rig.until(f"/v1/processes/web/logs?after={found['next']}", lambda one: len(one["lines"]) >= 2)
        assert more["lines"][0]["number"] == 3
        assert len((await rig.get("/v1/processes/web/logs?limit=1"))["lines"]) == 1
        await rig.get("/v1/processes/web/logs?limit=0", status=400)

    play(tmp_path, body)


async def heard(
    rig: Rig, until: Callable[[dict[str, Any]], bool], listening: asyncio.Event | None = None, **more: Any
) -> list[tuple[str, str, Any]]:
    """Events up to one: cursor, name, data. Sets `listening` at the first."""
    found, cursor, name = [], "", ""
    async with asyncio.timeout(PATIENCE_S), rig.client.stream("GET", "/v1/events", **more) as response:
        assert response.headers["content-type"] == "text/event-stream"
        async for line in response.aiter_lines():
            kind, _, value = line.partition(": ")
            cursor, name = (value if kind == "id" else cursor), (value if kind == "event" else name)
            if kind == "data":
                found.append((cursor, name, json.loads(value)))
                if listening is not None:
                    listening.set()
                if name == "change" and until(found[-1][2]):
                    return found
    return found


def test_the_stream_of_changes_can_be_taken_up_where_it_broke(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", up)
        stopped = lambda one: one["instance"] == "web-0" and one["now"]["state"] == "stopped"  # noqa: E731
        listening = asyncio.Event()
        reader = asyncio.create_task(heard(rig, stopped, listening))
        await asyncio.wait_for(listening.wait(), PATIENCE_S)
        await rig.post("/v1/processes/web/stop")
        first = await reader
        assert first[0][1] == "hello"
        assert [one["now"]["state"] for _, _, one in first[1:] if one["instance"] == "web-0"] == ["stopping", "stopped"]
        again = await heard(rig, stopped, headers={"last-event-id": first[0][0]})
        assert again[1:] == first[1:]
        await rig.get("/v1/events?after=nonsense", status=400)

    play(tmp_path, body)


def test_a_reader_of_another_run_is_told_that_it_missed_something(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", up)
        async with rig.client.stream("GET", "/v1/events?after=0badcafe-7") as response:
            lines = response.aiter_lines()
            assert await anext(lines) == "event: gap"

    play(tmp_path, body)


def test_a_shutdown_is_answered_and_lets_go_of_everybody(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", up)
        assert await rig.post("/v1/shutdown", status=202) == {"ending": True}
        assert await asyncio.wait_for(rig.running, PATIENCE_S) == 0
        assert (await rig.get("/v1/health"))["status"] == "ending"
        assert "stops everything" in (await rig.post("/v1/processes/web/start", status=409))["detail"]

    play(tmp_path, body)


def test_who_waits_is_let_go_when_the_server_stops(tmp_path: Path) -> None:
    text = "processes: {web: {command: [sleep, '1000'], health_check: {type: exec, command: ['false']}}}"

    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", lambda one: one["processes"][0]["state"] == "running")
        waiting = asyncio.create_task(rig.post("/v1/processes/web/restart?wait=3600", status=202))
        await rig.until("/v1/processes", lambda one: one["processes"][0]["instances"][0]["restarts"] == 1)
        rig.supervisor.stop()
        assert not (await asyncio.wait_for(waiting, PATIENCE_S))["settled"]

    play(tmp_path, body, text)


OWN = Rules(peers=(PeerRule(role=Role.ADMIN, uid=os.geteuid()),))


@pytest.mark.parametrize(("peer", "status"), [(Peer(1, 1000), 200), (Peer(1, 0), 200), (Peer(1, 1001), 403)])
def test_only_the_same_user_and_root_may_ask(tmp_path: Path, peer: Peer, status: int) -> None:
    rules = Rules(peers=(PeerRule(role=Role.ADMIN, uid=1000), PeerRule(role=Role.ADMIN, uid=0)))

    async def body(rig: Rig) -> None:
        app = control_app(rig.supervisor, rules=lambda: rules)

        async def through_the_door(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": {PEER: peer}}, receive, send)

        transport = httpx2.ASGITransport(app=through_the_door)
        async with httpx2.AsyncClient(transport=transport, base_url="http://supervisor") as asking:
            for path in ("/v1/processes", "/v1/health", "/nowhere"):
                found = await asking.get(path, headers={"authorization": f"Bearer {KEY}"})
                assert found.status_code == (404 if status == 200 and path == "/nowhere" else status)

    play(tmp_path, body)


def test_the_kernel_says_who_asks(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        rules = [Rules(peers=(PeerRule(role=Role.ADMIN, uid=4242424),))]
        held = UnixSocket(tmp_path / "other.sock")
        transport = httpx2.AsyncHTTPTransport(uds=str(held.path))
        async with (
            local(rig.supervisor, held.socket, lambda: rules[0]),
            httpx2.AsyncClient(transport=transport, base_url="http://supervisor") as asking,
        ):
            assert (await asking.get("/v1/processes")).status_code == 403
            rules[0] = OWN
            assert (await asking.get("/v1/processes")).status_code == 200
            rules[0] = Rules(peers=(PeerRule(role=Role.VIEWER, gid=os.getegid()),))
            assert (await asking.get("/v1/processes")).status_code == 200
            assert (await asking.post("/v1/processes/web/stop")).status_code == 403
        held.close()

    play(tmp_path, body)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else")
def test_a_stranger_who_comes_through_the_door_is_sent_away(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
            os.chmod(folder, 0o755)  # noqa: PTH101  one call
            held = UnixSocket(Path(folder, "s.sock"))
            os.chmod(held.path, 0o666)  # noqa: PTH101  one call
            async with local(rig.supervisor, held.socket, lambda: OWN):
                with socket.socket(socket.AF_UNIX) as stranger:
                    os.seteuid(65534)
                    try:
                        stranger.connect(str(held.path))
                    finally:
                        os.seteuid(0)
                    reader, writer = await asyncio.open_unix_connection(sock=stranger)
                    writer.write(b"POST /v1/shutdown HTTP/1.1\r\nhost: supervisor\r\ncontent-length: 0\r\n\r\n")
                    assert (await reader.readline()).split()[1] == b"403"
                    writer.close()
            held.close()
        assert (await rig.get("/v1/health"))["status"] == "healthy"

    play(tmp_path, body)


def test_tcp_takes_a_key_and_nothing_else(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        opened = listen("127.0.0.1", 0)
        url = url_of(opened, tls=False)
        rules = Rules(keys=Keys([Key(secret=KEY)], now_s=time.time))
        async with remote(rig.supervisor, opened, lambda: rules), httpx2.AsyncClient(base_url=url) as asking:
            assert (await asking.get("/v1/processes")).status_code == 401
            assert (await asking.get("/v1/processes", headers={"x-api-key": "another-key"})).status_code == 401
            assert (await asking.post("/v1/shutdown")).status_code == 401
            assert (await asking.get("/v1/health")).status_code == 200
            assert (await asking.get("/v1/processes", headers={"x-api-key": KEY})).status_code == 200

    play(tmp_path, body)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (ControlSettings(host="127.0.0.1"), "set MILLRACE_SUPERVISE_KEY"),
        (ControlSettings(host="127.0.0.1", key="short"), "at least 8"),
        (ControlSettings(host="0.0.0.0", key=KEY), "cross the network in the clear"),
        (ControlSettings(certificate=Path("a"), certificate_key=Path("b")), "TLS is for --listen"),
        (ControlSettings(host="127.0.0.1", key=KEY, certificate=Path("a")), "both a certificate and its key"),
    ],
)
def test_nothing_is_opened_to_strangers(tmp_path: Path, settings: ControlSettings, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        ControlDoors(Supervisor(SystemClock()), settings, {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
