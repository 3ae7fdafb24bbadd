"""Plans from PHPeek PM, supervisord and Procfiles: whatever comes out passes the check, and the report says what changed."""

import configparser
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.cli.supervise import app
from millrace.supervisor.conversion import phpeek, procfile, supervisord
from millrace.supervisor.conversion.converted import Conversion, settled
from millrace.supervisor.conversion.go_patterns import pattern_of, replacement_of
from millrace.supervisor.hooks import Moment
from millrace.supervisor.logs.entry import Level
from millrace.supervisor.logs.settings import LogForm
from millrace.supervisor.plan import Condition, Kind, Plan, Policy, Recipient
from millrace.supervisor.plan_document import plan_from
from millrace.supervisor.schedule.values import Overlap

ENVIRON = {"HOME": "/root", "Z": "zed"}


def converted(convert: Callable[[str], Conversion], text: str) -> tuple[Plan, list[str]]:
    found = convert(text)
    plan = plan_from(settled(found), ENVIRON)
    return plan, [str(note) for note in found.notes]


PHPEEK = """
x-common: &usual
  enabled: true
  shutdown: {signal: SIGUSR1, timeout: 45, kill_signal: SIGKILL}
global: {shutdown_timeout: 60, max_restart_attempts: -1, restart_backoff: 2, tracing_exporter: jaeger, log_timestamps: true}
processes:
  php-fpm:
    <<: *usual
    command: [php-fpm, -F, 010]
    health_check: {type: tcp, address: "127.0.0.1:9000", interval: 5, period: 0, url: x}
  nginx:
    enabled: true
    command: [nginx, "$$x $y ${Z} ${Z:-other} $${Z}"]
    depends_on: [php-fpm, migrate, gone, off.one, php-fpm]
    env: {A: 1, B: "${B:-x y}", C: true}
  migrate: {enabled: true, type: oneshot, restart: on-failure, command: [migrate]}
  off.one: {command: [x], scale: 0}
  broken: {enabled: true, command: "not a list"}
  many: {enabled: true, command: [x], scale: 5000}
"""


def test_phpeeks_words() -> None:
    plan, notes = converted(phpeek.convert, PHPEEK)
    assert set(plan.processes) == {"php-fpm", "nginx", "migrate", "many"}
    php, nginx, migrate = plan.processes["php-fpm"], plan.processes["nginx"], plan.processes["migrate"]
    assert plan.shutdown_timeout_s == 75  # 30 for what depends on php-fpm, and 45 for that
    assert (php.restart.max_attempts, php.restart.backoff_initial_s, php.restart.backoff_max_s) == (0, 2, 24)
    assert (php.shutdown.signal.name, php.shutdown.timeout_s, nginx.shutdown.timeout_s) == ("SIGTERM", 45, 30)
    assert php.health_check is not None
    assert (php.health_check.initial_delay_s, php.health_check.period_s) == (5, 10)
    assert nginx.command == ("nginx", "$$x $y zed zed $zed")
    assert nginx.env == {"A": "1", "B": "x y", "C": "true"}
    assert nginx.depends_on == {"php-fpm": Condition.READY, "migrate": Condition.COMPLETED}
    assert (migrate.kind, migrate.restart.policy) == (Kind.ONESHOT, Policy.NEVER)
    assert plan.processes["many"].scale == 1
    for said in (
        "not converted: processes.php-fpm.health_check.interval did nothing there",
        "not converted: processes.php-fpm.health_check.url means nothing to a check of type tcp",
        "not converted: processes.php-fpm.shutdown.kill_signal did nothing there",
        "not converted: global.tracing_exporter has no counterpart",
        "not converted: global.log_timestamps did nothing there",
        "not converted: x-common has no counterpart",
        "not converted: processes.nginx.depends_on named gone, which is unknown",
        "not converted: processes.nginx.depends_on named off-one, which is off",
        "not converted: processes.many.scale is 5000; allowed: 1 to 1000",
        "changed: processes.nginx.depends_on waits until migrate has completed; there it did not wait",
        "changed: processes.migrate.restart is never: there a oneshot was not started again, whatever it said",
        "changed: processes.php-fpm.shutdown.signal is TERM: it was TERM there, whatever it said",
        "changed: processes.off-one was called off.one",
        "changed: processes.off-one.enabled is false, as it was there without saying so",
    ):
        assert said in notes
    assert any(note.startswith("not converted: processes.broken") for note in notes)


