"""Plans from YAML: what they mean, and everything that is wrong with one, at once."""

from signal import Signals

import pytest

from millrace.supervisor.health.values import ProbeKind, ProbeMode
from millrace.supervisor.hooks import Moment
from millrace.supervisor.plan import Condition, Kind, Plan, Policy
from millrace.supervisor.plan_document import PlanError, plan_from
from millrace.supervisor.schedule.values import Overlap

KEYS = (
    "autoscale", "command", "depends_on", "enabled", "env", "forward_signals", "group", "health_check", "heartbeat", "hooks",
    "initial_state", "limits", "logging", "max_scale", "nice", "oom_score_adj", "overlap", "restart", "rolling", "scale", "schedule",
    "schedule_max_concurrent", "schedule_timeout", "schedule_timezone", "shutdown", "stderr", "stdout", "tune", "type",
    "umask", "user", "working_dir",
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
    assert (db.health_check.kind, db.health_check.mode) == (ProbeKind.HTTP, ProbeMode.READINESS)
    assert db.health_check.http is not None
    assert (db.health_check.http.url, db.health_check.http.statuses) == ("http://127.0.0.1:1/x?y=1", ((204, 204),))
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
        ("a: b\nc: \x1b[2J", "is no valid YAML in line 2: it holds a control character"),
        ("a: !!bool maybe", "is no valid YAML in line 1: holds what is no bool"),
        ("a: !!timestamp x", "is no valid YAML in line 1: holds what is no timestamp"),
        ("- a", "the plan must be a mapping"),
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
        (  # beside other faults, too
            "processes: {a: {command: [x], depends_on: [b, nix, a]}, b: {command: [y], depends_on: [a]}}",
            "is a circle: a -> b -> a; cut it somewhere",
        ),
        (
            "processes: {a: {command: [x], type: oneshot, restart: always}}",
            "restart is always, and a oneshot runs once",
        ),
        ("processes: {a: {command: [x], env: {1A: x}}}", "processes.a.env.1A is no name of a variable"),
        ("processes: {a: {command: [x], shutdown: {signal: NOPE}}}", "shutdown.signal is 'NOPE'; allowed: TERM, INT"),
        ('processes: {a: {command: ["x\\0"]}}', "processes.a.command holds a NUL character"),
        ('processes: {a: {command: [x], env: {A: "x\\0"}}}', "processes.a.env.A holds a NUL character"),
        ('processes: {a: {command: ["", x]}}', "processes.a.command begins with an empty text; name the program"),
        ("hooks: {pre-start: [{command: ['']}]}", "hooks.pre-start[0].command begins with an empty text"),
        (
            "processes: {a: {command: [x], health_check: {type: exec, command: ['']}}}",
            "health_check.command begins with an empty text",
        ),
        ("processes: " + "[" * 5000 + "]" * 5000, "is nested too deeply"),
    ],
)
def test_what_cannot_work_is_refused(text: str, fault: str) -> None:
    assert any(fault in found for found in faults(text)), faults(text)


@pytest.mark.parametrize("command", ["[]", '["x\\0"]', "[[x]]", "x", "['']"])
@pytest.mark.parametrize("where", ["a: {command: %s}", "a: {command: [x], health_check: {type: exec, command: %s}}"])
def test_what_is_wrong_with_a_command_is_told_once(where: str, command: str) -> None:
    assert len(faults(f"processes: {{{where % command}}}")) == 1


@pytest.mark.parametrize("version", ["1", "1.0", "'1'"])
def test_a_version_may_be_a_number(version: str) -> None:
    assert read(f"version: {version}\nprocesses: {{a: {{command: [x]}}}}").processes


