"""What a plan is made of beside its own text: overrides of the environment, and included files."""

from pathlib import Path

import pytest

from millrace.supervisor.plan import Policy
from millrace.supervisor.plan_document import PlanError, plan_from
from millrace.supervisor.plans.overrides import without_overrides

TEXT = """
processes:
  web: {command: [web], restart: never}
  web-max: {command: [web]}
  has-env-x: {command: [x]}
"""
HERE = "MILLRACE_SUPERVISE_"


def faults(text: str, folder: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        plan_from(text, environ, folder)
    return [str(finding) for finding in caught.value.findings]


def test_the_longest_name_and_the_longest_key_are_meant() -> None:
    plan = plan_from(
        TEXT,
        {
            f"{HERE}GLOBAL_SHUTDOWN_TIMEOUT": "1",
            f"{HERE}PROCESS_WEB_MAX_SCALE": "1",
            f"{HERE}PROCESS_WEB_SCALE": "3",
            f"{HERE}PROCESS_WEB_COMMAND": '["a", "b c", 7]',
            f"{HERE}PROCESS_WEB_RESTART_MAX_ATTEMPTS": "1",
            f"{HERE}PROCESS_WEB_SHUTDOWN_TIMEOUT": "1",
            f"{HERE}PROCESS_WEB_ENV_A_ENV_B": "1",
            f"{HERE}PROCESS_HAS_ENV_X_ENV_Y": "01",
            f"{HERE}PROCESS_HAS_ENV_X_ENABLED": "1",
            f"{HERE}PROCESS_WEB_HEALTH_CHECK": '{"type": "exec", "command": ["true"]}',
            f"{HERE}PROCESS_WEB_HEALTH_CHECK_PERIOD": "1",
        },
    )
    web = plan.processes["web"]
    assert plan.shutdown_timeout_s == 1
    assert (web.scale, plan.processes["web-max"].scale) == (3, 1)
    assert web.command == ("a", "b c", "7")
    assert (web.restart.policy, web.restart.max_attempts) == (Policy.NEVER, 1)
    assert web.shutdown.timeout_s == 1
    assert web.env == {"A_ENV_B": "1"}
    assert plan.processes["has-env-x"].env == {"Y": "01"}
    assert web.health_check is not None
    assert (web.health_check.command, web.health_check.period_s) == (("true",), 1)


@pytest.mark.parametrize(("value", "on"), [("0", False), ("1", True), ("false", False), ("TRUE", True)])
def test_a_one_or_a_nought_is_a_truth_where_one_stands(value: str, on: bool) -> None:
    plan = plan_from(TEXT, {f"{HERE}PROCESS_WEB_ENABLED": value})
    assert ("web" in plan.processes) is on


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("GLOBAL_SHUTDOWN_TIME", "1", "names no key of global; did you mean shutdown_timeout?"),
        ("PROCESS_DB_SCALE", "1", "names no process of the plan; there are: has-env-x, web, web-max"),
        ("PROCESS_WEB_SCALES", "1", "names no key of processes.web; did you mean scale?"),
        ("PROCESS_WEB_SCALE", "0", "processes.web.scale is 0; allowed: 1 to 1000"),
        ("PROCESS_WEB_SCALE", "many", "processes.web.scale must be a number from 1 to 1000, not 'many'"),
        ("PROCESS_WEB_COMMAND", "[a", "processes.web.command must be a list of texts"),
        ("PROCESS_WEB_ENV_", "x", "names no key of processes.web"),
    ],
)
def test_an_override_that_fits_nothing_is_named(name: str, value: str, fault: str) -> None:
    (found,) = faults(TEXT, **{f"{HERE}{name}": value})
    assert found.startswith(f"{HERE}{name}: ")
    assert fault in found


def test_a_name_that_two_processes_share_in_capitals_is_refused() -> None:
    (found,) = faults("processes: {a-b: {command: [x]}, a_b: {command: [x]}}", **{f"{HERE}PROCESS_A_B_SCALE": "2"})
    assert "could mean a-b or a_b; rename one of them" in found


def test_files_are_included_by_name_and_by_pattern(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "b.yaml").write_text("processes: {b: {command: [b], scale: 2}}")
    (tmp_path / "parts" / "a.yaml").write_text("processes: {a: {command: [a], depends_on: [b]}}")
    (tmp_path / "usual.yaml").write_text("global:\n  shutdown_timeout: ${PATIENCE}\n")
    plan = plan_from("include: [usual.yaml, 'parts/*.yaml', 'none/*.yaml']", {"PATIENCE": "7"}, tmp_path)
    assert list(plan.processes) == ["a", "b"]
    assert plan.shutdown_timeout_s == 7
    assert list(plan_from("include: parts/b.yaml", {}, tmp_path).processes) == ["b"]


def test_what_is_wrong_in_an_included_file_is_told_with_its_name_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("processes:\n  web: {command: [x]}\n  a:\n    scale: 0\n    command: [x]\n")
    (tmp_path / "b.yaml").write_text("a: [\n")
    (tmp_path / "c.yaml").write_text("proceses: {}")
    (tmp_path / "d.yaml").write_text("processes: {a: {command: [y]}}")
    text = "include: [a.yaml, b.yaml, c.yaml, d.yaml, nowhere.yaml]\nprocesses: {web: {command: [x]}}"
    assert faults(text, tmp_path) == [
        "line 1: include names b.yaml, which is no valid YAML in line 2: expected the node content, but found '<stream end>'",
        "line 1: include names c.yaml, in which proceses cannot stand here; allowed: global, processes, version",
        f"line 1: include names nowhere.yaml, and there is no such file in {tmp_path}; correct the name",
        "line 2: processes.web stands in the plan itself and in a.yaml; keep one",
        "a.yaml, line 3: processes.a stands in a.yaml and in d.yaml; keep one",
        "a.yaml, line 4: processes.a.scale is 0; allowed: 1 to 1000",
    ]


def test_a_plan_without_a_folder_includes_nothing() -> None:
    (found,) = faults("include: a.yaml\nprocesses: {web: {command: [x]}}")
    assert "this plan comes from no folder" in found


def test_of_two_names_that_fit_the_longer_is_meant() -> None:
    plan = plan_from("processes: {web: {command: [x]}, web-env: {command: [x]}}", {f"{HERE}PROCESS_WEB_ENV_SCALE": "2"})
    assert (plan.processes["web-env"].scale, plan.processes["web"].env) == (2, {})


def test_processes_do_not_inherit_the_overrides() -> None:
    environ = {
        f"{HERE}GLOBAL_STABLE_AFTER": "1",
        f"{HERE}PROCESS_WEB_SCALE": "2",
        "MILLRACE_SUPERVISE_X": "3",
        "A": "4",
    }
    assert without_overrides(environ) == {"MILLRACE_SUPERVISE_X": "3", "A": "4"}