WHOLE = r"""
version: "1.0"
hooks:
  pre-start:
    - {name: migrate, command: [php, artisan, migrate, --force], timeout: 60, retry: 3, retry_delay: 5, continue_on_error: true, env: {A: 1}, working_dir: /var/www}
  post-stop: [{name: done, command: [echo, bye]}]
global:
  shutdown_timeout: 60
  log_format: json
  log_level: debug
  restart_backoff_initial: 5s
  restart_backoff_max: 1m
  autotune_memory_threshold: 0.8
  metrics_enabled: true
  metrics_port: 9090
  api_enabled: true
  api_port: 9180
  api_auth: "${TOKEN}"
  readiness: {enabled: true, path: /tmp/ready, mode: all_healthy, processes: [php-fpm]}
  schedule_history_size: 50
processes:
  php-fpm:
    enabled: true
    command: [php-fpm, -F]
    user: www-data
    group: 82
    stdout: true
    health_check: {type: http, url: "http://localhost:8080/h", expected_status: 200, period: 10, timeout: 3, success_threshold: 2}
    shutdown: {signal: SIGQUIT, timeout: 20, pre_stop_hook: {name: drain, command: [drain], timeout: 5}}
    logging:
      stdout: true
      labels: {app: shop, tier: 2}
      min_level: warn
      redaction: {enabled: true, patterns: [{name: pw, pattern: 'password=(\S+)', replacement: 'password=$1x'}, {name: go, pattern: '(?P<n>a)(?i)b', replacement: '${n}'}]}
      multiline: {enabled: true, pattern: '^\[', max_lines: 50, timeout: 2}
      json: {enabled: true, detect_auto: true, extract_level: lvl, extract_message: msg, merge_fields: true}
      level_detection: {enabled: true, patterns: {error: 'ERR', fatal: x}, default_level: info}
      filters: {exclude: [debug], include: ['[[:alpha:]]+']}
  cron:
    enabled: true
    command: [php, artisan, "schedule:run"]
    schedule: "* * * * *"
    schedule_timezone: Local
    schedule_timeout: 5m
    schedule_max_concurrent: 2
    user: 1000
    heartbeat: {success_url: "https://hc-ping.com/x", failure_url: "https://hc-ping.com/x/fail", timeout: 10, retry_count: 3, retry_delay: 5, interval: 5}
  cron2: {enabled: true, command: [x], schedule: "CRON_TZ=Europe/Berlin 0 3 * * *", restart: always, type: oneshot, schedule_max_concurrent: 1, depends_on: [cron]}
  cron3: {enabled: true, command: [x], schedule: "0 3 * * SUN-MON", scale: 3, schedule_timeout: 1h30m, schedule_max_concurrent: 0, health_check: {type: tcp, address: "a:1"}}
  cron4: {enabled: true, command: [x], schedule: "0 4 * * *", schedule_timezone: UTC}
  worker: {enabled: true, command: [w], scale: 2, max_scale: 10, depends_on: [cron, php-fpm], user: "0", logging: {redaction: {enabled: true}, multiline: {enabled: false}}}
"""