def test_no_process_has_more_instances_than_it_may() -> None:
    text = """
global: {{max_process_scale: {whole}}}
processes:
  web: {{command: [web], scale: {scale}, max_scale: {own}}}
"""
    found = read(text.format(whole=8, scale=4, own=4)).processes["web"]
    assert (found.scale, found.max_scale) == (4, 4)
    assert read(text.format(whole=3, scale=2, own=9)).processes["web"].max_scale == 3  # the lower counts
    assert read("processes: {web: {command: [web], type: oneshot, max_scale: 5}}").processes["web"].max_scale == 1
    for scale, own, whole in ((5, 4, 8), (5, 9, 4)):
        assert faults(text.format(whole=whole, scale=scale, own=own)) == [
            "line 4: processes.web.scale is 5; allowed: 1 to 4"
        ]
    auto = "{min: 1, max: 5, metric: {command: [m]}, target: 1}"
    assert faults(f"processes: {{web: {{command: [web], max_scale: 4, autoscale: {auto}}}}}") == [
        "line 1: processes.web.autoscale.max is 5; allowed: 1 to 4"
    ]


def test_schedules_hooks_and_the_readiness_file() -> None:
    plan = read(
        """
global: {readiness: {path: /run/ready, mode: all_running, content: "yes\\n"}}
hooks: {pre-start: [{name: migrate, command: [migrate, 010], timeout: 2m, retry: 3, retry_delay: 2s, env: {A: 1}}]}
processes:
  web: {command: [web], hooks: {pre-stop: [{command: [drain], continue_on_error: true, working_dir: /srv}]}}
  job:
    command: [job]
    schedule: "*/5 * * * *"
    schedule_timezone: Europe/Berlin
    schedule_timeout: 5m
    overlap: replace
    restart: {success_codes: [0, 3]}
    heartbeat: {success_url: "https://example.com/x", timeout: 5, retries: 0, retry_delay: 1s}
  old: {command: [old], type: oneshot, schedule: "@daily", schedule_max_concurrent: 1}
"""
    )
    assert plan.readiness is not None
    assert (str(plan.readiness.path), plan.readiness.processes, plan.readiness.content) == (
        "/run/ready",
        ("web",),
        "yes\n",
    )
    (migrate,) = plan.hooks[Moment.PRE_START]
    assert (migrate.name, migrate.command, migrate.timeout_s, migrate.retries) == (
        "migrate",
        ("migrate", "010"),
        120,
        3,
    )
    (drain,) = plan.processes["web"].hooks[Moment.PRE_STOP]
    assert (drain.name, drain.continue_on_error, str(drain.working_dir)) == ("pre-stop[0]", True, "/srv")
    job, old = plan.processes["job"], plan.processes["old"]
    assert (job.kind, job.restart.policy, job.restart.success_codes) == (Kind.SCHEDULED, Policy.NEVER, {0, 3})
    assert job.schedule is not None
    assert (job.schedule.zone, job.schedule.timeout_s, job.schedule.overlap) == ("Europe/Berlin", 300, Overlap.REPLACE)
    assert job.schedule.heartbeat is not None
    assert (job.schedule.heartbeat.success_url, job.schedule.heartbeat.retries) == ("https://example.com/x", 0)
    assert old.schedule is not None
    assert (old.kind, old.schedule.zone, old.schedule.overlap) == (Kind.SCHEDULED, "UTC", Overlap.FORBID)


@pytest.mark.parametrize(
    ("said", "overlap", "at_once"),
    [
        ("", Overlap.FORBID, 1),
        ("overlap: queue", Overlap.QUEUE, 1),
        ("overlap: allow", Overlap.ALLOW, 1000),
        ("schedule_max_concurrent: 1", Overlap.FORBID, 1),
        ("schedule_max_concurrent: 3", Overlap.ALLOW, 3),
        ("schedule_max_concurrent: 0", Overlap.ALLOW, 1000),
        ("schedule_max_concurrent: 3, overlap: allow", Overlap.ALLOW, 3),
        ("schedule_max_concurrent: 3, overlap: queue", Overlap.QUEUE, 3),
        ("schedule_max_concurrent: 1, overlap: replace", Overlap.REPLACE, 1),
    ],
)
def test_how_many_runs_go_on_at_once(said: str, overlap: Overlap, at_once: int) -> None:
    schedule = read(f"processes: {{a: {{command: [x], schedule: '@daily', {said}}}}}").processes["a"].schedule
    assert schedule is not None
    assert (schedule.overlap, schedule.at_once) == (overlap, at_once)


