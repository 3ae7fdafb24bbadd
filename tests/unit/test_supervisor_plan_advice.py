"""What `millrace supervise check` says of plans that work."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from millrace.cli.supervise.check import check
from millrace.cli.supervise.load import examine_text

Checked = Callable[..., Result]


def advice(text: str, **environ: str) -> list[str]:
    return [f"{weight}: {finding}" for weight, finding in examine_text(text, environ, None).findings]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {command: [x]}", []),
        ("a: {command: [/bin/sh, -c, x]}", ["suggestion: line 1: processes.a.command keeps a shell (sh)"]),
        ("a: {command: [/bin/sh, -c, exec x]}", []),
        ("a: {command: [php artisan serve]}", ["warning: line 1: processes.a.command is one word with spaces"]),
        ("a: {command: [x], scale: 21}", ["warning: line 1: processes.a.scale is 21"]),
        ("a: {command: [x], env: {DB_PASSWORD: y}}", ["warning: line 1: processes.a.env.DB_PASSWORD looks like a secret"]),
        ('a: {command: [x], env: {DB_PASSWORD: "${P}", TOKEN_FILE: /x, API_KEY: ""}}', []),
        (
            'a: {command: [x], health_check: {address: "h:1", timeout: 10, period: 10}}',
            ["warning: line 1: processes.a.health_check.timeout is 10 s and not below the period of 10 s"],
        ),
        (
            'a: {command: [x], health_check: {address: "h:1", timeout: 0.1, period: 0.5}}',
            [
                "warning: line 1: processes.a.health_check.period is 0.5 s",
                "suggestion: line 1: processes.a.health_check restarts what does not answer within 1.5 s",
            ],
        ),
        ("a: {command: [x], shutdown: {signal: KILL}}", ["warning: line 1: processes.a.shutdown.signal is KILL"]),
        (
            "a: {command: [x], shutdown: {timeout: 60}}",
            ["warning: line 1: processes.a.shutdown.timeout is 60 s, and all ends after 30"],
        ),
        (
            "a: {command: [x], depends_on: {b: started}}, b: {command: [y], type: oneshot}",
            ["warning: line 1: processes.a.depends_on does not wait for the end of b"],
        ),
        (
            "a: {command: [x], depends_on: [b]}, b: {command: [y]}",
            ["suggestion: line 1: processes.b has no health_check, so a starts as soon as it runs"],
        ),
        ("a: {command: [x], restart: {backoff_initial: 0, backoff_max: 0}}", ["warning: line 1: processes.a.restart.backoff_max"]),
        ("a: {command: [x]}, b: {command: [x], enabled: false}", ["suggestion: line 1: processes.b.enabled is off"]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_process(text: str, said: list[str]) -> None:
    found = advice(f"processes: {{{text}}}", P="from elsewhere")
    assert [one[: len(expected)] for one, expected in zip(found, said, strict=True)] == said


def test_what_is_said_of_the_whole() -> None:
    text = "processes: {a: {command: [x]}}\nglobal: {shutdown_timeout: %d}"
    assert [one.split(" is")[0] for one in advice(text % 9)] == [
        "warning: line 1: processes.a.shutdown.timeout",
        "warning: line 2: global.shutdown_timeout",
    ]
    assert advice(text % 301)[0].startswith("suggestion: line 2: global.shutdown_timeout is 301 s")


@pytest.fixture
def checked(tmp_path: Path) -> Checked:
    def run(text: str, *words: str) -> Result:
        (tmp_path / "plan.yaml").write_text(text)
        return CliRunner().invoke(check, [str(tmp_path / "plan.yaml"), *words])

    return run


GOOD = "processes: {a: {command: [x]}}"
WARNED = "processes:\n  a: {command: [x], scale: 21}"
WRONG = "processes:\n  a: {comand: [x]}"


def test_the_exit_code_says_how_bad_it_is(checked: Checked) -> None:
    assert (checked(GOOD).exit_code, checked(GOOD, "--strict").exit_code) == (0, 0)
    assert (checked(WARNED).exit_code, checked(WARNED, "--strict").exit_code) == (0, 1)
    assert (checked(WRONG).exit_code, checked(WRONG, "--strict").exit_code) == (2, 2)


@pytest.mark.parametrize("words", [["--json"], ["--output", "json"]])
def test_a_program_gets_one_document(checked: Checked, words: list[str]) -> None:
    warned = json.loads(checked(WARNED, *words).stdout)
    assert (warned["passed"], warned["processes"], warned["errors"], warned["suggestions"]) == (True, ["a"], [], [])
    (one,) = warned["warnings"]
    assert (one["line"], one["path"], one["message"]) == (2, "processes.a.scale", "is 21")
    assert one["mend"].startswith("that many processes need memory")
    assert json.loads(checked(WARNED, "--strict", *words).stdout)["passed"] is False
    wrong = json.loads(checked(WRONG, *words).stdout)
    assert (wrong["passed"], wrong["processes"]) == (False, None)
    assert [(one["line"], one["path"], one["message"]) for one in wrong["errors"]] == [
        (2, "processes.a.comand", "is unknown"),
        (2, "processes.a.command", "is missing"),
    ]
    assert wrong["errors"][0]["mend"].startswith("did you mean command?")
