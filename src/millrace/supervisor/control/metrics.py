"""What `/metrics` says: made anew from what is there, so that nothing of what has gone is left. Pure."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import millrace
from millrace.edge.tally import Row
from millrace.supervisor.facts import Facts, LastEnd
from millrace.supervisor.happenings import Why
from millrace.supervisor.ledger import Histogram, Ledger
from millrace.supervisor.plan import Plan
from millrace.supervisor.resources import LOOK_BOUNDS_S, Sample
from millrace.supervisor.state import Id, Phase, State
from millrace.telemetry.exposition import family, histogram
from millrace.telemetry.metrics import SUPERVISOR_METRICS

_TABLE = {metric.name.removeprefix("millrace_supervisor_"): metric for metric in SUPERVISOR_METRICS}
_UP = frozenset({Phase.RUNNING, Phase.STOPPING})

Series = list[tuple[tuple[str, ...], float]]


def exposition(
    plan: Plan,
    state: State,
    facts: Mapping[Id, Facts],
    *,
    ledger: Ledger,
    samples: Mapping[Id, Sample],
    whole: Mapping[str, float],
    requests: Iterable[Row] = (),
    looks: Histogram | None = None,
    hidden: Mapping[Id, int] | None = None,
    ending_for_s: float | None = None,
) -> str:
    """Everything, in the text format of Prometheus. `whole` are values of the supervisor itself, `looks` how long those at
    resources took and `hidden` how many of them could not see all of an instance; `ending_for_s` is None before the end.
    """
    ledger.keep(plan.processes)
    each: dict[str, Series] = {name: [] for name, metric in _TABLE.items() if metric.kind != "histogram"}
    each |= {name: [((), value)] for name, value in whole.items()}
    _instances(each, plan, state, facts)
    _usage(each, facts, samples)
    _jobs(each, plan, state, ledger)
    each["process_exits_total"] = _counted(ledger.exits)
    there = {str(ident) for ident in state.instances}
    # Alerts need a series before the first crash.
    restarts = {
        (ident.process, str(ident), Why.CRASH.value): 0 for ident in state.instances if ident.process not in state.jobs
    }
    each["process_restarts_total"] = _counted(
        restarts | {key: n for key, n in ledger.restarts.items() if key[1] in there}
    )
    each["resource_look_errors_total"] = sorted(
        ((ident.process, str(ident)), count) for ident, count in (hidden or {}).items() if ident in state.instances
    )
    each["shutdown_seconds"] = [] if ending_for_s is None else [((), ending_for_s)]
    each["health_checks_total"] = _counted(ledger.checks)
    each["hook_runs_total"] = _counted(ledger.hooks)
    each["job_runs_total"] = _counted(ledger.jobs)
    each["heartbeats_total"] = _counted(ledger.signs)
    each["heartbeat_last_success_time_seconds"] = [
        ((name,), at.timestamp()) for name, at in sorted(ledger.last_heard.items())
    ]
    each["http_requests_total"] = _http(requests)
    each["build_info"] = [((millrace.__version__, platform.python_version()), 1)]
    durations = {
        "health_check_seconds": ledger.check_s, "hook_seconds": ledger.hook_s, "job_seconds": ledger.job_s,
        "heartbeat_seconds": ledger.sign_s, "resource_look_seconds": looks or Histogram(LOOK_BOUNDS_S),
    }  # fmt: skip
    return "\n".join([*_lines(each, durations), ""])


def _instances(each: dict[str, Series], plan: Plan, state: State, facts: Mapping[Id, Facts]) -> None:
    running = dict.fromkeys(sorted(plan.processes), 0)
    for ident, instance in sorted(state.instances.items()):
        key, known = (ident.process, str(ident)), facts.get(ident, Facts())
        up = instance.phase in _UP and known.pid is not None
        if ident.process in running:
            running[ident.process] += up
            if plan.processes[ident.process].health_check is not None:
                each["health_check_misses"].append((key, instance.misses))
                if instance.passes or instance.misses:
                    each["health_check_status"].append((key, not instance.misses))
        each["process_up"].append((key, up))
        each["process_ready"].append((key, instance.ready))
        each["process_failures"].append((key, instance.failures))
        if up and known.started is not None:
            each["process_start_time_seconds"].append((key, known.started.timestamp()))
        if known.last_end is not None and (code := _code(known.last_end)) is not None:
            each["process_last_exit_code"].append((key, code))
    each["desired_scale"] = [((name,), state.wanted.get(name, 0)) for name in running]
    each["current_scale"] = [((name,), count) for name, count in running.items()]


def _usage(each: dict[str, Series], facts: Mapping[Id, Facts], samples: Mapping[Id, Sample]) -> None:
    """What an instance uses; of one that does not run, the CPU time of its runs before."""
    for ident, known in sorted(facts.items()):
        key, sample = (ident.process, str(ident)), samples.get(ident)
        cpu_s = known.spent_s if sample is None else max(known.spent_s, sample.cpu_s)
        each["process_cpu_seconds_total"].append((key, cpu_s))
        if sample is None:
            continue
        usage = sample.usage
        for name, value in (
            ("process_resident_memory_bytes", usage.rss_bytes),
            ("process_virtual_memory_bytes", usage.virtual_bytes),
            ("process_proportional_memory_bytes", usage.pss_bytes),
            ("process_read_bytes_total", usage.read_bytes),
            ("process_written_bytes_total", usage.written_bytes),
            ("process_tree_processes", usage.processes),
            ("process_threads", usage.threads),
            ("process_open_descriptors", usage.descriptors),
        ):
            if value is not None:
                each[name].append((key, value))


def _jobs(each: dict[str, Series], plan: Plan, state: State, ledger: Ledger) -> None:
    for name, job in sorted(state.jobs.items()):
        if name not in plan.processes:
            continue
        each["job_running"].append(((name,), sum(run.began is not None for run in job.current)))
        each["job_paused"].append(((name,), job.paused))
        each["job_skipped_total"].append(((name,), job.skipped))
        if job.due is not None and not job.paused and state.wanted.get(name):
            each["job_next_run_time_seconds"].append(((name,), job.due.timestamp()))
        began = max((run.began for run in (*job.current, *job.history) if run.began is not None), default=None)
        if began is not None:
            each["job_last_run_time_seconds"].append(((name,), began.timestamp()))
        success: datetime | None = ledger.last_success.get(name)
        if success is not None:
            each["job_last_success_time_seconds"].append(((name,), success.timestamp()))


def _http(rows: Iterable[Row]) -> Series:
    return [((row.route, row.method, str(row.status)), row.buckets[-1]) for row in rows]


def _counted(counts: Mapping[tuple[str, ...], int]) -> Series:
    return sorted(counts.items())


def _lines(each: Mapping[str, Series], durations: Mapping[str, Histogram]) -> Iterator[str]:
    for name, metric in _TABLE.items():
        if (found := durations.get(name)) is not None:
            yield from histogram(metric, found.bounds_s, found.rows())
        else:
            yield from family(metric, each[name])


def _code(end: LastEnd) -> int | None:
    if end.code is not None:
        return end.code
    return None if end.signal is None else 128 + end.signal
