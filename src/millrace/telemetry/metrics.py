"""The one table of what Millrace measures, for Prometheus. What is served is made from it, and docs are tested against it."""

from typing import Literal

from msgspec import Struct

Kind = Literal["counter", "gauge", "histogram"]


class Metric(Struct, frozen=True, kw_only=True):
    """One row of the table. `help` is the sentence that Prometheus and the docs show."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


METRICS: tuple[Metric, ...] = (
    Metric(name="millrace_jobs", kind="gauge", help="Jobs by state.", labels=("state",)),
    Metric(name="millrace_nodes", kind="gauge", help="Registered nodes by state.", labels=("state",)),
    Metric(name="millrace_waiting_claims", kind="gauge", help="Claims that wait for work in this master."),
    Metric(
        name="millrace_store_up",
        kind="gauge",
        help="Whether the database answers. While it does not, jobs, nodes, messages of webhooks and quotas are left out.",
    ),
    Metric(
        name="millrace_store_connections",
        kind="gauge",
        help="Connections to PostgreSQL, by whether a request uses them (busy) or none does (idle), without the one that listens.",
        labels=("state",),
    ),
    Metric(
        name="millrace_store_connections_most",
        kind="gauge",
        help="How many of them there may be at present: this master's share of what the server lets in.",
    ),
    Metric(name="millrace_store_waiting", kind="gauge", help="Requests that wait for a connection to PostgreSQL."),
    Metric(
        name="millrace_store_wait_seconds_total",
        kind="counter",
        help="Seconds that requests have waited for a connection to PostgreSQL.",
    ),
    Metric(
        name="millrace_webhook_messages",
        kind="gauge",
        help="Messages of webhooks that wait (pending), or were given up (dead).",
        labels=("state",),
    ),
    Metric(
        name="millrace_tls_certificate_expiry_time_seconds",
        kind="gauge",
        help="When the certificate that this master shows ends, since 1970; absent without TLS.",
    ),
    Metric(
        name="millrace_tls_certificate_failures_total",
        kind="counter",
        help="Times that another certificate could not be taken, and the one before was kept.",
    ),
    Metric(
        name="millrace_masters",
        kind="gauge",
        help="Masters that this one saw in the last seconds, itself among them.",
    ),
    Metric(name="millrace_leads", kind="gauge", help="1 while this master leads."),
    Metric(
        name="millrace_rate_limited_total",
        kind="counter",
        help="Requests that were refused because their caller asked too often, by the rate they fell under.",
        labels=("rate",),
    ),
    Metric(
        name="millrace_tenant_quota_limit",
        kind="gauge",
        help="Limits of tenants (concurrent, queued, per_day, storage_bytes), of a hundred tenants at the most.",
        labels=("tenant", "quota"),
    ),
    Metric(
        name="millrace_tenant_quota_used",
        kind="gauge",
        help="How much the same tenants use of each.",
        labels=("tenant", "quota"),
    ),
    Metric(
        name="millrace_quota_refusals_total",
        kind="counter",
        help="Requests that this master refused because a quota was used up.",
        labels=("quota",),
    ),
    Metric(
        name="millrace_schedule_runs_total",
        kind="counter",
        help="Times of schedules that this master saw come due, by what became of each.",
        labels=("outcome",),
    ),
    Metric(
        name="millrace_audit_unwritten_total",
        kind="counter",
        help="Entries of the audit trail that the database never took; they are in this master's log.",
    ),
    Metric(
        name="millrace_http_requests_total",
        kind="counter",
        help="Requests answered.",
        labels=("route", "method", "status"),
    ),
    Metric(
        name="millrace_http_request_seconds",
        kind="histogram",
        help="Time to answer a request.",
        labels=("route",),
    ),
)

_EACH = ("process", "instance")
SUPERVISOR_METRICS: tuple[Metric, ...] = (
    Metric(name="millrace_supervisor_process_up", kind="gauge", help="1 while the instance runs.", labels=_EACH),
    Metric(name="millrace_supervisor_process_ready", kind="gauge", help="1 while it is ready.", labels=_EACH),
    Metric(
        name="millrace_supervisor_process_restarts_total",
        kind="counter",
        help="Starts of the instance after its first, by why it had ended: asked, unhealthy, well (by itself), crash.",
        labels=(*_EACH, "why"),
    ),
    Metric(
        name="millrace_supervisor_process_failures",
        kind="gauge",
        help="Ends in a row that nobody asked for.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_start_time_seconds",
        kind="gauge",
        help="When the running process was started, since 1970.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_last_exit_code",
        kind="gauge",
        help="How it ended the last time; 128 and the signal's number where one ended it.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_exits_total",
        kind="counter",
        help="Processes that ended, by exit code or signal, and why: asked, unhealthy, well (by itself), crash.",
        labels=("process", "code", "why"),
    ),
    Metric(
        name="millrace_supervisor_process_cpu_seconds_total",
        kind="counter",
        help="CPU time of the instance with all that it started, of all its runs.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_resident_memory_bytes",
        kind="gauge",
        help="Memory of the instance with all that it started; a page that several share counts in each.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_virtual_memory_bytes",
        kind="gauge",
        help="Address space of the instance with all that it started.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_proportional_memory_bytes",
        kind="gauge",
        help="The same, with a shared page divided between those that share it (PSS).",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_read_bytes_total",
        kind="counter",
        help="Bytes that its present run read from storage.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_written_bytes_total",
        kind="counter",
        help="Bytes that its present run wrote to storage.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_process_tree_processes", kind="gauge", help="Processes of the instance.", labels=_EACH
    ),
    Metric(name="millrace_supervisor_process_threads", kind="gauge", help="Threads of all of them.", labels=_EACH),
    Metric(
        name="millrace_supervisor_process_open_descriptors",
        kind="gauge",
        help="Open file descriptors of all of them.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_health_checks_total",
        kind="counter",
        help="Answers of health checks, by outcome.",
        labels=("process", "type", "outcome"),
    ),
    Metric(
        name="millrace_supervisor_health_check_seconds",
        kind="histogram",
        help="Time until a health check was answered.",
        labels=("process", "type"),
    ),
    Metric(
        name="millrace_supervisor_health_check_status",
        kind="gauge",
        help="1 if its last answer was well; absent before the first one.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_health_check_misses",
        kind="gauge",
        help="Failed answers of its health check in a row.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_hook_runs_total",
        kind="counter",
        help="Attempts of hooks, by outcome; the process is empty for those of the whole.",
        labels=("process", "moment", "outcome"),
    ),
    Metric(
        name="millrace_supervisor_hook_seconds",
        kind="histogram",
        help="How long attempts of hooks took.",
        labels=("process", "moment"),
    ),
    Metric(
        name="millrace_supervisor_job_runs_total",
        kind="counter",
        help="Runs of scheduled processes that ended, by outcome.",
        labels=("process", "outcome"),
    ),
    Metric(
        name="millrace_supervisor_job_seconds",
        kind="histogram",
        help="How long runs of scheduled processes took.",
        labels=("process",),
    ),
    Metric(
        name="millrace_supervisor_job_skipped_total",
        kind="counter",
        help="Times at which a scheduled process did not run, as as many runs went on as may.",
        labels=("process",),
    ),
    Metric(name="millrace_supervisor_job_running", kind="gauge", help="How many runs go on.", labels=("process",)),
    Metric(
        name="millrace_supervisor_job_paused",
        kind="gauge",
        help="1 while its times are passed over.",
        labels=("process",),
    ),
    Metric(
        name="millrace_supervisor_job_next_run_time_seconds",
        kind="gauge",
        help="When it runs next, since 1970; absent while it is paused or stopped.",
        labels=("process",),
    ),
    Metric(
        name="millrace_supervisor_job_last_run_time_seconds",
        kind="gauge",
        help="When its last run began, since 1970.",
        labels=("process",),
    ),
    Metric(
        name="millrace_supervisor_job_last_success_time_seconds",
        kind="gauge",
        help="When a run last ended well, since 1970.",
        labels=("process",),
    ),
    Metric(
        name="millrace_supervisor_heartbeats_total",
        kind="counter",
        help="What a monitor was told of runs of a scheduled process (start, success, failure), and whether it heard.",
        labels=("process", "sign", "outcome"),
    ),
    Metric(
        name="millrace_supervisor_heartbeat_seconds",
        kind="histogram",
        help="How long that took, with all its attempts.",
        labels=("process", "sign"),
    ),
    Metric(
        name="millrace_supervisor_heartbeat_last_success_time_seconds",
        kind="gauge",
        help="When a monitor last heard, since 1970.",
        labels=("process",),
    ),
    Metric(
        name="millrace_supervisor_desired_scale",
        kind="gauge",
        help="How many instances there shall be.",
        labels=("process",),
    ),
    Metric(
        name="millrace_supervisor_current_scale",
        kind="gauge",
        help="How many instances run.",
        labels=("process",),
    ),
    Metric(name="millrace_supervisor_ready", kind="gauge", help="1 while all that is wanted is ready."),
    Metric(
        name="millrace_supervisor_start_time_seconds", kind="gauge", help="When the supervisor started, since 1970."
    ),
    Metric(
        name="millrace_supervisor_resource_look_seconds",
        kind="histogram",
        help="How long looks at what processes use took.",
    ),
    Metric(
        name="millrace_supervisor_resource_look_errors_total",
        kind="counter",
        help="Looks at an instance in which this user could not see all that it uses.",
        labels=_EACH,
    ),
    Metric(
        name="millrace_supervisor_cpu_seconds_total",
        kind="counter",
        help="CPU time of the supervisor itself.",
    ),
    Metric(
        name="millrace_supervisor_resident_memory_bytes",
        kind="gauge",
        help="Memory of the supervisor itself.",
    ),
    Metric(
        name="millrace_supervisor_open_descriptors",
        kind="gauge",
        help="Open file descriptors of the supervisor itself.",
    ),
    Metric(
        name="millrace_supervisor_shutdown_seconds",
        kind="gauge",
        help="Since when everything is being stopped; absent before. The log has how long it took (`supervisor.ended`).",
    ),
    Metric(
        name="millrace_supervisor_audit_lost_total",
        kind="counter",
        help="Entries of the audit trail that its file did not take.",
    ),
    Metric(
        name="millrace_supervisor_http_requests_total",
        kind="counter",
        help="Requests that the control API answered; 429 are those beyond the rate limit.",
        labels=("route", "method", "status"),
    ),
    Metric(
        name="millrace_supervisor_build_info", kind="gauge", help="1, with the versions.", labels=("version", "python")
    ),
)
"""What a supervisor serves. The series of what was scaled away or taken out of the plan are gone."""
