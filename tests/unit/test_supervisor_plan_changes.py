"""Changes on top of a plan: how they are kept, saved beside it, read again, and shown without secrets."""

import os
from pathlib import Path

import pytest

from millrace.supervisor.plans import saved
from millrace.supervisor.plans.amendments import amendments_from, text_of
from millrace.supervisor.plans.definition import entry_from
from millrace.supervisor.plans.file import PlanFile
from millrace.supervisor.plans.findings import PlanError
from millrace.supervisor.plans.layering import changed
from millrace.supervisor.plans.masks import masked, unmasked
from millrace.supervisor.yaml_text import Findings, node_in, spelled
from millrace.telemetry.redact import Redactor

PLAN = "processes: {web: {command: [web], scale: 2}, db: {command: [db]}}\n"


def plan_file(folder: Path, changes: str | None = None, **environ: str) -> PlanFile:
    (folder / "plan.yaml").write_text(PLAN)
    if changes is not None:
        place = folder / "plan.yaml.changes"
        place.write_text(changes)
        place.chmod(0o600)
    return PlanFile(folder / "plan.yaml", environ)


def faults(source: PlanFile) -> list[str]:
    with pytest.raises(PlanError) as caught:
        source.read()
    return [str(finding) for finding in caught.value.findings]


def test_what_is_kept_reads_as_what_was_meant_with_its_variables_as_they_stand(tmp_path: Path) -> None:
    sent = "# a comment\ncommand: [sh, -c, 'a: b # c', \"${X}\", 010]\nscale: ${N}\nenv: {A: \"${S}\", B: '010'}\nworking_dir: |-\n  /tmp\n"
    text = text_of({"new": entry_from(sent), "db": None})
    assert amendments_from(text) == amendments_from(text_of(amendments_from(text)))
    plan = plan_file(tmp_path, text, X="x: y", N="3", S="${N}").read()
    new = plan.processes["new"]
    assert new.command == ("sh", "-c", "a: b # c", "x: y", "010")
    assert (new.scale, new.env, new.working_dir) == (3, {"A": "${N}", "B": "010"}, Path("/tmp"))
    assert sorted(plan.processes) == ["new", "web"]
    assert text_of({}) == "{}\n"
    assert amendments_from(text_of({})) == {}


def test_overrides_are_stronger_and_each_change_takes_the_place_of_the_whole_process(tmp_path: Path) -> None:
    source = plan_file(tmp_path, "processes: {web: {command: [other]}}", MILLRACE_SUPERVISE_PROCESS_WEB_NICE="3")
    web = source.read().processes["web"]
    assert (web.command, web.scale, web.execution.nice) == (("other",), 1, 3)
    # A plan without a mapping of processes says so itself.
    assert changed(source.load(), {}, "new", "{command: [x]}").plan.processes["new"].command == ("x",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[web]", "must be a mapping; allowed: processes, removed, version"),
        ("global: {shutdown_timeout: 1s}", "holds 'global'; allowed: processes, removed, version"),
        ("processes: [web]", "has no mapping under processes"),
        ("removed: {web: 1}", "has no list of names under removed"),
        ("processes: {web: {command: [x]}}\nremoved: [web]", "names web twice; keep one"),
        ("processes: {web: {command: [x]}, web: {command: [y]}}", "names web twice; keep one"),
        ("processes: {web: {command: [x], command: [y]}}", "stands twice"),
        ("processes: {web: {command: []}}", "processes.web.command is missing"),
        ("processes: {web: &a {command: [x]}, b: *a}", "aliases are not allowed"),
        ("processes: {web: 5}", "must be a mapping"),
        ("", "is empty"),
        ("{", "is no valid YAML"),
    ],
)
def test_a_file_of_changes_that_cannot_be_used_says_why(tmp_path: Path, text: str, why: str) -> None:
    found = faults(plan_file(tmp_path, text))
    assert any(one.startswith("plan.yaml.changes: ") and why in one for one in found), found


