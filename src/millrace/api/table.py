"""The whole surface, readable at a glance: method, path, who may, which handler, what goes in, what comes out.

Every route may also refuse with 400, 401, 403, 405, 415, 500 and 503; `also` names what else a route refuses with.
"""

from typing import Any

from millrace.api import (
    aliases,
    audit,
    batches,
    cache,
    direct,
    enrolment,
    events,
    explanation,
    jobs,
    keys,
    logs,
    masters,
    nodes,
    outputs,
    parts,
    profiles,
    schedules,
    system,
    tasks,
    tenants,
    uploads,
    webhooks,
)
from millrace.api.master import Limits, Master
from millrace.api.own_node import Whose, as_itself, by_body, by_fingerprint, by_nothing, by_path, by_query, never
from millrace.api.parameters import (
    AUDIT,
    BATCH_JOBS,
    BATCHES,
    CHAIN,
    DELIVERIES,
    ENDED,
    FENCE,
    FILTERS,
    FOLLOW,
    IDEMPOTENCY,
    LOG,
    OFFSET,
    PIECE,
    RANGE,
)
from millrace.edge.route import JSON_LIMIT, Access, Body, Handler, Route
from millrace.wire.v1 import audit as a
from millrace.wire.v1 import batches as b
from millrace.wire.v1 import enrolment as e
from millrace.wire.v1 import explanation as x
from millrace.wire.v1 import jobs as j
from millrace.wire.v1 import keys as k
from millrace.wire.v1 import masters as m
from millrace.wire.v1 import schedules as c
from millrace.wire.v1 import system as s
from millrace.wire.v1 import tenants as t
from millrace.wire.v1 import webhooks as h
from millrace.wire.v1 import work as w
from millrace.wire.v1.base import Document

OPEN, READ, INSPECT, SUBMIT, FETCH = Access.OPEN, Access.READ, Access.INSPECT, Access.SUBMIT, Access.FETCH
OPERATE, ADMIN, WORK = Access.OPERATE, Access.ADMIN, Access.WORK
JSON, OPTIONAL_JSON, RAW = Body.JSON, Body.OPTIONAL_JSON, Body.RAW

JOIN_LIMIT = 16 << 10
BATCH_LIMIT = 16 << 20
COMPLETION_LIMIT = 64 << 20
"""A long film in short segments and many renditions has tens of thousands of outputs."""


def R(  # noqa: N802  a row's name is short, so that the rows can be read
    method: str,
    path: str,
    access: Access,
    handler: Handler[Master],
    summary: str,
    *,
    takes: object = None,
    gives: object = None,
    body: Body | None = None,
    also: tuple[int, ...] = (),
    whose: Whose | None = None,
    **more: Any,
) -> Route[Master]:
    """One row. One for workers says with `whose` where the node stands that a request speaks for."""
    if access is WORK:
        if whose is None:
            raise TypeError(f"{method} {path} does not say for whose node a request speaks")
        handler = as_itself(handler, whose)
    kind = body or (Body.NONE if takes is None else JSON)
    return Route(
        method=method,
        path=path,
        access=access,
        handler=handler,
        summary=summary,
        body=kind,
        request=takes,
        reply=gives,
        statuses=also,
        **more,
    )


