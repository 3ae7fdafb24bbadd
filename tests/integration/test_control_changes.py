# ruff: noqa: ASYNC240  a few small files are looked at between two requests
"""Processes that are added, changed and removed over the control API, and saved beside the plan."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from control_rig import KEY, PATIENCE_S, Rig, play

from millrace.domain.roles import Role
from millrace.edge.access import GRANTS, PEER, Peer, PeerRule, Rules
from millrace.edge.keys import Key, Keys
from millrace.programs.control_server import remote
from millrace.programs.http.listen import listen, url_of
from millrace.supervisor.control.app import control_app
from millrace.supervisor.plans.file import PlanFile
from millrace.supervisor.plans.layers import Amendments, Layers, Saving

PLAN = """\
# A comment of somebody.
processes:
  db: {command: [sleep, "1000"], env: {PASSWORD: hunter2}, rolling: {min_ready: 0}}
  web: {command: [sleep, "1000"], depends_on: [db], scale: 2, rolling: {min_ready: 0}}   # and another
"""
SLEEP = {"command": ["sleep", "1000"], "rolling": {"min_ready": 0}}


def pids(rig: Rig, name: str) -> set[int]:
    return {facts.pid for each, facts in rig.keeper.facts.items() if each.process == name and facts.pid}


async def up(rig: Rig) -> dict[str, set[int]]:
    """Wait until everything is, and say which processes that are."""
    await rig.until("/v1/health", lambda found: found["ready"])
    return {name: pids(rig, name) for name in rig.keeper.plan.processes}


async def ask(rig: Rig, method: str, path: str, body: object = None, *, status: int, **headers: str) -> Any:
    answer = await rig.client.request(method, path, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def heeds(ready: str) -> dict[str, Any]:
    """A process that counts as up once it would hear that it is to stop."""
    script = f"trap 'echo gone > stopped; exit 0' TERM; echo > {ready}; while :; do sleep 0.02; done"
    check = {"type": "exec", "command": ["test", "-e", ready], "period": 0.02}
    return {**SLEEP, "command": ["sh", "-c", script], "health_check": check}


def test_a_process_is_added_changed_and_removed_and_no_other_is_touched(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        before = await up(rig)
        made = await rig.client.post("/v1/processes", json={"name": "extra", "process": heeds("one")})
        assert (made.status_code, made.headers["location"]) == (201, "/v1/processes/extra"), made.text
        assert (made.json()["outcome"], made.json()["added"], made.json()["changed"]) == ("applied", ["extra"], [])
        shown = await rig.get("/v1/processes/extra")
        assert (shown["state"], shown["ready"], shown["origin"]) == ("running", 1, "unsaved")
        first = pids(rig, "extra")
        done = await ask(rig, "PUT", "/v1/processes/extra", {"process": heeds("two")}, status=200)
        assert done["changed"] == [{"name": "extra", "keys": ["command", "health_check"], "restarts": True}]
        assert not pids(rig, "extra") & first
        (tmp_path / "stopped").unlink()
        await ask(rig, "DELETE", "/v1/processes/extra", status=204)
        assert (tmp_path / "stopped").read_text() == "gone\n"  # it was told to stop, and had the time for it
        await rig.get("/v1/processes/extra", status=404)
        assert {name: pids(rig, name) for name in before} == before
        assert (await rig.get("/v1/config"))["changed"] == []

    play(tmp_path, body, PLAN)


def test_a_process_of_the_plan_is_changed_and_removed_too(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        before = await up(rig)
        await ask(
            rig,
            "PUT",
            "/v1/processes/web",
            {"yaml": "# mine\ncommand: [sleep, '2000']\nrolling: {min_ready: 0}"},
            status=200,
        )
        assert len(pids(rig, "web")) == 1
        assert pids(rig, "db") == before["db"]
        await ask(rig, "DELETE", "/v1/processes/web", status=204)
        found = await rig.get("/v1/config")
        assert found["changed"] == [{"name": "web", "change": "removed", "saved": False}]
        assert (found["plan"], found["saved_in"]) == (str(rig.plan), f"{rig.plan}.changes")
        # What was taken out may come back as another.
        await ask(rig, "POST", "/v1/processes", {"name": "web", "process": SLEEP}, status=201)
        assert (await rig.get("/v1/config"))["changed"] == [{"name": "web", "change": "changed", "saved": False}]

    play(tmp_path, body, PLAN)


def test_what_cannot_be_done_says_why_and_changes_nothing(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        before = await up(rig)
        new = {"name": "extra", "process": SLEEP}
        found = await ask(rig, "POST", "/v1/processes", {**new, "name": "web"}, status=409)
        assert (
            found["detail"]
            == "cannot add web: there is a process of that name; change it instead (PUT, or `millrace ctl set`)"
        )
        await ask(rig, "PUT", "/v1/processes/nix", {"process": SLEEP}, status=404)
        await ask(rig, "DELETE", "/v1/processes/nix", status=404)
        found = await ask(rig, "DELETE", "/v1/processes/db", status=409)
        assert found["detail"] == "cannot remove db: web depends on it"
        wrong = {"command": [], "scale": -1, "depends_on": ["db1"], "comand": ["x"], "env": {"A": 5, "B-": "x"}}
        found = await ask(rig, "POST", "/v1/processes", {"name": "extra", "process": wrong}, status=422)
        assert found["detail"].startswith("cannot add extra, and nothing was changed: ")
        faults = {one["field"].removeprefix("processes.extra."): one["message"] for one in found["errors"]}
        assert set(faults) == {"command", "scale", "depends_on", "comand", "env.B-"}
        assert faults["depends_on"].startswith("names db1, and no enabled process is called that; did you mean db?")
        assert "did you mean command?" in faults["comand"]
        assert (await ask(rig, "POST", "/v1/processes?dry_run=true", {"name": "extra", "process": wrong}, status=422))[
            "errors"
        ] == found["errors"]
        assert await ask(
            rig, "PUT", "/v1/processes/web", {"process": {"command": ["x"], "depends_on": ["web"]}}, status=422
        )
        off = await ask(
            rig, "POST", "/v1/processes", {"name": "extra", "process": {**SLEEP, "enabled": False}}, status=422
        )
        assert off["errors"][0]["field"] == "process.enabled"
        await ask(rig, "POST", "/v1/processes?wait=soon", new, status=400)
        await ask(rig, "POST", "/v1/processes?name=x", new, status=400)
        assert {name: pids(rig, name) for name in rig.keeper.plan.processes} == before
        assert (await rig.get("/v1/config"))["changed"] == []

    play(tmp_path, body, PLAN)


@pytest.mark.parametrize("name", ["../x", "a.b", "x: y", "-x", "é", "a" * 65, "x\n", "__proto__", "0"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    async def body(rig: Rig) -> None:
        found = await ask(rig, "POST", "/v1/processes", {"name": name, "process": SLEEP}, status=422)
        assert found["errors"][0]["field"] == "name"

    play(tmp_path, body, PLAN)


BOMB = "a: &a [x, x, x]\nb: &b [*a, *a]\ncommand: *b"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "x"}, 422),
        ({"name": "x", "process": SLEEP, "yaml": "command: [x]"}, 422),
        ({"name": "x", "yaml": BOMB}, 422),
        ({"name": "x", "yaml": "[" * 20_000}, 422),
        ({"name": "x", "yaml": "{a: " * 3_000}, 422),
        ({"name": "x", "yaml": "command: [x]\n---\ncommand: [y]"}, 422),
        ({"name": "x", "yaml": "command: !!python/object/apply:os.system [id]"}, 422),
        ({"name": "x", "yaml": "command: [x]\ncommand: [y]"}, 422),
        ({"name": "x", "yaml": "? [a, b]\n: c"}, 422),
        ({"name": "x", "yaml": "command: [x]\nscale: " + "9" * 5000}, 422),
        ({"name": "x", "yaml": "just words"}, 422),
        ({"name": "x", "yaml": ""}, 422),
        ({"name": "x", "yaml": "command: [x]\n" + "#" * 2**16}, 400),
        ({"name": "x", "process": {"command": ["x"] * 100_000}}, 413),
        ({"name": "x", "process": {"command": ["a\u0000b"]}}, 400),
        ({"name": "x", "process": ["command"]}, 400),
        ({"name": "x", "process": SLEEP, "force": True}, 400),
        ({"name": 5, "process": SLEEP}, 400),
        ({"process": SLEEP}, 400),
        ([], 400),
    ],
)  # fmt: skip
def test_hostile_bodies_are_refused_and_the_supervisor_goes_on(tmp_path: Path, body: object, status: int) -> None:
    async def game(rig: Rig) -> None:
        before = await up(rig)
        found = await ask(rig, "POST", "/v1/processes", body, status=status)
        assert found["detail"].startswith("cannot ")
        assert {name: pids(rig, name) for name in rig.keeper.plan.processes} == before

    play(tmp_path, game, PLAN)


def test_one_that_does_not_get_up_is_taken_back_and_forgotten(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        before = await up(rig)
        bad = {"command": ["sh", "-c", "exit 3"], "restart": "never"}
        found = await ask(rig, "POST", "/v1/processes", {"name": "bad", "process": bad}, status=422)
        assert found["type"].endswith("taken-back")
        assert found["detail"] == (
            "cannot add bad: it was taken back, and the plan before is in force: bad-0 has failed: exited with code 3"
        )
        await rig.get("/v1/processes/bad", status=404)
        found = await ask(rig, "PUT", "/v1/processes/web", {"process": {**bad, "depends_on": ["db"]}}, status=422)
        await rig.until(
            "/v1/processes", lambda found: all(one["ready"] == one["desired"] for one in found["processes"])
        )
        assert len(pids(rig, "web")) == 2
        assert pids(rig, "db") == before["db"]
        # Neither comes back with the next change, or from the file.
        await ask(rig, "POST", "/v1/processes", {"name": "good", "process": SLEEP}, status=201)
        assert (await rig.post("/v1/reload"))["unsaved"] == ["good"]
        assert sorted(rig.keeper.plan.processes) == ["db", "good", "web"]
        assert [one["name"] for one in (await rig.get("/v1/config"))["changed"]] == ["good"]

    play(tmp_path, body, "global: {reload: {timeout: 20s}}\n" + PLAN)


def test_who_means_another_plan_than_the_one_in_force_changes_nothing(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await up(rig)
        seen = await rig.client.get("/v1/plan")
        tag = seen.headers["etag"]
        assert tag == (await rig.client.get("/v1/processes/web/definition")).headers["etag"]
        one, other = ({"name": name, "process": SLEEP} for name in ("one", "other"))
        dry = await rig.client.post("/v1/processes?dry_run=true", json=one, headers={"if-match": tag})
        assert (dry.status_code, dry.headers["etag"]) == (200, tag)
        made = await rig.client.post("/v1/processes", json=one, headers={"if-match": f'"x", {tag}'})
        assert made.status_code == 201
        found = await ask(rig, "POST", "/v1/processes", other, status=412, **{"if-match": tag})
        assert found["detail"].startswith(f"cannot change the plan: it is {made.headers['etag']} now, and not {tag}")
        await ask(
            rig, "PUT", "/v1/processes/one", {"process": SLEEP}, status=412, **{"if-match": f"W/{made.headers['etag']}"}
        )
        await ask(rig, "DELETE", "/v1/processes/one", status=412, **{"if-match": tag})
        await ask(rig, "POST", "/v1/config/save", status=412, **{"if-match": tag})
        assert sorted(rig.keeper.plan.processes) == ["db", "one", "web"]
        # A change of the file makes another plan of it, too; reading the same again does not.
        await rig.post("/v1/reload")
        assert (await rig.client.get("/v1/plan")).headers["etag"] == made.headers["etag"]
        rig.plan.write_text(PLAN.replace("scale: 2", "scale: 1"))
        await rig.post("/v1/reload")
        await ask(rig, "DELETE", "/v1/processes/one", status=412, **{"if-match": made.headers["etag"]})
        await ask(rig, "DELETE", "/v1/processes/one", status=204, **{"if-match": "*"})

    play(tmp_path, body, PLAN)


def test_what_is_saved_is_what_was_sent_and_the_plan_stays_as_it_was(tmp_path: Path) -> None:
    environ = {"WORD": "word-of-the-shop", "MANY": "2"}
    sent = "command: [sh, -c, 'echo $$SHOP says ${WORD}; exec sleep 1000']\nenv: {SHOP: '${WORD}', OTHER: hunter3}\nscale: ${MANY}\nrolling: {min_ready: 0}\n"

    async def body(rig: Rig) -> None:
        await up(rig)
        place = Path(f"{rig.plan}.changes")
        assert (await rig.post("/v1/config/save"))["processes"] == []
        assert not place.exists()
        await ask(rig, "POST", "/v1/processes", {"name": "shop", "yaml": sent}, status=201)
        assert rig.keeper.plan.processes["shop"].env["SHOP"] == "word-of-the-shop"
        assert rig.keeper.plan.processes["shop"].scale == 2
        await ask(rig, "DELETE", "/v1/processes/web", status=204)
        assert not place.exists()
        done = await rig.post("/v1/config/save")
        assert (done["saved_in"], done["processes"]) == (str(place), ["shop", "web"])
        text = place.read_text()
        assert "word-of-the-shop" not in text
        assert "SHOP: '${WORD}'" in text
        assert "removed: [web]" in text
        assert place.stat().st_mode & 0o777 == 0o600
        assert rig.plan.read_text() == PLAN
        assert sorted(one.name for one in tmp_path.iterdir()) == [
            "plan.yaml",
            "plan.yaml.changes",
            "s.sock",
            "s.sock.lock",
        ]
        assert {(one["name"], one["saved"]) for one in (await rig.get("/v1/config"))["changed"]} == {
            ("shop", True),
            ("web", True),
        }
        assert (await rig.get("/v1/processes/shop"))["origin"] == "saved"
        # The same plan comes of it at the next start.
        again = PlanFile(rig.plan, environ).read()
        assert again == rig.keeper.plan
        assert (await rig.post("/v1/reload"))["unchanged"] == ["db", "shop"]
        # What the plan does not have need not be remembered as removed.
        await ask(rig, "DELETE", "/v1/processes/shop", status=204)
        await ask(rig, "POST", "/v1/processes", {"name": "web", "process": SLEEP}, status=201)
        assert (await rig.post("/v1/config/save"))["processes"] == ["web"]
        assert "shop" not in place.read_text()

    play(tmp_path, body, PLAN, environ=environ)


def test_what_cannot_be_saved_is_told_and_stays_unsaved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    async def body(rig: Rig) -> None:
        await up(rig)
        await ask(rig, "POST", "/v1/processes", {"name": "extra", "process": SLEEP}, status=201)
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "mkstemp", refuse)
            found = await rig.post("/v1/config/save", status=409)
        assert found["detail"] == (
            f"cannot save to {rig.plan}.changes: permission denied; let this user write to that folder, name a place with "
            "--changes, or change the plan itself and reload"
        )
        # The plan was edited meanwhile, and with it the next start would not work.
        rig.plan.write_text(PLAN + "  extra2: {command: []}\n")
        found = await rig.post("/v1/config/save", status=422)
        assert "processes.extra2.command is missing" in found["detail"]
        rig.plan.write_text(PLAN)
        # A change that may still be taken back is not saved.
        waits = {
            "command": ["sleep", "1000"],
            "health_check": {"type": "exec", "command": ["test", "-e", "go"], "period": 0.05},
        }
        await ask(rig, "POST", "/v1/processes?wait=0", {"name": "slow", "process": waits}, status=202)
        assert "may be taken back" in (await rig.post("/v1/config/save", status=409))["detail"]
        (tmp_path / "go").touch()
        await rig.until("/v1/reload", lambda found: found["outcome"] == "applied")
        assert (await rig.post("/v1/config/save"))["processes"] == ["extra", "slow"]

    play(tmp_path, body, PLAN)


def test_a_reload_keeps_what_was_not_saved_and_drops_it_when_told(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await up(rig)
        await ask(
            rig, "POST", "/v1/processes", {"name": "extra", "process": {**SLEEP, "depends_on": ["db"]}}, status=201
        )
        before = pids(rig, "extra")
        rig.plan.write_text(PLAN.replace("scale: 2", "scale: 1"))
        # A change here takes in nothing of the file that nobody has reloaded.
        await ask(rig, "POST", "/v1/processes", {"name": "more", "process": SLEEP}, status=201)
        assert rig.keeper.plan.processes["web"].scale == 2
        done = await rig.post("/v1/reload")
        assert (done["unsaved"], done["dropped"], done["removed"]) == (["extra", "more"], [], [])
        assert rig.keeper.plan.processes["web"].scale == 1
        assert pids(rig, "extra") == before
        # The new text does not fit with what was added.
        rig.plan.write_text("processes: {web: {command: [sleep, '1000']}}")
        found = await rig.post("/v1/reload", status=422)
        assert "the API: processes.extra.depends_on names db" in found["detail"]
        rig.plan.write_text(PLAN)
        seen = await rig.post("/v1/reload?dry_run=true&discard=true")
        assert (seen["dropped"], seen["removed"]) == (["extra", "more"], ["extra", "more"])
        assert pids(rig, "extra") == before
        done = await rig.post("/v1/reload?discard=true")
        assert (done["dropped"], done["unsaved"], done["removed"]) == (["extra", "more"], [], ["extra", "more"])
        assert (await rig.get("/v1/config"))["changed"] == []
        # A plan that is taken back brings back what it had dropped.
        await ask(rig, "POST", "/v1/processes", {"name": "extra", "process": SLEEP}, status=201)
        rig.plan.write_text(PLAN + "  bad: {command: [sh, -c, 'exit 3'], restart: never}\n")
        assert (await rig.post("/v1/reload?discard=true"))["outcome"] == "rolled-back"
        assert [one["name"] for one in (await rig.get("/v1/config"))["changed"]] == ["extra"]
        await rig.get("/v1/processes/extra")

    play(tmp_path, body, PLAN)


def test_a_change_while_the_plan_is_read_is_neither_lost_nor_taken_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(rig: Rig) -> None:
        await up(rig)
        source = rig.supervisor.reloader.source
        reads, begun, go_on = source.read, asyncio.Event(), asyncio.Event()

        async def read(unsaved: Amendments) -> Layers:
            found = await reads(unsaved)
            begun.set()
            await go_on.wait()
            return found

        with monkeypatch.context() as patch:
            patch.setattr(source, "read", read)
            reload = asyncio.create_task(rig.client.post("/v1/reload"))
            async with asyncio.timeout(PATIENCE_S):
                await begun.wait()
            await ask(rig, "POST", "/v1/processes", {"name": "extra", "process": SLEEP}, status=201)
            go_on.set()
            answer = (await reload).json()
        assert (answer["outcome"], answer["unsaved"]) == ("applied", ["extra"])
        assert sorted(rig.keeper.plan.processes) == ["db", "extra", "web"]
        # Who saves what was seen does not save what came meanwhile.
        tag = (await rig.client.get("/v1/plan")).headers["etag"]
        saves = source.saving
        begun.clear()
        go_on.clear()

        async def saving(layers: Layers) -> Saving:
            found = await saves(layers)
            begun.set()
            await go_on.wait()
            return found

        monkeypatch.setattr(source, "saving", saving)
        save = asyncio.create_task(rig.client.post("/v1/config/save", headers={"if-match": tag}))
        async with asyncio.timeout(PATIENCE_S):
            await begun.wait()
        await ask(rig, "POST", "/v1/processes", {"name": "more", "process": SLEEP}, status=201)
        go_on.set()
        assert (await save).status_code == 412
        assert not Path(f"{rig.plan}.changes").exists()
        assert (await rig.post("/v1/config/save"))["processes"] == ["extra", "more"]

    play(tmp_path, body, PLAN)


def test_secrets_are_shown_nowhere_and_stay_when_a_process_is_edited(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await up(rig)
        found = await rig.get("/v1/processes/db/definition")
        assert found["process"] == {
            "command": ["sleep", "1000"],
            "env": {"PASSWORD": "***"},
            "rolling": {"min_ready": 0},
        }
        assert "hunter2" not in str(found)
        edited = {**found["process"], "nice": 2}
        dry = await ask(rig, "PUT", "/v1/processes/db?dry_run=true", {"process": edited}, status=200)
        assert "PASSWORD: '***'" in dry["yaml"]
        new = {"name": "new", "process": {**SLEEP, "env": {"A": "typed"}}}
        assert "A: typed" in (await ask(rig, "POST", "/v1/processes?dry_run=true", new, status=200))["yaml"]
        await ask(rig, "PUT", "/v1/processes/db", {"process": edited}, status=200)
        assert rig.keeper.plan.processes["db"].env == {"PASSWORD": "hunter2"}
        assert len((await rig.get("/v1/audit?process=db"))["entries"]) == 1  # what was only asked is no change
        edited["env"] = {"PASSWORD": "***", "OTHER": "***"}
        found = await ask(rig, "PUT", "/v1/processes/db", {"process": edited}, status=422)
        assert [one["field"] for one in found["errors"]] == ["processes.db.env.OTHER"]
        edited["env"] = {"PASSWORD": "***", "PLAIN": "hunter3", "DSN": "postgres://u:hunter4@h/db"}
        edited["command"] = ["sleep", "1000"]
        await ask(rig, "PUT", "/v1/processes/db", {"process": edited}, status=200)
        await ask(rig, "PUT", "/v1/processes/db", {"yaml": "command: [sleep, '1000'\nenv: {A: hunter5}"}, status=422)
        trail = await rig.client.get("/v1/audit?process=db")
        assert "hunter" not in trail.text
        entries = [one for one in trail.json()["entries"] if one["status"] == 200]
        assert entries[-1]["request"]["process"]["env"] == {"PASSWORD": "***", "PLAIN": "***", "DSN": "***"}
        assert entries[-1]["before"]["process"]["env"] == {"PASSWORD": "***"}
        assert set(entries[-1]["after"]["process"]["env"]) == {"PASSWORD", "PLAIN", "DSN"}
        assert entries[-1]["before"]["plan"] != entries[-1]["after"]["plan"]
        for path in ("/v1/plan", "/v1/config", "/v1/processes", "/v1/reload", "/v1/processes/db/definition"):
            assert "hunter" not in (await rig.client.get(path)).text
        await ask(rig, "POST", "/v1/processes", {"name": "extra", "process": SLEEP}, status=201)
        (entry,) = (await rig.get("/v1/audit?process=extra"))["entries"]
        assert (entry["caller"], entry["path"], entry["before"]["process"]) == (
            f"uid:{os.geteuid()}",
            "/v1/processes",
            None,
        )
        assert entry["after"]["process"]["command"] == ["sleep", "1000"]

    play(tmp_path, body, PLAN)


@asynccontextmanager
async def door(rig: Rig, role: Role) -> AsyncIterator[httpx2.AsyncClient]:
    keys = Keys([Key(secret=KEY, name="it", role=role.value, grants=GRANTS[role])], now_s=time.time)
    opened = listen("127.0.0.1", 0)
    async with (
        remote(rig.supervisor, opened, lambda: Rules(keys=keys)),
        httpx2.AsyncClient(
            base_url=url_of(opened, tls=False), headers={"x-api-key": KEY}, timeout=PATIENCE_S
        ) as asking,
    ):
        yield asking


CHANGES = (
    ("POST", "/v1/processes", {"name": "extra", "process": SLEEP}),
    ("POST", "/v1/processes?dry_run=true", {"name": "extra", "process": SLEEP}),
    ("PUT", "/v1/processes/web", {"process": SLEEP}),
    ("DELETE", "/v1/processes/web", None),
    ("POST", "/v1/config/save", None),
)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.WORKER])
def test_only_admins_change_processes(tmp_path: Path, role: Role) -> None:
    async def body(rig: Rig) -> None:
        before = await up(rig)
        async with door(rig, role) as asking:
            for method, path, request in CHANGES:
                answer = await asking.request(method, path, json=request)
                assert (answer.status_code, answer.json()["detail"]) == (
                    403,
                    f"cannot answer: you may not `admin` here with role {role.value}",
                )
        assert {name: pids(rig, name) for name in rig.keeper.plan.processes} == before

    play(tmp_path, body, "global: {control: {changes: admin}}\n" + PLAN)


def test_over_tcp_the_plan_has_to_allow_it(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        before = await up(rig)
        async with door(rig, Role.ADMIN) as asking:
            for method, path, request in CHANGES:
                answer = await asking.request(method, path, json=request)
                assert answer.status_code == 403
                assert "set `global: {control: {changes: admin}}` in it" in answer.json()["detail"]
            assert (await asking.get("/v1/config")).json()["may_change"] is False
            assert (await rig.get("/v1/config"))["may_change"] is True
            assert {name: pids(rig, name) for name in rig.keeper.plan.processes} == before
            rig.plan.write_text("global: {control: {changes: admin}}\n" + PLAN)
            await rig.post("/v1/reload")
            assert (await asking.get("/v1/config")).json()["may_change"] is True
            answer = await asking.post("/v1/processes", json={"name": "extra", "process": SLEEP})
            assert answer.status_code == 201, answer.text
            # The API changes processes, and never what it may do itself.
            rig.plan.write_text("global: {control: {changes: never}}\n" + PLAN)
            await rig.post("/v1/reload")
            for method, path, request in CHANGES:
                found = await ask(rig, method, path, request, status=403)
                assert "the plan lets nobody; set `global: {control: {changes: owner}}`" in found["detail"]

    play(tmp_path, body, PLAN)


def test_another_user_on_the_socket_needs_the_leave_of_the_plan_too(tmp_path: Path) -> None:
    """An access file may have made somebody an admin before admins could run programs as the supervisor's user."""

    async def body(rig: Rig) -> None:
        await up(rig)
        uid = 4242
        edge = control_app(rig.supervisor, rules=lambda: Rules(peers=(PeerRule(role=Role.ADMIN, uid=uid),)))

        async def as_peer(scope: Any, receive: Any, send: Any) -> None:
            await edge({**scope, "state": {PEER: Peer(pid=1, uid=uid)}}, receive, send)

        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=as_peer), base_url="http://it") as asking:
            for method, path, request in CHANGES:
                answer = await asking.request(method, path, json=request)
                assert (answer.status_code, "changes: admin" in answer.json()["detail"]) == (403, True)
            rig.plan.write_text("global: {control: {changes: admin}}\n" + PLAN)
            await rig.post("/v1/reload")
            answer = await asking.post("/v1/processes", json={"name": "extra", "process": SLEEP})
            assert answer.status_code == 201, answer.text

    play(tmp_path, body, PLAN)


def test_of_two_changes_that_are_on_their_way_both_are_taken_back_if_one_fails(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        before = await up(rig)
        bad = {"command": ["sh", "-c", "until [ -e go ]; do sleep 0.02; done; exit 3"], "restart": "never",
               "health_check": {"type": "exec", "command": ["false"], "period": 0.02, "failure_threshold": 100, "mode": "readiness"}}  # fmt: skip
        await ask(rig, "POST", "/v1/processes?wait=0", {"name": "bad", "process": bad}, status=202)
        second = asyncio.create_task(rig.client.post("/v1/processes", json={"name": "good", "process": SLEEP}))
        await rig.until("/v1/reload", lambda found: found["number"] == 2)
        (tmp_path / "go").touch()
        answer = await second
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (422, "taken-back")
        assert {name: pids(rig, name) for name in rig.keeper.plan.processes} == before
        assert (await rig.get("/v1/config"))["changed"] == []

    play(tmp_path, body, PLAN)
