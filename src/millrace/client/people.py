"""The requests that people make: jobs, nodes, keys, profiles, health."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from millrace.client.calls import Answer, Call, Repeat, get, new_key, post, segment
from millrace.wire.v1.audit import AuditPage, ChainView
from millrace.wire.v1.explanation import Explanation
from millrace.wire.v1.jobs import JobDetail, JobList, JobRequest, RetryManyReply, RetryManyRequest
from millrace.wire.v1.keys import KeyList, KeyMade, KeyRequest, KeyView, RotateRequest
from millrace.wire.v1.masters import MasterList
from millrace.wire.v1.system import HealthView, ProfileList, ReadyView
from millrace.wire.v1.tenants import TenantList, TenantRequest, TenantView
from millrace.wire.v1.webhooks import (
    DeliveryList,
    GraceRequest,
    ReplayReply,
    ReplayRequest,
    WebhookList,
    WebhookMade,
    WebhookRequest,
)
from millrace.wire.v1.work import NodeList, NodeView


def submit(request: JobRequest, *, key: str | None = None) -> Call[JobDetail]:
    """Submit a job. The idempotency key (a new one where None) makes every repetition the same job."""
    return post("/v1/jobs", JobDetail, request, headers={"idempotency-key": key or new_key()})


def jobs(
    *,
    states: Sequence[str] = (),
    only: Mapping[str, str | None] | None = None,
    labels: Mapping[str, str] | None = None,
    failure_classes: Sequence[str] = (),
    cursor: str | None = None,
    limit: int | None = None,
) -> Call[JobList]:
    """A page of jobs, newest first; `only` holds further filters such as queue, priority, tenant, profile."""
    query: dict[str, str | None] = {**(only or {}), "cursor": cursor, "limit": None if limit is None else str(limit)}
    call = get("/v1/jobs", JobList, query=query)
    pairs = call.query + tuple(("state", state) for state in states)
    pairs += tuple(("label", f"{key}={value}") for key, value in (labels or {}).items())
    pairs += tuple(("failure_class", one) for one in failure_classes)
    return Call(method="GET", path=call.path, read=call.read, query=pairs)


def job(ref: str) -> Call[JobDetail]:
    """One job, by id or number."""
    return get(f"/v1/jobs/{segment(ref)}", JobDetail)


def explain(ref: str) -> Call[Explanation]:
    """Why a job is encoded as it is, or why it waits."""
    return get(f"/v1/jobs/{segment(ref)}/explain", Explanation)


def _verb(ref: str, verb: str, repeat: Repeat) -> Call[JobDetail]:
    return post(f"/v1/jobs/{segment(ref)}/{verb}", JobDetail, repeat=repeat)


def cancel(ref: str) -> Call[JobDetail]:
    """End a job."""
    return _verb(ref, "cancel", Repeat.SAFE)


def pause(ref: str) -> Call[JobDetail]:
    """Hold a job."""
    return _verb(ref, "pause", Repeat.SAFE)


def resume(ref: str) -> Call[JobDetail]:
    """Let a held job go on."""
    return _verb(ref, "resume", Repeat.SAFE)


def retry(ref: str) -> Call[JobDetail]:
    """Run a job again that failed, was canceled or rejected."""
    # Sent twice it could start a job again that has failed in between, so it is not repeated blindly.
    return _verb(ref, "retry", Repeat.UNSENT)


def retry_dead(request: RetryManyRequest) -> Call[RetryManyReply]:
    """Run a page of dead jobs again."""
    # Sent twice it goes over the same page, where nothing that runs again is dead any more.
    return post("/v1/jobs/retry", RetryManyReply, request)


def logs(ref: str, *, offset: int = 0, task: int | None = None, attempt: int | None = None) -> Call[bytes]:
    """The log of a job from a byte offset; of one task by its place, of one attempt, or (None) as the master chooses."""
    only = (("task", task), ("attempt", attempt))
    query = (("offset", str(offset)), *((name, str(number)) for name, number in only if number is not None))
    return Call(method="GET", path=f"/v1/jobs/{segment(ref)}/logs", read=_body, query=query)


def nodes() -> Call[NodeList]:
    """Every node."""
    return get("/v1/nodes", NodeList)


def node(ref: str) -> Call[NodeView]:
    """One node, by id or name."""
    return get(f"/v1/nodes/{segment(ref)}", NodeView)


def drain_node(ref: str) -> Call[NodeView]:
    """Let a node finish what it has and take no more."""
    return post(f"/v1/nodes/{segment(ref)}/drain", NodeView)


def resume_node(ref: str) -> Call[NodeView]:
    """Let a draining node take work again."""
    return post(f"/v1/nodes/{segment(ref)}/resume", NodeView)


def release_node(ref: str) -> Call[NodeView]:
    """End a node's quarantine."""
    return post(f"/v1/nodes/{segment(ref)}/release", NodeView)