def test_who_can_put_a_file_into_the_folder_does_not_decide_what_runs(tmp_path: Path) -> None:
    source = plan_file(tmp_path, "processes: {evil: {command: [evil]}}")
    place = source.changes
    assert "evil" in source.read().processes
    place.chmod(0o666)
    assert "can be written by others; look at it, then chmod go-w or delete it" in faults(source)[0]
    place.chmod(0o620)
    assert "can be written by others" in faults(source)[0]
    other = tmp_path / "other"
    place.chmod(0o600)
    place.rename(other)
    place.symlink_to(other)
    assert "cannot be read: Too many levels of symbolic links" in faults(source)[0]
    place.unlink()
    os.mkfifo(place, 0o600)
    assert "is no file; delete it" in faults(source)[0]
    place.unlink()
    assert sorted(source.read().processes) == ["db", "web"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_not_heeded(tmp_path: Path) -> None:
    source = plan_file(tmp_path, "processes: {evil: {command: [evil]}}")
    os.chown(source.changes, 12345, 12345)
    assert "belongs to the user 12345, and the plan to 0; look at it, then chown or delete it" in faults(source)[0]
    os.chown(source.path, 12345, 12345)  # who owns the plan decides what runs anyway
    assert "evil" in source.read().processes


def test_no_pattern_of_an_include_takes_it_in(tmp_path: Path) -> None:
    source = plan_file(tmp_path, "processes: {web: {command: [other]}}")
    (tmp_path / "main.yaml").write_text("include: ['p*.yaml']\n")
    assert PlanFile(tmp_path / "main.yaml", {}).read().processes["web"].command == ("web",)
    assert source.changes in source.files()


def test_nothing_to_save_takes_the_file_away(tmp_path: Path) -> None:
    place = tmp_path / "x.changes"
    assert saved.load(place, owner=0, most=10) is None
    saved.keep(place, "processes: {}\n")
    assert saved.load(place, owner=0, most=100) == "processes: {}\n"
    assert saved.load(place, owner=0, most=3) == "proc"
    saved.keep(place, "")
    saved.keep(place, "")
    assert list(tmp_path.iterdir()) == []


SECRET = """\
command: [run, --token, abcdef, "--password=hunter2", "${ARG}"]
env: {A: plain, B: "${B}", C: "${C:?}", D: "${D:-hunter3}", E: "x${E}"}
heartbeat: {success_url: https://hc.example/ping/uuid, retries: 2}
health_check: {type: http, url: "http://u:hunter4@h/", headers: {Authorization: Bearer abcdefgh, X: "${TOKEN}"}}
hooks: {pre-start: [{command: [x], env: {F: hunter5}}]}
scale: 2
"""


def test_a_process_is_shown_without_secrets_and_gets_them_back() -> None:
    redactor = Redactor()
    old = node_in(SECRET)
    shown = spelled(masked(old, redactor))
    assert not any(word in shown for word in ("abcdef", "hunter", "plain", "uuid"))
    assert all(word in shown for word in ("${ARG}", "${B}", "${C:?}", "${TOKEN}", "https://hc.example/***", "scale: 2"))
    findings: Findings = []
    assert spelled(unmasked(node_in(shown), old, redactor, findings, "p")) == spelled(old)
    assert findings == []


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("command: [run, '***']", "p.command[1]"),  # there stood no secret
        ("command: [run, --token, x, y, z, '***']", "p.command[5]"),
        ("{command: [run], env: {NEW: '***'}}", "p.env.NEW"),
        ("{command: [run], env: {B: '***'}}", "p.env.B"),
        ("{command: [run], user: '***'}", "p.user"),
        ("{command: '***'}", "p.command"),
    ],
)
def test_a_mask_that_stands_for_nothing_is_no_value(text: str, at: str) -> None:
    findings: Findings = []
    unmasked(node_in(text), node_in(SECRET), Redactor(), findings, "p")
    assert [path for path, _ in findings] == [at]
