"""Sizes of pools: the golden vectors of the predecessor, fractions of CPUs, and the tightest limit of cgroups."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from supervision import a_process

from millrace.cli.failure import CommandError
from millrace.cli.supervise import app
from millrace.process.values import CannotStart
from millrace.supervisor.plan_document import PlanError, plan_from
from millrace.supervisor.tuning.catalogue import profiles
from millrace.supervisor.tuning.limits import resources
from millrace.supervisor.tuning.sizing import size
from millrace.supervisor.tuning.tuner import Tuner
from millrace.supervisor.tuning.values import Bound, CannotTune, Resources, Sizing, Tune


def sized(profile: str, memory_mb: int, cpus: float, **changes: float) -> Sizing:
    there = Resources(memory_mb=memory_mb, cpus=Fraction(str(cpus)), memory_from="a limit", cpus_from="a limit")
    return size(Tune(profile=profile, changes=changes), profiles()[profile], there)


# MiB, CPUs: workers, start, spare min, spare max, MiB in all. Run on the predecessor's own code.
GOLDEN = """
dev 512 1 2 - - - 192
light 512 1 3 1 1 2 332
light 1024 2 8 2 2 4 512
light 2048 4 16 4 4 8 800
medium 512 1 4 2 1 2 488
medium 1024 2 8 3 2 4 656
medium 2048 4 16 6 4 8 992
medium 8192 8 32 11 8 16 1664
heavy 2048 4 16 8 4 8 1472
heavy 8192 8 32 16 7 16 2304
bursty 512 1 4 2 2 3 496
bursty 2048 4 16 8 7 12 1024
bursty 8192 8 32 16 13 23 1728
"""


@pytest.mark.parametrize("line", GOLDEN.strip().splitlines())
def test_the_golden_vectors(line: str) -> None:
    name, memory_mb, cpus, *expected, used_mb = line.split()
    found = sized(f"php-fpm/{name}", int(memory_mb), int(cpus))
    names = ("PHP_FPM_MAX_CHILDREN", "PHP_FPM_START_SERVERS", "PHP_FPM_MIN_SPARE", "PHP_FPM_MAX_SPARE")
    assert [found.variables.get(each, "-") for each in names] == expected
    assert found.used_mb == int(used_mb)
    assert found.variables["PHP_FPM_PM"] == ("static" if name == "dev" else "dynamic")


def test_ratios_are_what_they_say() -> None:
    assert sized("php-fpm/medium", 65536, 25).variables["PHP_FPM_START_SERVERS"] == "33"  # a float's 0.33 is a bit more


@pytest.mark.parametrize(
    ("name", "memory_mb", "cpus", "why"),
    [
        ("dev", 256, 1, "50% of 256 MiB .a limit. less 128 MiB holds no worker of 32 MiB"),
        ("heavy", 512, 1, "holds no worker of 52 MiB"),
        ("heavy", 1024, 2, "its least, 8 workers, takes 1056 MiB, and there are 1024 MiB"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, memory_mb: int, cpus: int, why: str) -> None:
    with pytest.raises(CannotTune, match=why):
        sized(f"php-fpm/{name}", memory_mb, cpus)


@pytest.mark.parametrize(
    ("profile", "memory_mb", "cpus", "workers", "bound"),
    [
        ("gunicorn/sync", 4096, 2, 5, Bound.CPU),  # 2 x CPUs + 1
        ("gunicorn/sync", 4096, 0.5, 2, Bound.CPU),
        ("gunicorn/sync", 512, 8, 3, Bound.MEMORY),
        ("puma", 8192, 2.9, 2, Bound.CPU),
        ("puma", 8192, 0.25, 1, Bound.CPU),
        ("celery/io", 8192, 1.5, 6, Bound.CPU),
        ("node", 8192, 4, 4, Bound.CPU),
        ("php-fpm/medium", 8192, 0.1, 4, Bound.MINIMUM),
        ("php-fpm/dev", 8192, 8, 2, Bound.MAXIMUM),
    ],
)
def test_which_bound_binds(profile: str, memory_mb: int, cpus: float, workers: int, bound: Bound) -> None:
    found = sized(profile, memory_mb, cpus)
    assert (found.workers, found.bound) == (workers, bound)


def test_a_plan_may_change_what_a_profile_says() -> None:
    assert sized("generic", 4096, 4, workers_per_cpu=0.5).workers == 2
    assert sized("generic", 1024, 4, worker_mb=300, memory_share=1.0).workers == 3
    there = Resources(memory_mb=4096, cpus=Fraction(4), memory_from="a limit", cpus_from="a limit")
    assert size(Tune(profile="generic", share=0.5), profiles()["generic"], there).workers == 2


@given(
    st.sampled_from(sorted(profiles())), st.integers(1, 1 << 17), st.fractions(Fraction(1, 100), 256),
    st.floats(0.01, 1.0),
)  # fmt: skip
def test_no_size_is_ever_more_than_there_is(profile: str, memory_mb: int, cpus: Fraction, share: float) -> None:
    try:
        found = size(Tune(profile=profile, share=share), profiles()[profile], Resources(memory_mb=memory_mb, cpus=cpus))
    except CannotTune:
        return
    assert found.workers >= 1
    assert found.used_mb <= memory_mb * share
    assert set(found.variables) <= set(profiles()[profile].variables)
    if "start" in found.quantities:
        low, start, high = (int(found.quantities[name]) for name in ("spare_min", "start", "spare_max"))
        assert 1 <= low <= start <= high <= found.workers


# Limits --------------------------------------------------------------------------------------------------------------


def machine(root: Path, own: str) -> Path:
    """A machine of 8 GiB, with these lines in /proc/self/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:        8388608 kB\nMemFree: 1 kB\n")
    (root / "proc/self/cgroup").write_text(own)
    return root