def revoke_node(ref: str) -> Call[NodeView]:
    """End a node's own key, and take back what it holds."""
    return post(f"/v1/nodes/{segment(ref)}/revoke", NodeView)


def remove_node(ref: str) -> Call[bytes]:
    """Forget a node that holds nothing."""
    return Call(method="DELETE", path=f"/v1/nodes/{segment(ref)}", read=_body)


def masters() -> Call[MasterList]:
    """The masters of the farm, and who leads."""
    return get("/v1/masters", MasterList)


def create_key(request: KeyRequest) -> Call[KeyMade]:
    """Make an API key."""
    # Sent twice it would fail at its own name, and its secret would be lost with the first reply.
    return post("/v1/keys", KeyMade, request, repeat=Repeat.UNSENT)


def keys(*, ended: bool = False) -> Call[KeyList]:
    """The live API keys; with `ended` also the others."""
    return get("/v1/keys", KeyList, query={"ended": "true" if ended else None})


def rotate_key(ref: str, *, grace_s: float) -> Call[KeyMade]:
    """Another secret for an API key."""
    # Sent twice it would end the grace of the secret that is in use.
    return post(f"/v1/keys/{segment(ref)}/rotate", KeyMade, RotateRequest(grace_s=grace_s), repeat=Repeat.UNSENT)


def revoke_key(ref: str) -> Call[KeyView]:
    """End an API key."""
    return post(f"/v1/keys/{segment(ref)}/revoke", KeyView)


def create_webhook(request: WebhookRequest) -> Call[WebhookMade]:
    """Have a URL told of jobs."""
    # Sent twice it would make two, and the secret of the first would be lost with its reply.
    return post("/v1/webhooks", WebhookMade, request, repeat=Repeat.UNSENT)


def webhooks() -> Call[WebhookList]:
    """Every webhook."""
    return get("/v1/webhooks", WebhookList)


def remove_webhook(webhook: str) -> Call[bytes]:
    """Forget a webhook."""
    return Call(method="DELETE", path=f"/v1/webhooks/{segment(webhook)}", read=_body)


def rotate_webhook(webhook: str, *, grace_s: float) -> Call[WebhookMade]:
    """Another secret for a webhook."""
    # Sent twice it would end the grace of the secret that is in use.
    request = GraceRequest(grace_s=grace_s)
    return post(f"/v1/webhooks/{segment(webhook)}/rotate", WebhookMade, request, repeat=Repeat.UNSENT)


def deliveries(
    webhook: str, *, state: str | None = None, cursor: str | None = None, limit: int | None = None
) -> Call[DeliveryList]:
    """A page of a webhook's messages, newest first."""
    query = {"state": state, "cursor": cursor, "limit": None if limit is None else str(limit)}
    return get(f"/v1/webhooks/{segment(webhook)}/deliveries", DeliveryList, query=query)


def replay(webhook: str, message: str | None) -> Call[ReplayReply]:
    """Send a message again, or (None) all that were given up."""
    return post(f"/v1/webhooks/{segment(webhook)}/replay", ReplayReply, ReplayRequest(message=message))


def audit(
    *, caller: str | None, path: str | None, since: datetime | None, cursor: str | None, limit: int
) -> Call[AuditPage]:
    """A page of the audit trail, newest first."""
    moment = None if since is None else since.isoformat()
    query = {"caller": caller, "path": path, "since": moment, "cursor": cursor, "limit": str(limit)}
    return get("/v1/audit", AuditPage, query=query)


def audit_chain(*, after: int, limit: int) -> Call[ChainView]:
    """Blocks of the audit trail, as they are kept."""
    return get("/v1/audit/chain", ChainView, query={"after": str(after), "limit": str(limit)})


def tenants() -> Call[TenantList]:
    """The tenants of which there is a record."""
    return get("/v1/tenants", TenantList)


def tenant(name: str) -> Call[TenantView]:
    """One tenant."""
    return get(f"/v1/tenants/{segment(name)}", TenantView)


def set_tenant(name: str, request: TenantRequest) -> Call[TenantView]:
    """Limit a tenant, or change its limits."""
    return replace(post(f"/v1/tenants/{segment(name)}", TenantView, request), method="PATCH")


def remove_tenant(name: str) -> Call[bytes]:
    """Forget what was said of a tenant."""
    return Call(method="DELETE", path=f"/v1/tenants/{segment(name)}", read=_body)


def profiles() -> Call[ProfileList]:
    """The profiles that the master knows by name."""
    return get("/v1/profiles", ProfileList)


def health() -> Call[HealthView]:
    """Whether the master's store answers."""
    return get("/health", HealthView)


def ready() -> Call[ReadyView]:
    """Whether the master should get traffic."""
    return get("/ready", ReadyView)


def _body(answer: Answer) -> bytes:
    return answer.body