def test_phpeeks_schedules_hooks_logs_and_users() -> None:
    plan, notes = converted(phpeek.convert, WHOLE)
    assert set(plan.processes) == {"php-fpm", "cron", "cron2", "cron3", "cron4", "worker"}
    before, after = plan.hooks[Moment.PRE_START][0], plan.hooks[Moment.POST_STOP][0]
    assert (before.name, before.timeout_s, before.retries, before.retry_delay_s) == ("migrate", 60, 3, 5)
    assert (before.continue_on_error, before.env, str(before.working_dir)) == (True, {"A": "1"}, "/var/www")
    assert (after.command, after.timeout_s) == (("echo", "bye"), 30)
    php, cron, cron2, cron3, cron4 = (plan.processes[name] for name in ("php-fpm", "cron", "cron2", "cron3", "cron4"))
    assert php.hooks[Moment.PRE_STOP][0].command == ("drain",)
    assert (php.execution.user, php.execution.group, cron.execution.user) == ("www-data", "82", "1000")
    logging = php.logging
    assert (logging.filters.min_level, logging.labels) == (Level.WARN, {"app": "shop", "tier": "2"})
    first, second = logging.redaction.rules
    assert first.pattern.sub(first.replacement, "password=x y") == "password= y"
    assert second.pattern.sub(second.replacement, "aB") == "a"
    assert logging.multiline is not None
    assert (logging.multiline.max_lines, logging.multiline.timeout_s) == (50, 2)
    assert logging.json is not None
    assert (logging.json.level, logging.json.message) == ("lvl", "msg")
    assert logging.filters.include[0].search("1a")
    assert not logging.filters.include[0].search("1:")
    assert plan.log_format is LogForm.JSON
    assert cron.schedule is not None
    assert cron2.schedule is not None
    assert cron3.schedule is not None
    assert cron4.schedule is not None
    assert (cron.schedule.zone, cron.schedule.timeout_s) == ("UTC", 300)
    assert [(one.schedule.overlap, one.schedule.max_concurrent) for one in (cron, cron2, cron3, cron4)] == [
        (Overlap.ALLOW, 2), (Overlap.FORBID, 1), (Overlap.ALLOW, 0), (Overlap.QUEUE, 1),
    ]  # fmt: skip
    assert cron.schedule.heartbeat is not None
    assert (cron.schedule.heartbeat.success_url, cron.schedule.heartbeat.retries) == ("https://hc-ping.com/x", 2)
    assert (cron2.schedule.expression, cron2.schedule.zone) == ("0 3 * * *", "Europe/Berlin")
    assert cron3.schedule.timeout_s == 5400
    assert plan.processes["worker"].depends_on == {"php-fpm": Condition.READY}
    for said in (
        "changed: processes.cron.schedule_max_concurrent is heeded now; there runs waited for each other",
        "changed: processes.cron.user is heeded now; there runs of a schedule were root's, whatever it said",
        "not converted: processes.cron3.health_check says nothing of a process that has a schedule",
        "not converted: processes.worker.depends_on named cron, which runs at its times; there nothing would have started",
        "not converted: global.autotune_memory_threshold belongs to each pool: tune, with memory_share",
    ):
        assert said in notes
    whole = [note for note in notes if note.startswith("not converted")]
    assert not [
        note for note in whole if any(word in note for word in (".hooks", ".schedule ", "multiline", "redaction"))
    ]


def test_what_was_off_there_is_off_here() -> None:
    text = """
global: {readiness: {path: /tmp/x}, shutdown_timeout: 10}
processes:
  web:
    enabled: true
    command: [x]
    shutdown: {timeout: 45}
    logging: {multiline: {pattern: a}, json: {extract_level: l}, redaction: {patterns: [{pattern: b}]}, min_level: error}
  cron: {enabled: true, command: [x], schedule: "0 0 1 ? *"}
"""
    plan, notes = converted(phpeek.convert, text)
    logging = plan.processes["web"].logging
    assert (logging.multiline, logging.json, logging.redaction.rules) == (None, None, ())
    assert plan.readiness is None
    assert plan.shutdown_timeout_s == 45  # what a process may take is not cut short
    assert plan.processes["cron"].schedule is not None
    assert plan.processes["cron"].schedule.expression == "0 0 1 * *"
    assert any("processes.web.logging.min_level drops what is below it" in note for note in notes)


@pytest.mark.parametrize(
    ("go", "here", "matches", "not_this"),
    [
        ("a(?i)b", "a(?i:b)", "aB", "AB"),
        ("(x(?i)y)z", "(x(?i:y))z", "xYz", "xYZ"),
        ("(?i)a", "(?i)a", "A", "b"),
        (r"a(?i)b(?s).", "a(?i:b(?s:.))", "aB\n", "AB."),
        (r"\Qa.b\E+", r"a\.b+", "a.bb", "axb"),
        (r"a\z", r"a\Z", "a", "a\n"),
        (r"a\\z", r"a\\z", "a\\z", "a"),
        ("[[:digit:]x]", "[0-9x]", "7", "y"),
        (r"[(](?i)b", r"[(](?i:b)", "(B", "B"),
    ],
)
def test_patterns_of_go(go: str, here: str, matches: str, not_this: str) -> None:
    assert pattern_of(go) == here
    assert re.search(f"(?:{here})\\Z" if "(?i)a" not in go else here, matches)
    assert not re.fullmatch(here, not_this)


@pytest.mark.parametrize(
    ("go", "here"),
    [("$1", "${1}"), ("${1}x", "${1}x"), ("$1x", ""), ("$name!", "${name}!"), ("$9", ""), ("$$1", "$$1"), ("a$", "a$")],
)
def test_replacements_of_go(go: str, here: str) -> None:
    assert replacement_of(go, r"(?P<name>a)") == here


