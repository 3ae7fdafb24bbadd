"""Plans from YAML: what they mean, and everything that is wrong with one, at once."""

from signal import Signals

import pytest

from millrace.supervisor.plan import Condition, Kind, Plan, Policy, ProbeKind, ProbeMode
from millrace.supervisor.plan_document import PlanError, plan_from

KEYS = (
    "command", "depends_on", "enabled", "env", "health_check", "initial_state", "restart", "scale", "shutdown", "type",
    "working_dir",
)  # fmt: skip


def faults(text: str, **environ: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        plan_from(text, environ)
    return [str(finding) for finding in caught.value.findings]


def read(text: str, **environ: str) -> Plan:
    return plan_from(text, environ)


def test_a_process_needs_nothing_but_a_command() -> None:
    web = read("processes:\n  web:\n    command: [nginx, -g, daemon off;]").processes["web"]
    assert web.command == ("nginx", "-g", "daemon off;")
    assert (web.kind, web.scale, web.autostart) == (Kind.SERVICE, 1, True)
    assert (web.restart.policy, web.restart.max_attempts) == (Policy.ALWAYS, 0)
    assert (web.shutdown.signal, web.shutdown.timeout_s) == (Signals.SIGTERM, 10)


def test_everything_that_may_be_said() -> None:
    plan = read(
        """
version: "1.0"
global: {shutdown_timeout: 1m, restart_policy: on-failure, max_restart_attempts: 5, restart_backoff_initial: 250ms}
processes:
  db: {command: [db], health_check: {type: http, url: "http://127.0.0.1:1/x?y=1", expected_status: 204, mode: readiness}}
  init: {command: [init], type: oneshot, depends_on: [db]}
  web:
    command: [web, 8080]
    scale: 3
    initial_state: stopped
    working_dir: /srv
    env: {A: 1, B: true, C: text}
    depends_on: {db: started, init: {condition: completed}}
    restart: {policy: always, backoff_max: 2m, stable_after: 1m30s, success_codes: [0, 143]}
    shutdown: {signal: SIGQUIT, timeout: 0.5}
    health_check: {type: exec, command: [check], initial_delay: 1, period: 2s, timeout: 1, failure_threshold: 7}
  off: {command: [off], enabled: false}
"""
    )
    assert set(plan.processes) == {"db", "init", "web"}
    assert plan.shutdown_timeout_s == 60
    db, init, web = plan.processes["db"], plan.processes["init"], plan.processes["web"]
    assert db.restart.policy is Policy.ON_FAILURE
    assert (db.restart.max_attempts, db.restart.backoff_initial_s) == (5, 0.25)
    assert db.health_check is not None
    assert (db.health_check.kind, db.health_check.expected_status, db.health_check.mode) == (
        ProbeKind.HTTP, 204, ProbeMode.READINESS,
    )  # fmt: skip
    assert (init.kind, init.restart.policy, init.depends_on) == (Kind.ONESHOT, Policy.NEVER, {"db": Condition.READY})
    assert web.command == ("web", "8080")
    assert (web.scale, web.autostart, str(web.working_dir)) == (3, False, "/srv")
    assert web.env == {"A": "1", "B": "true", "C": "text"}
    assert web.depends_on == {"db": Condition.STARTED, "init": Condition.COMPLETED}
    assert (web.restart.backoff_max_s, web.restart.stable_s, web.restart.success_codes) == (120, 90, {0, 143})
    assert (web.shutdown.signal, web.shutdown.timeout_s) == (Signals.SIGQUIT, 0.5)
    assert web.health_check is not None
    assert (web.health_check.command, web.health_check.period_s, web.health_check.failure_threshold) == (
        ("check",),
        2,
        7,
    )


def test_variables_are_filled_in_after_parsing() -> None:
    text = """
processes:
  web:
    command: [sh, -c, "echo $$HOME ${WORD} ${NONE:-else} ${EMPTY:-else}"]
    scale: ${N:-2}
    env: {TEXT: "${N:-2}", ODD: "${ODD}"}
"""
    web = read(text, WORD="hello", EMPTY="", ODD="a: [b\n#c").processes["web"]
    assert web.command[2] == "echo $HOME hello else else"
    assert web.scale == 2
    assert web.env == {"TEXT": "2", "ODD": "a: [b\n#c"}
    assert read(text, N="4").processes["web"].scale == 4
    assert faults(text, N="four") == ["line 5: processes.web.scale must be a number from 1 to 1000, not 'four'"]


def test_words_mean_what_they_say() -> None:
    text = "processes: {off: {command: [ssh, 22:22, 010, yes, 2024-01-01, 1e3, ~x]}}"
    assert read(text).processes["off"].command == ("ssh", "22:22", "010", "yes", "2024-01-01", "1e3", "~x")


def test_a_missing_variable_is_refused_with_its_word() -> None:
    text = 'processes: {web: {command: [x], env: {KEY: "${KEY:?give the key of the shop}"}}}'
    assert faults(text) == ["line 1: processes.web.env.KEY needs the variable KEY: give the key of the shop"]
    assert read(text, KEY="k").processes["web"].env == {"KEY": "k"}


def test_every_fault_is_named_at_once_with_its_line() -> None:
    found = faults(
        """
global:
  shutdown_timeout: soon
processes:
  web:
    comand: [x]
    scale: 0
  db:
    command: sh -c x
    restart: sometimes
    health_check: {type: tcp, address: nowhere}
"""
    )
    assert found == [
        "line 3: global.shutdown_timeout is 'soon'; allowed: 0.1 to 86400 seconds, or a text such as 1m30s",
        "line 5: processes.web.command is missing; give a list: the program and its arguments",
        f"line 6: processes.web.comand is unknown; did you mean command? allowed: {', '.join(KEYS)}",
        "line 7: processes.web.scale is 0; allowed: 1 to 1000",
        """line 9: processes.db.command must be a list of texts, such as ["nginx", "-g", "daemon off;"], not 'sh -c x'""",
        "line 10: processes.db.restart is 'sometimes'; allowed: always, on-failure, never",
        "line 11: processes.db.health_check.address is 'nowhere'; give one such as 127.0.0.1:6379",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the plan is empty"),
        ("processes: {}", "processes holds no enabled process; name at least one"),
        ("a: [", "is no valid YAML in line 1"),
        ("- a", "profile must be a mapping"),
        ("processes: {a: {command: [x]}, a: {command: [y]}}", "processes.a stands twice, again in line 1; keep one"),
        ("processes: {a: &x {command: [x]}, b: *x}", "aliases are not allowed"),
        ("processes: {1a: {command: [x]}}", "processes.1a is no name"),
        ("processes: {a: {command: [x], depends_on: [a]}}", "processes.a.depends_on names a itself"),
        ("processes: {a: {command: [x], depends_on: [b]}}", "no enabled process is called that"),
        (
            "processes: {a: {command: [x], depends_on: [b]}, b: {command: [y], enabled: false}}",
            "names b, and no enabled process is called that",
        ),
        (
            "processes: {a: {command: [x], depends_on: {b: completed}}, b: {command: [y]}}",
            "waits for b to complete, and only a oneshot does",
        ),
        (
            "processes: {a: {command: [x], depends_on: [b]}, b: {command: [y], depends_on: [a]}}",
            "is a circle: a -> b -> a; cut it somewhere",
        ),
        (
            "processes: {a: {command: [x], type: oneshot, restart: always}}",
            "restart is always, and a oneshot runs once",
        ),
        ("processes: {a: {command: [x], env: {1A: x}}}", "processes.a.env.1A is no name of a variable"),
        ("processes: {a: {command: [x], shutdown: {signal: NOPE}}}", "shutdown.signal is 'NOPE'; allowed: TERM, INT"),
        ('processes: {a: {command: ["x\\0"]}}', "processes.a.command must be a list of texts"),
    ],
)
def test_what_cannot_work_is_refused(text: str, fault: str) -> None:
    assert any(fault in found for found in faults(text)), faults(text)
