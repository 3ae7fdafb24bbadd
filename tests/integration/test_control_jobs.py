"""The control API of a supervisor: scheduled processes, records of what happened, signals, the plan."""

from pathlib import Path

from control_rig import Rig, play

PLAN = """
hooks: {pre-start: [{name: boot, command: ["true"]}]}
processes:
  web:
    command: [sh, -c, "trap 'echo got it' USR1; echo ready $$hunter-word; while :; do sleep 0.02; done", --token, tell-nobody]
    env: {PIN: "4711", ANYTHING: hunter-value, OTHER: "word of hunter-value"}
    hooks: {pre-start: [{name: prepare, command: [sh, -c, "exit 4"], continue_on_error: true, retry: 1, retry_delay: 0.01}]}
  quick: {command: [sh, -c, "exit 5"], schedule: "0 0 1 1 *", heartbeat: {failure_url: "http://127.0.0.1:1/who-knows-this", retries: 0}}
  slow: {command: [sleep, "1000"], schedule: "0 0 1 1 *", schedule_timezone: Europe/Berlin}
  once: {command: ["true"], type: oneshot}
"""


def up(found: dict[str, list[dict[str, object]]]) -> bool:
    return [one["state"] for one in found["processes"]] == ["completed", "scheduled", "scheduled", "running"]


