"""Changes of what runs, asked for over the control API: another plan, rolling restarts, and what follows a metric."""

import asyncio
import os
from pathlib import Path
from typing import Any

import psutil
from control_rig import PATIENCE_S, Rig, play

STAYS = "{command: [sleep, '1000'], rolling: {min_ready: 0}}"
PLAN = f"""
processes:
  web: {{command: [sleep, "1000"], env: {{PASSWORD: hunter2}}, scale: 2, rolling: {{min_ready: 0}}}}
  gone: {{command: [sh, -c, "echo gone speaks; exec sleep 1000"]}}
  same: {STAYS}
  once: {{command: [sleep, "1000"], type: oneshot}}
"""


def pids(rig: Rig, name: str) -> set[int]:
    return {facts.pid for each, facts in rig.keeper.facts.items() if each.process == name and facts.pid}


def all_up(found: Any) -> bool:
    return all(one["ready"] == one["desired"] for one in found["processes"] if one["type"] == "service")


def test_a_plan_is_reloaded_and_what_it_changes_is_told_first(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", all_up)
        await rig.until("/v1/processes/gone/logs", lambda found: found["lines"])
        same, web = pids(rig, "same"), pids(rig, "web")
        assert "was not reloaded" in (await rig.get("/v1/reload", status=404))["detail"]
        new = (
            PLAN.replace("hunter2", "hunter3").replace("gone:", "extra:").replace("exec sleep 1000", "exec sleep 2000")
        )
        rig.plan.write_text(new)
        seen = await rig.post("/v1/reload?dry_run=true")
        assert (seen["number"], seen["outcome"], seen["added"], seen["removed"]) == (
            None,
            "dry-run",
            ["extra"],
            ["gone"],
        )
        assert seen["changed"] == [{"name": "web", "keys": ["env.PASSWORD"], "restarts": True}]
        assert "hunter" not in str(seen)
        assert pids(rig, "web") == web
        done = await rig.post("/v1/reload")
        assert (done["number"], done["outcome"]) == (1, "applied")
        assert await rig.get("/v1/reload") == done
        assert pids(rig, "same") == same
        assert not pids(rig, "web") & web
        assert {one["name"] for one in (await rig.get("/v1/processes"))["processes"]} == {
            "extra",
            "once",
            "same",
            "web",
        }
        await rig.get("/v1/processes/gone/logs", status=404)
        assert rig.supervisor.lines.last("gone", limit=1)[0] == []
        assert 'process="gone"' not in (await rig.client.get("/metrics")).text
        assert not [each for each in rig.keeper.facts if each.process == "gone"]

    play(tmp_path, body, PLAN)


def test_a_plan_with_faults_changes_nothing_and_one_that_is_not_up_is_taken_back(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", all_up)
        before = {name: pids(rig, name) for name in ("web", "same", "once")}
        rig.plan.write_text("processes: {web: {command: [sleep, '1'], depends_on: [nix], scale: many}}")
        found = await rig.post("/v1/reload", status=422)
        assert found["detail"].startswith("cannot reload, and nothing was changed: ")
        assert {one["field"] for one in found["errors"]} == {"processes.web.depends_on", "processes.web.scale"}
        assert (await rig.post("/v1/reload?dry_run=true", status=422))["errors"] == found["errors"]
        assert {name: pids(rig, name) for name in before} == before
        rig.plan.write_text(PLAN + "  bad: {command: [sh, -c, 'exit 3'], restart: never}\n")
        found = await rig.post("/v1/reload")
        assert (found["outcome"], found["reason"]) == ("rolled-back", "bad-0 has failed: exited with code 3")
        assert {name: pids(rig, name) for name in before} == before
        rig.keeper.end()
        assert "stops everything" in (await rig.post("/v1/reload", status=409))["detail"]

    play(tmp_path, body, PLAN)


def test_instances_are_replaced_one_after_the_other(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", all_up)
        before = pids(rig, "web")
        found = await rig.post("/v1/processes/web/restart?rolling=true")
        assert (found["settled"], found["process"]["ready"], found["process"]["halted"]) == (True, 2, "")
        assert not pids(rig, "web") & before
        refused = await rig.post("/v1/processes/once/restart?rolling=true", status=409)
        assert "it runs to its end" in refused["detail"]

    play(tmp_path, body, PLAN)


RULE = "min: 1, max: 3, target: 10, interval: 0.1, cooldown: 0, scale_down_after: 0"


def test_a_process_follows_what_a_command_prints_until_it_is_held(tmp_path: Path) -> None:
    (tmp_path / "load").write_text("25\n")

    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes/web", lambda found: found["ready"] == 3)
        assert (await rig.post("/v1/processes/web/scale", {"desired": 2}))["process"]["autoscale"]["pinned"] is True
        (tmp_path / "load").write_text("none")
        found = await rig.until("/v1/processes/web", lambda found: found["autoscale"]["failures"])
        assert (found["desired"], found["autoscale"]["reason"]) == (
            2,
            "keeps 2: the metric is 'none', which is no number",
        )
        (tmp_path / "load").write_text("5")
        assert (await rig.post("/v1/processes/web/scale", {"auto": True}))["process"]["autoscale"]["pinned"] is False
        await rig.until("/v1/processes/web", lambda found: (found["desired"], found["ready"]) == (1, 1))
        refused = await rig.post("/v1/processes/same/scale", {"auto": True}, status=422)
        assert "autoscale in its plan" in str(refused["errors"])

    metric = f"{{command: [cat, {tmp_path}/load]}}"
    play(
        tmp_path,
        body,
        f"processes: {{web: {{command: [sleep, '1000'], autoscale: {{{RULE}, metric: {metric}}}}}, same: {STAYS}}}",
    )


def test_a_process_follows_what_a_server_answers(tmp_path: Path) -> None:
    answers = ["200 OK", "503 Busy"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        text = b'{"more": "' + 20_000 * b"x" + b'", "jobs": [{"waiting": 25}]}'  # it does not come in one piece
        writer.write(f"HTTP/1.1 {answers[0]}\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text)
        await writer.drain()
        writer.close()

    async def body(rig: Rig) -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/queue"
        metric = f"{{url: '{url}', field: jobs.0.waiting}}"
        rig.plan.write_text(
            f"processes: {{web: {{command: [sleep, '1000'], autoscale: {{{RULE}, metric: {metric}}}}}}}"
        )
        async with server:
            assert (await rig.post("/v1/reload"))["outcome"] == "applied"  # a rule that comes with a reload is followed
            await rig.until("/v1/processes/web", lambda found: found["ready"] == 3)
            answers.reverse()
            found = await rig.until("/v1/processes/web", lambda found: found["autoscale"]["failures"])
            assert (found["desired"], found["autoscale"]["reason"]) == (
                3,
                "keeps 3: the metric's server answered 503, not 200-299",
            )

    play(tmp_path, body, "processes: {web: {command: [sleep, '1000']}}")


def test_logging_and_the_readiness_file_change_in_place(tmp_path: Path) -> None:
    old = "processes: {web: {command: [sh, -c, 'while read line; do echo $$line; done < pipe; exec sleep 1000'], logging: {labels: {}}}}"
    ready, other = tmp_path / "ready", tmp_path / "other"

    async def said(rig: Rig, count: int) -> list[str]:
        found = await rig.until("/v1/processes/web/logs", lambda found: len(found["lines"]) >= count)
        return [line["text"] for line in found["lines"]]

    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", all_up)
        pid = pids(rig, "web")
        with await asyncio.wait_for(asyncio.to_thread((tmp_path / "pipe").open, "w"), PATIENCE_S) as pipe:
            print("word one", file=pipe, flush=True)
            assert await said(rig, 1) == ["word one"]
            new = old.replace("{labels: {}}", "{redaction: {patterns: [{name: words, pattern: 'word'}]}}")
            rig.plan.write_text(new + f"\nglobal: {{readiness: {{path: {ready}}}}}\n")
            found = await rig.post("/v1/reload")
            assert (found["outcome"], found["changed"]) == (
                "applied", [{"name": "web", "keys": ["logging"], "restarts": False}]
            )  # fmt: skip
            assert ready.exists()
            print("word two", file=pipe, flush=True)
            assert (await said(rig, 2))[1] == "*** two"
            rig.plan.write_text(new + f"\nglobal: {{readiness: {{path: {other}}}}}\n")
            assert (await rig.post("/v1/reload"))["whole"] == ["readiness"]
            assert (ready.exists(), other.exists()) == (False, True)
            rig.plan.write_text(new)
            assert (await rig.post("/v1/reload"))["outcome"] == "applied"
            assert not other.exists()
        assert pids(rig, "web") == pid
        assert psutil.pid_exists(*pid)

    os.mkfifo(tmp_path / "pipe")
    play(tmp_path, body, old)
