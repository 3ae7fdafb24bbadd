"""What `/metrics` says of real processes, and what it no longer says when they have gone."""

import asyncio
import socket
from pathlib import Path
from typing import Any

from control_rig import PATIENCE_S, Rig, play
from prometheus_client.parser import text_string_to_metric_families

Found = dict[str, dict[tuple[str, ...], float]]


async def served(rig: Rig) -> Found:
    """Each series with the values of its labels."""
    found: Found = {}
    for family in text_string_to_metric_families((await rig.client.get("/metrics")).text):
        for one in family.samples:
            found.setdefault(one.name.removeprefix("millrace_supervisor_"), {})[tuple(one.labels.values())] = one.value
    return found


async def until(rig: Rig, name: str, key: tuple[str, ...], least: float = 1) -> Found:
    """Wait until a series has reached a value."""
    async with asyncio.timeout(PATIENCE_S):
        while (found := await served(rig)).get(name, {}).get(key, -1) < least:
            await rig.supervisor.news.until(lambda: False, 0.05)
    return found


def monitor(ear: socket.socket, answers: int) -> tuple[Any, list[str]]:
    """A server that answers every request so."""
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readline()).decode().split()[1])
        writer.write(f"HTTP/1.1 {answers} So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        writer.close()

    return asyncio.start_server(serve, sock=ear), heard


CRASHES = "test -e calm && exec sleep 1000; exit 3"


def test_what_happens_is_counted_and_what_has_gone_is_not_told(tmp_path: Path) -> None:
    ear = socket.create_server(("127.0.0.1", 0))

    async def body(rig: Rig) -> None:
        server, heard = monitor(ear, 200)
        async with await server:
            found = await until(rig, "process_restarts_total", ("bad", "bad-0", "crash"), 2)
            assert found["process_exits_total"]["bad", "3", "crash"] >= 2
            (tmp_path / "calm").touch()
            await until(rig, "health_checks_total", ("web", "exec", "success"), 2)
            # One of the two may have been asked twice before the other was asked at all.
            await until(rig, "health_check_status", ("web", "web-0"))
            found = await until(rig, "health_check_status", ("web", "web-1"))
            assert found["health_check_status"] == {("web", "web-0"): 1, ("web", "web-1"): 1}
            assert found["health_check_seconds_count"]["web", "exec"] >= 2
            assert found["hook_runs_total"]["web", "pre-start", "success"] == 2
            assert found["hook_seconds_count"]["web", "pre-start"] == 2
            await rig.post("/v1/processes/job/schedule/trigger", status=202)
            found = await until(rig, "heartbeats_total", ("job", "success", "success"))
            assert set(heard) == {"/start", "/well"}
            assert found["heartbeat_seconds_count"] == {("job", "start"): 1, ("job", "success"): 1}
            assert found["job_runs_total"] == {("job", "succeeded"): 1}
            assert found["job_last_run_time_seconds"]["job",] <= found["job_last_success_time_seconds"]["job",]
            assert not [key for key in found["process_restarts_total"] if key[0] == "job"]
            for name in ("process_virtual_memory_bytes", "process_resident_memory_bytes", "process_open_descriptors"):
                await until(rig, name, ("web", "web-1"))  # a look may be older than the instance
            assert found["resource_look_seconds_count"][()] >= 1
            assert found["resident_memory_bytes"][()] > 1 << 20
            assert found["open_descriptors"][()] > 3
            assert found["cpu_seconds_total"][()] > 0
            await rig.post("/v1/processes/web/restart")
            found = await until(rig, "process_restarts_total", ("web", "web-1", "asked"))
            await rig.post("/v1/processes/web/scale", {"desired": 1})
            found = await served(rig)
            assert not [(name, key) for name, series in found.items() for key in series if "web-1" in key]
            rig.plan.write_text("processes: {rest: {command: [sleep, '1000']}}")
            await rig.post("/v1/reload")
            found = await served(rig)
            assert not [
                (name, key) for name, series in found.items() for key in series if {"web", "bad", "job"} & {*key}
            ]

    play(tmp_path, body, PLAN.format(port=ear.getsockname()[1]))


PLAN = f"""
processes:
  bad: {{{{command: [sh, -c, "{CRASHES}"], restart: {{{{policy: always, backoff_initial: 20ms}}}}}}}}
  web:
    command: [sleep, "1000"]
    scale: 2
    health_check: {{{{type: exec, command: ["true"], period: 0.05}}}}
    hooks: {{{{pre-start: [{{{{command: ["true"]}}}}]}}}}
  job:
    command: ["true"]
    schedule: "0 0 1 1 *"
    heartbeat: {{{{start_url: "http://127.0.0.1:{{port}}/start", success_url: "http://127.0.0.1:{{port}}/well", retries: 0}}}}
"""


def test_a_monitor_that_does_not_hear_is_counted(tmp_path: Path) -> None:
    ear = socket.create_server(("127.0.0.1", 0))

    async def body(rig: Rig) -> None:
        server, _ = monitor(ear, 500)
        async with await server:
            await rig.post("/v1/processes/job/schedule/trigger", status=202)
            found = await until(rig, "heartbeats_total", ("job", "success", "failure"))
            assert "heartbeat_last_success_time_seconds" not in found

    (tmp_path / "calm").touch()
    play(tmp_path, body, PLAN.format(port=ear.getsockname()[1]))


def test_how_long_the_end_takes_can_be_read_while_it_goes_on(tmp_path: Path) -> None:
    text = """
processes:
  web: {command: [sh, -c, "trap 'while ! test -e go; do sleep 0.05; done; exit 0' TERM; echo up; while :; do sleep 0.05; done"]}
"""

    async def body(rig: Rig) -> None:
        assert "shutdown_seconds" not in await served(rig)
        await rig.until("/v1/processes/web/logs", lambda found: bool(found["lines"]))
        await rig.post("/v1/shutdown", status=202)
        first = (await until(rig, "shutdown_seconds", (), 0))["shutdown_seconds"][()]
        assert (await served(rig))["shutdown_seconds"][()] > first
        (tmp_path / "go").touch()
        assert await asyncio.wait_for(rig.running, PATIENCE_S) == 0

    play(tmp_path, body, text)