@pytest.mark.parametrize(
    ("process", "fault"),
    [
        ("schedule: 61 * * * *", "line 2: processes.a.schedule is '61 * * * *': its field cannot be used: minute; give"),
        ("schedule: 0 0 30 2 *", "line 2: processes.a.schedule is '0 0 30 2 *': "),
        ("schedule: 1 * * * * *", "five fields are needed"),
        ("schedule: '@daily', schedule_timezone: Mars/Phobos", "line 2: processes.a.schedule_timezone is 'Mars/Phobos'"),
        ("schedule: '@daily', overlap: maybe", "overlap is 'maybe'; allowed: forbid, allow, queue, replace"),
        ("schedule: '@daily', schedule_max_concurrent: -1", "schedule_max_concurrent is -1; allowed: 0 to 1000"),
        ("schedule: '@daily', schedule_max_concurrent: 2, overlap: forbid", "overlap is forbid, so one run goes on at a time"),
        ("schedule: '@daily', schedule_max_concurrent: 1, overlap: allow", "overlap is allow, and schedule_max_concurrent is 1"),
        ("schedule: '@daily', heartbeat: {}", "heartbeat.success_url is missing; give it"),
        ("schedule: '@daily', heartbeat: {start_url: ftp://x}", "heartbeat.start_url is 'ftp://x'; give one such as"),
        ("schedule: '@daily', restart: always", "restart is always, and a scheduled process runs at its times"),
        ("schedule: '@daily', type: service", "type is service, and it has a schedule"),
        ("schedule: '@daily', scale: 2", "scale is 2; allowed: 1 to 1"),
        ("schedule: '@daily', health_check: {type: tcp, address: 'x:1'}", "health_check is for what keeps running"),
        ("type: scheduled", "line 2: processes.a.schedule is missing"),
        ("overlap: queue", "line 2: processes.a.overlap is of no use without a schedule"),
        ("hooks: {pre-start: [{name: x}]}", "line 2: processes.a.hooks.pre-start[0].command is missing"),
        ("hooks: {pre-start: {command: [x]}}", "hooks.pre-start must be a list of hooks, each with a command"),
        ("hooks: {pre-begin: []}", "hooks.pre-begin is unknown"),
        ("hooks: {pre_stop: [{command: [x]}]}", "hooks.pre_stop is unknown; did you mean pre-stop?"),
    ],
)  # fmt: skip
def test_schedules_and_hooks_that_cannot_work_are_refused(process: str, fault: str) -> None:
    text = f"processes:\n  a: {{command: [x], {process}}}"
    assert any(fault in found for found in faults(text)), faults(text)


def test_nothing_can_wait_for_what_is_scheduled_or_track_it() -> None:
    found = faults(
        """
global: {readiness: {path: ready, processes: [job, nix]}}
processes:
  job: {command: [x], schedule: "@daily"}
  web: {command: [x], depends_on: [job]}
"""
    )
    assert found == [
        "line 2: global.readiness.path is ready; give the full path, such as /run/millrace/ready",
        "line 2: global.readiness.processes names job, which is scheduled, and so is never ready; take it out",
        "line 2: global.readiness.processes names nix, and no enabled process is called that",
        "line 5: processes.web.depends_on names job, which runs at its times, so that nothing can wait for it; take it out",
    ]
    assert faults("{global: {readiness: {}}, processes: {job: {command: [x], schedule: '@daily'}}}") == [
        "line 1: global.readiness.processes is empty, and no service starts by itself; name what shall be ready"
    ]