def put(root: Path, path: str, text: str) -> None:
    file = root / "sys/fs/cgroup" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_tightest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/pod/web\n")
    put(root, "cgroup.controllers", "cpu memory")
    put(root, "pod/memory.max", f"{512 << 20}\n")
    put(root, "pod/cpu.max", "150000 100000\n")
    put(root, "pod/web/memory.max", f"{1 << 30}\n")
    put(root, "pod/web/cpu.max", "max 100000\n")
    found = resources(root)
    assert (found.memory_mb, found.memory_from) == (512, "/sys/fs/cgroup/pod/memory.max")
    put(root, "pod/web/memory.high", f"{256 << 20}\n")
    assert resources(root).memory_from == "/sys/fs/cgroup/pod/web/memory.high"
    put(root, "pod/web/cpu.max", "25000 100000\n")
    found = resources(root)
    assert (found.cpus, found.cpus_from) == (Fraction(1, 4), "/sys/fs/cgroup/pod/web/cpu.max")


def test_a_container_whose_path_is_that_of_the_host_finds_its_own_limits(tmp_path: Path) -> None:
    root = machine(tmp_path, "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n")
    put(root, "memory/memory.limit_in_bytes", f"{384 << 20}\n")
    put(root, "cpu,cpuacct/cpu.cfs_quota_us", "5000\n")
    put(root, "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    found = resources(root)
    assert (found.memory_mb, found.cpus) == (384, Fraction(1, 20))


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", "", "-1"])
def test_where_there_is_no_limit_the_host_counts(tmp_path: Path, limit: str) -> None:
    root = machine(tmp_path, "4:memory:/\n1:cpu:/\n0::/\n")
    put(root, "memory/memory.limit_in_bytes", limit)
    put(root, "cgroup.controllers", "")
    put(root, "memory.max", limit)
    put(root, "cpu/cpu.cfs_quota_us", "-1")
    put(root, "cpu/cpu.cfs_period_us", "100000")
    put(root, "cpu.max", "max 100000")
    found = resources(root)
    assert (found.memory_mb, found.memory_from) == (8192, "host")
    assert "cgroup" not in found.cpus_from
    assert any(
        "no limit of memory" in one for one in size(Tune(profile="generic"), profiles()["generic"], found).warnings
    )


def test_a_cpu_set_counts(tmp_path: Path) -> None:
    found = resources(machine(tmp_path, ""), affinity=1)
    assert found.cpus == 1


# In a plan, and by hand ----------------------------------------------------------------------------------------------


def tune_in(text: str) -> Tune | None:
    return plan_from(f"processes: {{web: {{command: [web], tune: {text}}}}}", {}).processes["web"].tune


def test_the_words_of_a_plan() -> None:
    assert tune_in("php-fpm/medium") == Tune(profile="php-fpm/medium")
    assert tune_in("{profile: node, share: 0.5, worker_mb: 80, memory_share: 0.9}") == Tune(
        profile="node", share=0.5, changes={"worker_mb": 80, "memory_share": 0.9}
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("php-fpm/medum", "tune is 'php-fpm/medum', and there is no such profile; did you mean php-fpm/medium?"),
        ("{}", "tune.profile is missing"),
        ("{profile: node, worker_mb: 0}", "tune.worker_mb is 0; allowed: 1 to"),
        ("{profile: node, memory_share: 1.5}", "tune.memory_share is 1.5; allowed: 0.05 to 1"),
        ("{profile: node, min_workers: 3, max_workers: 2}", "tune.min_workers is more than max_workers"),
        ("{profile: node, workers: 3}", "tune.workers is unknown"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned(text: str, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        tune_in(text)
    assert said in str(refused.value)


def test_a_process_gets_what_nobody_set_by_hand() -> None:
    there = Resources(memory_mb=1024, cpus=Fraction(2))
    process = a_process("web", tune=Tune(profile="gunicorn/threads"))
    found = Tuner({"GUNICORN_THREADS": "9"}, look=lambda: there).variables(process)
    assert found == {"WEB_CONCURRENCY": "3", "GUNICORN_MAX_REQUESTS": "2000"}
    with pytest.raises(CannotStart, match="cannot size a pool as gunicorn/threads"):
        Tuner({}, look=lambda: Resources(memory_mb=64, cpus=Fraction(2))).variables(process)
    assert Tuner({}, look=lambda: there).variables(a_process("web")) == {}


def test_the_command_explains() -> None:
    words = ["tune", "php-fpm/medium", "--memory", "2G", "--cpus", "0.5"]
    said = CliRunner().invoke(app, words).stdout
    assert "workers 4, bound by minimum (alone: memory 28, cpu 2, minimum 4); full, the pool takes 488 MiB" in said
    assert "PHP_FPM_MAX_CHILDREN=4\n" in CliRunner().invoke(app, [*words, "--env"]).stdout
    document = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (document["workers"], document["bound"], document["resources"]["cpus"]) == (4, "minimum", 0.5)
    everything = json.loads(CliRunner().invoke(app, ["tune", "--json"]).stdout)
    assert set(everything["profiles"]) == set(profiles())


@pytest.mark.parametrize(
    ("words", "code"),
    [(["none"], 2), (["node", "--cpus", "0"], 2), (["node", "--memory", "much"], 2), (["node", "--memory", "64M"], 1)],
)
def test_the_command_refuses(words: list[str], code: int) -> None:
    done = CliRunner().invoke(app, ["tune", *words])
    assert (done.exception.code if isinstance(done.exception, CommandError) else done.exit_code) == code