def test_a_scheduled_process_is_triggered_paused_and_remembered(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", up)
        at = "/v1/processes/quick/schedule"
        shown = await rig.get(at)
        assert (shown["state"], shown["expression"], shown["last_run"]) == ("idle", "0 0 1 1 *", None)
        assert shown["next_run"].endswith("-01-01T00:00:00Z")
        assert (await rig.get("/v1/processes/slow/schedule"))["next_run"].endswith("-12-31T23:00:00Z")
        paused = await rig.post(f"{at}/pause")
        assert (paused["state"], paused["next_run"]) == ("paused", None)
        assert "it is paused" in (await rig.post(f"{at}/pause", status=409))["detail"]
        ran = await rig.post(f"{at}/trigger?wait=30")  # also while it is paused
        assert ran["settled"]
        assert (ran["run"]["number"], ran["run"]["by"], ran["run"]["outcome"], ran["run"]["code"]) == (
            1,
            "hand",
            "failed",
            5,
        )
        assert (await rig.post(f"{at}/resume"))["state"] == "idle"
        assert "it is not paused" in (await rig.post(f"{at}/resume", status=409))["detail"]
        await rig.post(f"{at}/trigger?wait=30")
        assert [run["number"] for run in (await rig.get(f"{at}/history"))["runs"]] == [1, 2]
        assert [run["number"] for run in (await rig.get(f"{at}/history?limit=1"))["runs"]] == [2]
        shown = await rig.get(at)
        assert (shown["counts"], shown["skipped"], shown["last_run"]["number"]) == ({"failed": 2}, 0, 2)

    play(tmp_path, body, PLAN)


def test_a_run_that_goes_on_is_not_waited_for_and_refuses_another(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", up)
        at = "/v1/processes/slow/schedule"
        asked = await rig.post(f"{at}/trigger", status=202)
        assert (asked["settled"], asked["run"]["number"]) == (False, 1)
        shown = await rig.until(at, lambda one: one["state"] == "executing")
        assert [run["number"] for run in shown["current"]] == [1]
        assert "a run of it goes on (overlap: forbid)" in (await rig.post(f"{at}/trigger", status=409))["detail"]
        assert (await rig.get(at))["skipped"] == 0  # who was refused was told
        await rig.post("/v1/processes/slow/stop")
        assert (await rig.get(at))["state"] == "stopped"
        assert "start it first" in (await rig.post(f"{at}/trigger", status=409))["detail"]
        assert (await rig.get(f"{at}/history"))["runs"][0]["outcome"] == "stopped"

    play(tmp_path, body, PLAN)


SEVERAL = """
processes:
  many:
    command: [sh, -c, "trap 'echo run $$MILLRACE_RUN ends; exit 0' TERM; echo run $$MILLRACE_RUN of $$MILLRACE_INSTANCE; while :; do sleep 0.02; done"]
    schedule: "0 0 1 1 *"
    schedule_max_concurrent: 2
    hooks: {pre-start: [{command: [sh, -c, "echo hook of $$MILLRACE_RUN"]}]}
"""


def test_runs_side_by_side_are_told_apart_and_stopped_one_by_one(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        at = "/v1/processes/many/schedule"
        await rig.until("/v1/processes", lambda one: one["processes"][0]["state"] == "scheduled")
        for _ in range(2):
            await rig.post(f"{at}/trigger", status=202)
        said = {
            ("many-0", "hook of 1"),
            ("many-0", "run 1 of many-0"),
            ("many-1", "hook of 2"),
            ("many-1", "run 2 of many-1"),
        }
        await rig.until(
            "/v1/processes/many/logs", lambda one: {(line["instance"], line["text"]) for line in one["lines"]} == said
        )
        shown = await rig.get(at)
        assert (shown["overlap"], shown["max_concurrent"], shown["state"]) == ("allow", 2, "executing")
        assert [(run["number"], run["instance"]) for run in shown["current"]] == [(1, "many-0"), (2, "many-1")]
        assert 'millrace_supervisor_job_running{process="many"} 2\n' in (await rig.client.get("/metrics")).text
        assert "2 runs of it go on (overlap: allow)" in (await rig.post(f"{at}/trigger", status=409))["detail"]
        assert "these do: 1, 2" in (await rig.post(f"{at}/runs/7/stop", status=404))["detail"]
        for word in ("x", "02", "-1"):
            await rig.post(f"{at}/runs/{word}/stop", status=404)

        stopped = await rig.post(f"{at}/runs/2/stop")
        assert (stopped["settled"], stopped["run"]["outcome"], stopped["run"]["instance"]) == (
            True,
            "stopped",
            "many-1",
        )
        assert stopped["run"]["how"] == "asked to stop; exited with code 0"
        assert [run["number"] for run in (await rig.get(at))["current"]] == [1]
        assert [one["id"] for one in (await rig.get("/v1/processes/many"))["instances"]] == ["many-0"]
        # Kept, though its instance is gone; a shell says `Terminated` of a child that got the signal before it.
        lines = (await rig.get("/v1/processes/many/logs"))["lines"]
        assert ("many-1", "run 2 ends") in [(line["instance"], line["text"]) for line in lines]
        await rig.post(f"{at}/trigger", status=202)
        await rig.until(at, lambda one: [run["began"] is not None for run in one["current"]] == [True, True])
        await rig.post("/v1/processes/many/stop")
        runs = (await rig.get(f"{at}/history"))["runs"]
        assert sorted((run["number"], run["outcome"]) for run in runs) == [
            (1, "stopped"),
            (2, "stopped"),
            (3, "stopped"),
        ]
        assert 'millrace_supervisor_job_running{process="many"} 0\n' in (await rig.client.get("/metrics")).text

    play(tmp_path, body, SEVERAL)


def test_what_has_no_schedule_says_so(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", up)
        for verb in ("trigger", "pause", "resume"):
            found = await rig.post(f"/v1/processes/web/schedule/{verb}", status=404)
            assert "there is no schedule of web: it is a service" in found["detail"]
            await rig.post(f"/v1/processes/nix/schedule/{verb}", status=404)
        await rig.get("/v1/processes/web/schedule", status=404)
        await rig.get("/v1/processes/web/schedule/history", status=404)
        response = await rig.client.patch("/v1/processes/web", json={})
        assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, HEAD, PUT")

    play(tmp_path, body, PLAN)


def test_runs_and_hooks_are_remembered(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", up)
        (once,) = (await rig.get("/v1/runs?type=oneshot"))["runs"]
        assert (once["instance"], once["code"], once["why"], once["type"]) == ("once-0", 0, "well", "oneshot")
        assert once["began"] <= once["ended"]
        await rig.post("/v1/processes/web/restart")
        (web,) = (await rig.get("/v1/runs?process=web"))["runs"]
        assert (web["signal"], web["why"], web["code"]) == ("SIGTERM", "asked", None)
        hooks = (await rig.get("/v1/hooks"))["hooks"]
        assert [(one["instance"], one["hook"], one["attempt"]) for one in hooks] == [
            ("", "boot", 1), ("web-0", "prepare", 1), ("web-0", "prepare", 2), ("web-0", "prepare", 1), ("web-0", "prepare", 2),
        ]  # fmt: skip
        assert [one["fault"] for one in hooks[:2]] == [None, "exited with code 4"]
        assert len((await rig.get("/v1/hooks?process=web&limit=3"))["hooks"]) == 3
        assert (await rig.get("/v1/runs?type=nonsense", status=400))["errors"][0]["allowed"]
        await rig.get("/v1/runs?process=nix", status=404)
        await rig.get("/v1/runs?limit=0", status=400)

    play(tmp_path, body, PLAN)


def test_a_signal_reaches_the_main_process(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", up)
        await rig.until("/v1/processes/web/logs", lambda one: len(one["lines"]) >= 1)
        for word in ("usr1", "SIGUSR1", "10"):
            sent = await rig.post("/v1/processes/web/signal", {"signal": word})
            assert sent == {"process": "web", "signal": "SIGUSR1", "sent": 1}
        await rig.until("/v1/processes/web/logs", lambda one: any(line["text"] == "got it" for line in one["lines"]))
        assert "is no signal" in (await rig.post("/v1/processes/web/signal", {"signal": "NOPE"}, status=422))["detail"]
        assert (
            "nothing of it runs"
            in (await rig.post("/v1/processes/once/signal", {"signal": "HUP"}, status=409))["detail"]
        )

    play(tmp_path, body, PLAN)


def test_the_plan_is_shown_without_secrets(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes", up)
        response = await rig.client.get("/v1/plan")
        plan = response.json()["plan"]
        assert plan["processes"]["web"]["env"] == {"PIN": "***", "ANYTHING": "***", "OTHER": "***"}
        assert plan["processes"]["web"]["command"][-2:] == ["--token", "***"]
        assert plan["processes"]["quick"]["schedule"]["heartbeat"]["failure_url"] == "http://127.0.0.1/***"
        assert plan["processes"]["slow"]["schedule"] == {"expression": "0 0 1 1 *", "zone": "Europe/Berlin"}
        assert not [word for word in ("hunter-value", "tell-nobody", "who-knows-this") if word in response.text]

    play(tmp_path, body, PLAN)


def test_the_last_lines_of_all(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        found = await rig.until("/v1/logs", lambda one: len(one["lines"]) == 1)
        assert found["lines"][0]["instance"] == "web-0"
        await rig.get("/v1/logs?limit=0", status=400)

    play(tmp_path, body, PLAN)


def test_what_processes_use_is_measured_while_somebody_asks(tmp_path: Path) -> None:
    text = """
processes:
  busy: {command: [sh, -c, "(setsid sh -c 'setsid sleep 1000 & exec sleep 1000') & while :; do :; done"]}
  idle: {command: [sleep, "1000"]}
"""

    async def body(rig: Rig) -> None:
        # The shell, what left its session, and what that has orphaned or keeps.
        found = await rig.until("/v1/resources", lambda one: [len(i["samples"]) for i in one["instances"]] == [1, 1])
        assert found["period_s"] > 0
        found = await rig.until(
            "/v1/processes/busy/resources",
            lambda one: (
                len(one["instances"][0]["samples"]) >= 2 and one["instances"][0]["samples"][-1]["processes"] >= 3
            ),
        )
        first, last = found["instances"][0]["samples"][0], found["instances"][0]["samples"][-1]
        assert first["cpu_percent"] is None
        assert last["cpu_percent"] > 0
        assert last["cpu_s"] > first["cpu_s"] >= 0
        assert 0 < last["pss_bytes"] < last["rss_bytes"]
        assert last["descriptors"] >= 3
        assert last["threads"] >= 3
        after = await rig.get(f"/v1/processes/busy/resources?since={last['at']}")
        assert all(one["at"] > last["at"] for one in after["instances"][0]["samples"])
        await rig.get("/v1/processes/busy/resources?since=yesterday", status=400)
        await rig.get("/v1/processes/nix/resources", status=404)

    play(tmp_path, body, text)
