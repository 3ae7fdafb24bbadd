"""Plans from PHPeek PM, supervisord and Procfiles: whatever comes out passes the check, and the report says what changed."""

import configparser
import io
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
from millrace.supervisor.plan import Condition, Kind, Plan, Policy
from millrace.supervisor.plan_document import plan_from

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
    assert plan.shutdown_timeout_s == 60
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
stdout_logfile=/var/log/x.log
stderr_logfile=/dev/stderr
[program:late]
command=late
exitcodes=0,2
autostart=false
stopwaitsecs=3
[program:plain]
command=plain -x
numprocs=3
startretries=7
startsecs=4
[program:last]
command=last
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
    assert (plain.scale, plain.restart.max_attempts, plain.restart.stable_s) == (3, 7, 4)
    assert plain.depends_on == dict.fromkeys(("web-app-0", "web-app-1"), Condition.STARTED)
    # What waits for somebody to start it is waited for by nobody.
    assert plan.processes["last"].depends_on == {"plain": Condition.STARTED}
    assert "not converted: [eventlistener:e] has no counterpart" in notes
    assert any("stdout_logfile was /var/log/x.log" in note for note in notes)
    assert not any("stderr_logfile" in note or "unix_http_server" in note for note in notes)


def test_a_procfiles_lines() -> None:
    text = """# shop
release: ./manage.py migrate
web: gunicorn -b 0.0.0.0:$PORT app
worker: celery -A x "a b"
two words
long: cd x && ./y $$ ${HOME}
"""
    plan, notes = converted(procfile.convert, text)
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
    st.dictionaries(NAMES, ENTRY, min_size=1), st.dictionaries(WORDS | st.just("restart_backoff"), VALUES, max_size=2)
)
def test_any_phpeek_file_becomes_a_good_plan_or_is_refused(processes: object, usual: object) -> None:
    assert_good_or_refused(phpeek.convert, yaml.safe_dump({"global": usual, "processes": processes}))


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