SUPERVISORD = """
[unix_http_server]
file=/tmp/s.sock ; where it listens
[supervisord]
environment=GLOB="%(ENV_HOME)s/x"
[program:web.app]
command=/bin/app --num=%(process_num)02d "a b" 100%% $X
process_name=%(program_name)s_%(process_num)02d
numprocs=2
environment=A="x,y",B=%(program_name)s
autorestart=true
stopsignal=QUIT
priority=10
stdout_logfile=/var/log/%(program_name)s_%(process_num)02d.log
stderr_logfile=/dev/stderr
[program:late]
command=late
exitcodes=0,2
autostart=false
stopwaitsecs=3
stopasgroup=true
[program:plain]
command=plain -x
numprocs=3
startretries=7
startsecs=4
stdout_logfile=/var/log/plain-%(process_num)d.log
[program:last]
command=last
stopwaitsecs=3600
stdout_logfile=/var/log/last.log
stdout_logfile_maxbytes=2MB
stdout_logfile_backups=3
stderr_logfile=/var/log/last.err
[group:g]
programs=last
priority=1000
[eventlistener:e]
command=x
"""


def test_supervisords_programs() -> None:
    plan, notes = converted(supervisord.convert, SUPERVISORD)
    assert list(plan.processes) == ["web-app-0", "web-app-1", "late", "plain", "last"]
    web, late, plain = plan.processes["web-app-1"], plan.processes["late"], plan.processes["plain"]
    assert web.command == ("/bin/app", "--num=01", "a b", "100%", "$X")
    assert web.env == {"GLOB": "/root/x", "A": "x,y", "B": "web.app"}
    assert (web.restart.policy, web.shutdown.signal.name, web.depends_on) == (Policy.ALWAYS, "SIGQUIT", {})
    assert (late.autostart, late.restart.policy, late.restart.success_codes) == (False, Policy.ON_FAILURE, {0, 2})
    assert late.shutdown.timeout_s == 3
    # Who is told alone there is told alone here: Celery's own processes die of what its main process waits for them at.
    assert (late.shutdown.to, web.shutdown.to) == (Recipient.ALL, Recipient.MAIN)
    assert (plain.scale, plain.restart.max_attempts, plain.restart.stable_s) == (3, 7, 4)
    assert plain.depends_on == dict.fromkeys(("web-app-0", "web-app-1"), Condition.STARTED)
    # What waits for somebody to start it is waited for by nobody.
    assert plan.processes["last"].depends_on == {"plain": Condition.STARTED}
    assert "not converted: [eventlistener:e] has no counterpart" in notes
    assert any(
        "plain.stdout_logfile was /var/log/plain-%(process_num)d.log; what it prints is on" in note for note in notes
    )
    assert not any("/dev/stderr" in note or "unix_http_server" in note for note in notes)
    # Logs go on to their files, and whoever needs an hour to stop has it, after what depends on it.
    kept = web.logging.file
    assert kept is not None
    assert (str(kept.path), kept.max_bytes, kept.keep) == ("/var/log/web.app_01.log", 50 << 20, 10)
    kept = plan.processes["last"].logging.file
    assert kept is not None
    assert (str(kept.path), kept.max_bytes, kept.keep) == ("/var/log/last.log", 2 << 20, 3)
    assert (
        "not converted: processes.last.stderr_logfile was /var/log/last.err; what it prints is on the supervisor's own output"
        in notes
    )
    assert plain.logging.file is None
    assert plan.shutdown_timeout_s == 3600 + 10 + 10


PROCFILE = """# shop
release: ./manage.py migrate
web: gunicorn -b 0.0.0.0:$PORT app
worker: celery -A x "a b"
two words
long: cd x && ./y $$ ${HOME}
"""


def test_a_procfiles_lines() -> None:
    plan, notes = converted(procfile.convert, PROCFILE)
    assert plan.processes["release"].kind is Kind.ONESHOT
    assert plan.processes["web"].command == ("sh", "-c", "exec gunicorn -b 0.0.0.0:$PORT app")
    assert plan.processes["web"].env == {"PORT": "5100"}
    assert plan.processes["worker"].command == ("celery", "-A", "x", "a b")
    assert plan.processes["worker"].depends_on == {"release": Condition.COMPLETED}
    assert plan.processes["long"].command == ("sh", "-c", "cd x && ./y $$ ${HOME}")
    assert "not converted: line 5 is not of the form `name: command`" in notes


