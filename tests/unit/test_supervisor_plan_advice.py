"""What `millrace supervise check` says of plans that work."""

import json
import os
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
        ("a: {command: [x], logging: {redaction: {known_shapes: false}}}", ["warning: line 1: processes.a.logging.redaction.known_shapes is false, so passwords"]),
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
            "a: {command: [x], limits: {nofile: 99}, depends_on: {b: started}}, b: {command: [y], type: oneshot}",
            ["warning: line 1: processes.a.depends_on does not wait for the end of b"],
        ),
        (
            "a: {command: [x], limits: {nofile: 99}, depends_on: [b]}, b: {command: [y], limits: {nofile: 99}}",
            ["suggestion: line 1: processes.b has no health_check, so a starts as soon as it runs"],
        ),
        ("a: {command: [x], restart: {backoff_initial: 0, backoff_max: 0}}", ["warning: line 1: processes.a.restart.backoff_max"]),
        ("a: {command: [x]}, b: {command: [x], enabled: false}", ["suggestion: line 1: processes.b.enabled is off"]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_process(text: str, said: list[str]) -> None:
    found = advice(f"processes: {{{text}}}", P="from elsewhere")
    assert [one[: len(expected)] for one, expected in zip(found, said, strict=True)] == said


LIMITED = "limits: {nofile: 99}"
HTTP = 'health_check: {type: http, url: "%s://%s/", %s}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("processes: {a: {command: [x]}, b: {command: [x]}}", "suggestion: line 1: processes sets no limits for a, b, so one"),
        (
            f"processes: {{a: {{command: [x], {LIMITED}, depends_on: [b]}}, b: {{command: [x], {LIMITED}, shutdown: {{timeout: 25}}, health_check: {{address: 'h:1', initial_delay: 9}}}}}}",
            "suggestion: global.shutdown_timeout is 30 s, and a, then b may take 35 s to stop one after the other",
        ),
        (
            "hooks: {pre-stop: [{command: [x], timeout: 60}]}\nprocesses: {a: {command: [x]}}",
            "warning: global.shutdown_timeout is 30 s, and the hook pre-stop[0] alone may take 60 s",
        ),
        (
            f"processes: {{a: {{command: [x], {LIMITED}, tune: node}}, b: {{command: [x], {LIMITED}, tune: {{profile: puma, share: 0.5}}}}}}",
            "warning: line 1: processes promises 150% of the machine to the pools of a, b",
        ),
        (f"processes: {{a: {{command: [x], scale: 2, {HTTP % ('http', 'localhost', 'initial_delay: 9')}}}}}", "suggestion: line 1: processes.a.health_check asks one address for 2 instances"),
        (
            f"processes: {{a: {{command: [x], {LIMITED}, {HTTP % ('http', 'x', 'initial_delay: 9')}}}, b: {{command: [x], {LIMITED}, {HTTP % ('http', 'x', 'initial_delay: 9')}}}}}",
            "warning: line 1: processes.b.health_check asks http://x/, as that of a does",
        ),
        (f"processes: {{a: {{command: [x], {HTTP % ('https', 'x', 'initial_delay: 9, tls: {verify: false}')}}}}}", "warning: line 1: processes.a.health_check.tls.verify is false for another machine"),
        (f"processes: {{a: {{command: [x], {HTTP % ('http', 'x', 'initial_delay: 9, headers: {Authorization: y}')}}}}}", "warning: line 1: processes.a.health_check.headers.Authorization looks like a secret"),
        ("processes: {a: {command: [x], schedule: '@hourly'}}", "suggestion: line 1: processes.a.schedule_timeout is missing"),
        ("processes: {a: {command: [x], user: web}}", "suggestion: line 1: processes.a.user is web, and only root can change"),
    ],
)  # fmt: skip
def test_what_is_said_of_several_at_once_and_of_who_answers(text: str, said: str) -> None:
    (found,) = advice(text)
    assert found.startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        f"processes: {{a: {{command: [x], {HTTP % ('https', 'localhost', 'initial_delay: 9, tls: {verify: false}')}}}}}",
        f"processes: {{a: {{command: [x], {HTTP % ('http', 'x', 'initial_delay: 9, headers: {Cookie: $Z}')}}}}}".replace("$Z", '"${P}"'),
        "processes: {a: {command: [x], schedule: '@hourly', overlap: replace}}",
        "processes: {a: {command: [x], health_check: {type: notify}}}",
    ],
)  # fmt: skip
def test_what_is_well_is_left_alone(text: str) -> None:
    assert advice(text, P="from elsewhere") == []


def test_as_root_it_is_said_who_would_be_root() -> None:
    names = "abcdefg"
    text = f"processes: {{{', '.join(f'{name}: {{command: [x], {LIMITED}}}' for name in names)}, z: {{command: [x], {LIMITED}, user: web}}}}"
    (found,) = (str(finding) for _, finding in examine_text(text, {}, None, as_root=True).findings)
    assert found.startswith("line 1: processes would run a, b, c, d, e and 2 more as root; give a user")


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
    assert (warned["passed"], warned["processes"], warned["errors"]) == (True, ["a"], [])
    assert len(warned["suggestions"]) == (os.geteuid() == 0)  # that it runs as root
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