# fmt: off
TABLE: tuple[Route[Master], ...] = (
    # Jobs, for people
    R("POST", "/v1/jobs", SUBMIT, jobs.create, "Submit a job.", takes=j.JobRequest, gives=j.JobDetail, status=201, also=(413, 422, 429, 507), params=IDEMPOTENCY, made=audit.made_job, frequent=True),
    R("GET", "/v1/jobs", READ, jobs.show_all, "List jobs, newest first.", gives=j.JobList, params=FILTERS),
    R("POST", "/v1/jobs/retry", SUBMIT, jobs.retry_dead, "Run dead jobs again: those that failed for good although they may well work now.", takes=j.RetryManyRequest, gives=j.RetryManyReply, also=(429,)),
    R("GET", "/v1/jobs/{ref}", READ, jobs.show, "Show a job, by id or number.", gives=j.JobDetail, also=(404,)),
    R("GET", "/v1/jobs/{ref}/explain", READ, explanation.explain, "Say why a job is encoded as it is, or why it waits.", gives=x.Explanation, also=(404,)),
    R("POST", "/v1/jobs/{ref}/cancel", SUBMIT, jobs.cancel, "End a job.", gives=j.JobDetail, also=(404, 409), watch=audit.watch_job),
    R("POST", "/v1/jobs/{ref}/pause", SUBMIT, jobs.pause, "Hold a job; a running engine stops in place.", gives=j.JobDetail, also=(404, 409), watch=audit.watch_job),
    R("POST", "/v1/jobs/{ref}/resume", SUBMIT, jobs.resume, "Let a held job go on.", gives=j.JobDetail, also=(404, 409), watch=audit.watch_job),
    R("POST", "/v1/jobs/{ref}/retry", SUBMIT, jobs.retry, "Run a failed, canceled or rejected job again.", gives=j.JobDetail, also=(404, 409, 429), watch=audit.watch_job),
    R("GET", "/v1/jobs/{ref}/logs", READ, logs.show, "Read a job's logs, while they grow and after the end.", media="text/plain", also=(404,), params=LOG),
    R("GET", "/v1/jobs/{ref}/outputs/{name*}", READ, outputs.get, "Fetch an output that the master keeps.", media="application/octet-stream", also=(404, 409, 410, 416), params=RANGE),
    R("POST", "/v1/batches", SUBMIT, batches.create, "Submit many jobs at once: all of them, or none.", takes=b.BatchRequest, gives=b.BatchDetail, status=201, also=(413, 422, 429, 507), params=IDEMPOTENCY, made=audit.made_batch, audited=audit.told_batch, limit=BATCH_LIMIT),
    R("GET", "/v1/batches", READ, batches.show_all, "List batches, newest first.", gives=b.BatchList, params=BATCHES),
    R("GET", "/v1/batches/{id}", READ, batches.show, "Show a batch: how far it is, and what failed of it.", gives=b.BatchDetail, also=(404,)),
    R("GET", "/v1/batches/{id}/jobs", READ, batches.show_jobs, "List a batch's jobs, in the order of their submission.", gives=j.JobList, also=(404,), params=BATCH_JOBS),
    R("POST", "/v1/batches/{id}/cancel", SUBMIT, batches.cancel, "End a page of a batch's jobs.", takes=b.SteerBatchRequest, body=OPTIONAL_JSON, gives=b.SteerBatchReply, also=(404,), watch=audit.watch_batch),
    R("POST", "/v1/batches/{id}/retry", SUBMIT, batches.retry, "Run a page of those jobs of a batch again that did not complete.", takes=b.SteerBatchRequest, body=OPTIONAL_JSON, gives=b.SteerBatchReply, also=(404, 429), watch=audit.watch_batch),
    R("GET", "/v1/events", READ, events.stream, "Follow every transition, as server-sent events.", media=events.MEDIA, also=(404,), params=FOLLOW),

    # Schedules
    R("POST", "/v1/schedules", SUBMIT, schedules.create, "Submit a job again and again, whenever a cron expression comes due.", takes=c.ScheduleRequest, gives=c.ScheduleDetail, status=201, also=(409, 413, 422), made=audit.made_schedule),
    R("GET", "/v1/schedules", READ, schedules.show_all, "List schedules, by tenant and name.", gives=c.ScheduleList),
    R("GET", "/v1/schedules/{ref}", READ, schedules.show, "Show a schedule, by id or name, with its last runs.", gives=c.ScheduleDetail, also=(404, 409)),
    R("DELETE", "/v1/schedules/{ref}", SUBMIT, schedules.remove, "Forget a schedule; its jobs stay.", status=204, also=(404, 409), watch=audit.watch_schedule),
    R("POST", "/v1/schedules/{ref}/pause", SUBMIT, schedules.pause, "Let no time of a schedule come.", gives=c.ScheduleDetail, also=(404, 409), watch=audit.watch_schedule),
    R("POST", "/v1/schedules/{ref}/resume", SUBMIT, schedules.resume, "Let times of a schedule come again, from now on.", gives=c.ScheduleDetail, also=(404, 409), watch=audit.watch_schedule),
    R("POST", "/v1/schedules/{ref}/trigger", SUBMIT, schedules.trigger, "Submit the job of a schedule now.", gives=c.RunView, also=(404, 409), watch=audit.watch_schedule),

    # Nodes, for people
    R("GET", "/v1/nodes", INSPECT, nodes.show_all, "List nodes, oldest first.", gives=w.NodeList),
    R("GET", "/v1/nodes/{ref}", INSPECT, nodes.show, "Show a node, by id or name.", gives=w.NodeView, also=(404,)),
    R("DELETE", "/v1/nodes/{ref}", OPERATE, nodes.remove, "Forget a node that holds nothing; its own key ends.", status=204, also=(404, 409), watch=audit.watch_node),
    R("POST", "/v1/nodes/{ref}/drain", OPERATE, nodes.drain, "Let a node finish what it has and take no more.", gives=w.NodeView, also=(404, 409), watch=audit.watch_node),
    R("POST", "/v1/nodes/{ref}/resume", OPERATE, nodes.resume, "Let a draining node take work again.", gives=w.NodeView, also=(404, 409), watch=audit.watch_node),
    R("POST", "/v1/nodes/{ref}/release", OPERATE, nodes.release, "End a node's quarantine.", gives=w.NodeView, also=(404, 409), watch=audit.watch_node),
    R("POST", "/v1/nodes/{ref}/revoke", OPERATE, nodes.revoke, "End a node's own key; what it holds goes back.", gives=w.NodeView, also=(404, 409), watch=audit.watch_node),

    # Masters
    R("GET", "/v1/masters", INSPECT, masters.show_all, "List the masters on this store, and say which one leads.", gives=m.MasterList),

    # The worker protocol
    R("POST", "/v1/nodes", WORK, tasks.register, "Register a worker under its fingerprint.", takes=w.RegisterRequest, gives=w.RegisterReply, also=(409, 413, 507), whose=by_fingerprint, noted=True, frequent=True, audited=audit.told_registration, made=audit.made_registration),
    R("POST", "/v1/nodes/{ref}/claim", WORK, tasks.claim, "Claim tasks, waiting for some.", takes=w.ClaimRequest, gives=w.ClaimReply, also=(409,), quiet=True, whose=by_path),
    R("POST", "/v1/nodes/{ref}/heartbeat", WORK, tasks.heartbeat, "Extend the lease and report progress.", takes=w.HeartbeatRequest, gives=w.HeartbeatReply, also=(409, 413), quiet=True, whose=by_path),
    R("POST", "/v1/nodes/{ref}/proof", WORK, tasks.prove, "Report what encoders work, to end a quarantine.", takes=w.ProofRequest, gives=w.ProofReply, also=(404, 409), whose=by_path),
    R("POST", "/v1/tasks/{task}/start", WORK, tasks.start, "Report that the engine runs.", takes=w.StartRequest, gives=w.Taken, also=(404, 409), quiet=True, whose=by_body),
    R("POST", "/v1/tasks/{task}/complete", WORK, tasks.complete, "Report checked and published outputs; may claim the next tasks.", takes=w.CompleteRequest, gives=w.Ended, also=(404, 409, 413, 422, 507), quiet=True, limit=COMPLETION_LIMIT, whose=by_body),
    R("POST", "/v1/tasks/{task}/fail", WORK, tasks.fail, "Report a failed attempt; may claim the next tasks.", takes=w.FailRequest, gives=w.Ended, also=(404, 409), quiet=True, whose=by_body),
    R("POST", "/v1/tasks/{task}/hand-back", WORK, tasks.hand_back, "Give a task back unspent; may claim the next tasks.", takes=w.HandBackRequest, gives=w.Ended, also=(404, 409), quiet=True, whose=by_body),
    R("POST", "/v1/tasks/{task}/helpers", WORK, parts.helpers, "Ask how many others could make parts of a task now.", takes=w.HelpersRequest, gives=w.HelpersReply, also=(404, 409), quiet=True, whose=by_body),
    R("POST", "/v1/tasks/{task}/split", WORK, parts.split, "Divide a task into parts for several workers; it waits for them and then joins them.", takes=w.SplitRequest, gives=w.Taken, also=(404, 409, 413, 507), quiet=True, whose=by_body),
    R("GET", "/v1/tasks/{task}/parts", WORK, parts.made, "List what the parts of a task have made.", gives=w.PartsReply, also=(404, 409), params=FENCE, quiet=True, whose=by_query),
    R("GET", "/v1/tasks/{task}/place", WORK, direct.place, "Ask where an attempt may store its files among the masters' blobs itself.", gives=w.PlaceReply, also=(404, 409), params=FENCE, quiet=True, whose=by_query),
    R("POST", "/v1/tasks/{task}/stored", WORK, direct.stored, "Report files that the attempt has stored among the masters' blobs itself.", takes=w.StoredRequest, gives=w.StoredReply, also=(404, 409, 413, 422, 507), quiet=True, limit=COMPLETION_LIMIT, whose=by_body),
    R("GET", "/v1/tasks/{task}/pieces/{position}/{name*}", WORK, parts.piece, "Fetch a file that a part has made.", media="application/octet-stream", also=(404, 410, 409, 416), params=(*FENCE, *RANGE), quiet=True, whose=by_query),
    R("GET", "/v1/tasks/{task}/cache/{key}", WORK, cache.get, "Fetch a finished piece that an earlier job of the same tenant left.", media="application/octet-stream", also=(404, 409), params=FENCE, quiet=True, whose=by_query),
    R("PUT", "/v1/tasks/{task}/cache/{key}", WORK, cache.put, "Keep a finished piece for later jobs of the same tenant.", body=RAW, gives=w.CachedView, also=(404, 409, 413, 507), params=FENCE, quiet=True, limit=Limits().output_bytes, whose=by_query),
    R("POST", "/v1/tasks/{task}/log", WORK, tasks.append_log, "Append to an attempt's log.", body=RAW, gives=w.LogReply, also=(404, 409, 413, 507), params=(*FENCE, *OFFSET), quiet=True, limit=Limits().log_bytes, whose=by_query),
    R("PUT", "/v1/tasks/{task}/outputs/{name*}", WORK, outputs.put, "Store an output with the master.", body=RAW, gives=j.OutputView, also=(404, 409, 413, 507), params=FENCE, limit=Limits().output_bytes, whose=by_query),
    R("POST", "/v1/nodes/{ref}/certificate", WORK, enrolment.certify, "Get the next certificate of a machine.", takes=e.CertificateRequest, gives=e.Certified, also=(413, 422), whose=by_path),

    # Machines that join
    R("POST", "/v1/invitations", OPERATE, enrolment.invite, "Make a token with which one machine may join.", takes=e.InvitationRequest, body=OPTIONAL_JSON, gives=e.InvitationMade, status=201, made=enrolment.made_invitation),
    R("POST", "/v1/join", OPEN, enrolment.join, "Exchange a token for a machine's own key and certificate.", takes=e.JoinRequest, gives=e.Joined, status=201, also=(413, 422), limit=JOIN_LIMIT, made=enrolment.made_node),
    R("GET", "/v1/authority", OPEN, enrolment.authority, "The authority that signs for the masters, in PEM.", media="application/x-pem-file", also=(404,)),

    # Uploads
    R("POST", "/v1/uploads", SUBMIT, uploads.create, "Begin an upload.", takes=s.UploadRequest, gives=s.UploadView, status=201, also=(413, 429, 507), made=audit.made_upload),
    R("GET", "/v1/uploads/{id}", READ, uploads.show, "Show how much of an upload has arrived.", gives=s.UploadView, also=(404,)),
    R("PATCH", "/v1/uploads/{id}", SUBMIT, uploads.append, "Send the next piece of an upload.", body=RAW, gives=s.UploadView, also=(404, 409, 413, 507), params=PIECE, limit=Limits().piece_bytes),
    R("GET", "/v1/uploads/{id}/content", FETCH, uploads.content, "Fetch a whole upload.", media="application/octet-stream", also=(404, 409, 416), params=RANGE),
    R("DELETE", "/v1/uploads/{id}", SUBMIT, uploads.delete, "Forget an upload.", status=204, also=(404,)),

    # API keys
    R("POST", "/v1/keys", ADMIN, keys.create, "Make an API key; its secret is shown this once.", takes=k.KeyRequest, gives=k.KeyMade, status=201, also=(409, 422), made=audit.made_key),
    R("GET", "/v1/keys", ADMIN, keys.show_all, "List API keys, oldest first.", gives=k.KeyList, params=ENDED),
    R("POST", "/v1/keys/{ref}/rotate", ADMIN, keys.rotate, "Give an API key another secret.", takes=k.RotateRequest, body=OPTIONAL_JSON, gives=k.KeyMade, also=(404, 409), watch=audit.watch_key),
    R("POST", "/v1/keys/{ref}/revoke", ADMIN, keys.revoke, "End an API key.", gives=k.KeyView, also=(404, 409), watch=audit.watch_key),

    # Tenants
    R("GET", "/v1/tenants", ADMIN, tenants.show_all, "List the tenants that were limited, with what they use.", gives=t.TenantList),
    R("GET", "/v1/tenants/{tenant}", READ, tenants.show, "Show a tenant's quotas, and what it uses of them.", gives=t.TenantView, also=(404,)),
    R("PATCH", "/v1/tenants/{tenant}", ADMIN, tenants.change, "Limit a tenant, or change its limits; what is left out stays.", takes=t.TenantRequest, gives=t.TenantView, also=(422,), watch=tenants.watch),
    R("DELETE", "/v1/tenants/{tenant}", ADMIN, tenants.remove, "Forget what was said of a tenant.", status=204, also=(404,), watch=tenants.watch),

    # The audit trail
    R("GET", "/v1/audit", ADMIN, audit.show, "Show who changed what, and who was turned away, newest first.", gives=a.AuditPage, params=AUDIT),
    R("GET", "/v1/audit/chain", ADMIN, audit.chain, "Fetch the blocks of the audit trail, to check that none was changed.", gives=a.ChainView, params=CHAIN),

    # Webhooks
    R("POST", "/v1/webhooks", SUBMIT, webhooks.create, "Have a URL told of jobs; the secret of its signatures is shown this once.", takes=h.WebhookRequest, gives=h.WebhookMade, status=201, also=(409, 422), made=audit.made_webhook),
    R("GET", "/v1/webhooks", SUBMIT, webhooks.show_all, "List webhooks, oldest first.", gives=h.WebhookList),
    R("DELETE", "/v1/webhooks/{id}", SUBMIT, webhooks.remove, "Forget a webhook and its log.", status=204, also=(404,), watch=audit.watch_webhook),
    R("POST", "/v1/webhooks/{id}/rotate", SUBMIT, webhooks.rotate, "Give a webhook another secret.", takes=h.GraceRequest, body=OPTIONAL_JSON, gives=h.WebhookMade, also=(404,), watch=audit.watch_webhook),
    R("GET", "/v1/webhooks/{id}/deliveries", SUBMIT, webhooks.deliveries, "List a webhook's messages, newest first.", gives=h.DeliveryList, also=(404,), params=DELIVERIES),
    R("POST", "/v1/webhooks/{id}/replay", SUBMIT, webhooks.replay, "Send a message again, or all that were given up.", takes=h.ReplayRequest, body=OPTIONAL_JSON, gives=h.ReplayReply, also=(404, 409), watch=audit.watch_webhook),

    # Profiles
    R("GET", "/v1/profiles", READ, profiles.show_all, "List the built-in profiles.", gives=s.ProfileList),
    R("POST", "/v1/profiles/check", READ, profiles.check, "Check a profile; it is stored nowhere.", takes=Document, gives=s.ProfileView, also=(413, 422)),
    R("GET", "/v1/profiles/{name}", READ, profiles.show, "Show a profile, or what a scenario's name stands for.", gives=s.ProfileView, also=(404,)),

    # The system
    R("GET", "/health", OPEN, system.health, "Whether the store answers.", gives=s.HealthView, quiet=True),
    R("GET", "/ready", OPEN, system.ready, "Whether this master should get traffic.", gives=s.ReadyView, quiet=True),
    R("GET", "/metrics", INSPECT, system.metrics, "Counts and durations for Prometheus.", media="text/plain", quiet=True),
    R("GET", "/v1/openapi.json", READ, system.openapi, "This description.", media="application/json"),

    # The predecessor's paths
    R("POST", "/jobs", SUBMIT, aliases.create, "Submit a job.", takes=aliases.OldJobRequest, gives=j.JobDetail, status=201, also=(413, 422, 429, 507), params=IDEMPOTENCY, alias=True, made=audit.made_job, frequent=True),
    R("GET", "/jobs", READ, aliases.list_jobs, "List jobs, newest first.", gives=aliases.CountedJobs, params=FILTERS, alias=True),
    R("GET", "/jobs/next", WORK, aliases.next_job, "Refused with 410, which names the path for workers.", also=(410,), alias=True, whose=by_nothing),
    R("POST", "/results", WORK, aliases.results, "Refused with 410, which names the path for workers.", also=(410,), alias=True, whose=by_nothing),
    R("GET", "/jobs/{ref}", READ, jobs.show, "Show a job.", gives=j.JobDetail, also=(404,), alias=True),
    R("POST", "/jobs/{ref}/cancel", SUBMIT, aliases.cancel, "End a job.", gives=aliases.Steered, also=(404, 409), alias=True, watch=audit.watch_job),
    R("POST", "/jobs/{ref}/pause", SUBMIT, aliases.pause, "Hold a job.", gives=aliases.Steered, also=(404, 409), alias=True, watch=audit.watch_job),
    R("POST", "/jobs/{ref}/resume", SUBMIT, aliases.resume, "Let a held job go on.", gives=aliases.Steered, also=(404, 409), alias=True, watch=audit.watch_job),
    R("POST", "/jobs/{ref}/retry", SUBMIT, aliases.retry, "Run a job again.", gives=aliases.Steered, also=(404, 409, 429), alias=True, watch=audit.watch_job),
    R("GET", "/jobs/{ref}/logs", READ, aliases.logs, "Read a job's logs.", gives=j.LogView, also=(404,), alias=True),
    R("GET", "/nodes", INSPECT, nodes.show_all, "List nodes.", gives=w.NodeList, alias=True),
    R("POST", "/nodes/register", WORK, aliases.register, "Register a worker.", body=RAW, gives=w.NodeView, status=201, also=(413, 507), limit=JSON_LIMIT, alias=True, whose=never),
    R("GET", "/nodes/{ref}", INSPECT, nodes.show, "Show a node.", gives=w.NodeView, also=(404,), alias=True),
    R("POST", "/nodes/{ref}/heartbeat", WORK, aliases.heartbeat, "Say that a node lives.", takes=w.HeartbeatRequest, body=OPTIONAL_JSON, gives=w.HeartbeatReply, also=(404, 409, 413), quiet=True, alias=True, whose=by_path),
    R("DELETE", "/nodes/{ref}", OPERATE, aliases.remove, "Forget a node that holds nothing.", gives=aliases.RemovedNode, also=(404, 409), alias=True, watch=audit.watch_node),
)
# fmt: on