@pytest.mark.parametrize(
    ("name", "text"),
    [("Procfile.dev", "web: x"), ("app.conf", "[program:web]\ncommand=x"), ("pm.yaml", "processes: {web: {enabled: true, command: [x]}}")],
)  # fmt: skip
def test_the_form_is_seen_and_the_plan_passes_the_check(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    done = CliRunner().invoke(app, ["convert", str(tmp_path / name)])
    (tmp_path / "plan.yaml").write_text(done.stdout)
    assert CliRunner().invoke(app, ["check", "--strict", str(tmp_path / "plan.yaml")]).exit_code == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.yaml", PHPEEK), ("whole.yaml", WHOLE), ("a.conf", SUPERVISORD), ("Procfile", PROCFILE)],
)
def test_every_converted_sample_passes_the_strict_check(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    done = CliRunner().invoke(app, ["convert", str(tmp_path / name)])
    (tmp_path / "plan.yaml").write_text(done.stdout)
    environ = {**ENVIRON, "TOKEN": "x", "PORT": "1", "ENV_HOME": "/root"}
    checked = CliRunner().invoke(app, ["check", "--strict", "--json", str(tmp_path / "plan.yaml")], env=environ)
    assert json.loads(checked.stdout)["warnings"] == []
    assert checked.exit_code == 0


@pytest.mark.parametrize(
    ("convert", "text"),
    [
        (phpeek.convert, "a: ["),
        (phpeek.convert, "- x"),
        (phpeek.convert, "processes: []"),
        (supervisord.convert, "x"),
        (supervisord.convert, "[program:x]\n"),
        (procfile.convert, "# nothing"),
    ],
)
def test_what_is_none_of_it_is_refused(convert: Callable[[str], Conversion], text: str) -> None:
    with pytest.raises(ValueError, match="it "):
        convert(text)


WORDS = st.text("ab1 $%{}():;,=-_\"'\\\n#[]~.*&|é", max_size=12)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 2000), WORDS)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6
)
NAMES = st.sampled_from(["web", "db", "a.b", "1", "gone"])
ENTRY = st.fixed_dictionaries(
    {"command": st.lists(WORDS, min_size=1, max_size=3) | VALUES},
    optional={
        "enabled": st.booleans() | VALUES, "type": st.sampled_from(["longrun", "oneshot"]) | VALUES, "restart": VALUES, "scale": VALUES,
        "depends_on": st.lists(NAMES, max_size=3) | VALUES, "env": st.dictionaries(WORDS, SCALARS, max_size=2) | VALUES,
        "health_check": st.dictionaries(st.sampled_from(["type", "url", "period", "mode", "command"]), VALUES) | VALUES,
        "shutdown": st.dictionaries(st.sampled_from(["signal", "timeout", "x"]), VALUES) | VALUES, "schedule": VALUES, "user": VALUES,
        "logging": st.dictionaries(st.sampled_from(["multiline", "redaction", "json", "filters", "labels", "level_detection", "min_level"]), VALUES) | VALUES,
        "heartbeat": VALUES, "schedule_timezone": VALUES, "schedule_max_concurrent": VALUES, "group": VALUES,
    },
)  # fmt: skip


def assert_good_or_refused(convert: Callable[[str], Conversion], text: str) -> None:
    try:
        plan = settled(convert(text))
    except ValueError:
        return
    if "${" not in plan:
        plan_from(plan, {})


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(NAMES, ENTRY, min_size=1),
    st.dictionaries(WORDS | st.sampled_from(["restart_backoff", "readiness"]), VALUES, max_size=2),
    st.dictionaries(st.sampled_from(["pre-start", "post-stop", "x"]), VALUES, max_size=2) | VALUES,
)
def test_any_phpeek_file_becomes_a_good_plan_or_is_refused(processes: object, usual: object, hooks: object) -> None:
    assert_good_or_refused(phpeek.convert, yaml.safe_dump({"global": usual, "processes": processes, "hooks": hooks}))


INI_KEYS = st.sampled_from(
    [
        "command",
        "numprocs",
        "environment",
        "exitcodes",
        "stopsignal",
        "priority",
        "startsecs",
        "autostart",
        "directory",
        "user",
    ]
)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(NAMES, st.dictionaries(INI_KEYS, WORDS | st.sampled_from(["x", "2", "0"]), min_size=1), min_size=1)
)
def test_any_ini_file_becomes_a_good_plan_or_is_refused(programs: dict[str, dict[str, str]]) -> None:
    parser = configparser.RawConfigParser()
    for name, keys in programs.items():
        parser[f"program:{name}"] = keys
    text = io.StringIO()
    parser.write(text)
    assert_good_or_refused(supervisord.convert, text.getvalue())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(NAMES, WORDS), min_size=1))
def test_any_procfile_becomes_a_good_plan_or_is_refused(lines: list[tuple[str, str]]) -> None:
    assert_good_or_refused(procfile.convert, "\n".join(f"{name}: {command}" for name, command in lines))
