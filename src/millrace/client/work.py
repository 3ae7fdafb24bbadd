"""The requests that a worker makes. All of them may be repeated: the attempt number fences them."""

from pathlib import Path

from millrace.client.calls import Answer, Call, FileSlice, json_into, post, segment
from millrace.wire.v1.jobs import OutputView
from millrace.wire.v1.work import (
    CachedView,
    ClaimReply,
    ClaimRequest,
    CompleteRequest,
    Ended,
    FailRequest,
    HandBackRequest,
    HeartbeatReply,
    HeartbeatRequest,
    HelpersReply,
    HelpersRequest,
    LogReply,
    PartsReply,
    PlaceReply,
    ProofReply,
    ProofRequest,
    RegisterReply,
    RegisterRequest,
    SplitRequest,
    StartRequest,
    StoredReply,
    StoredRequest,
    Taken,
)

CLAIM_SLACK_S = 15.0
"""How much longer than the long poll itself a claim's reply may take."""


def register(request: RegisterRequest) -> Call[RegisterReply]:
    """Introduce the node."""
    return post("/v1/nodes", RegisterReply, request)


def claim(node: str, request: ClaimRequest) -> Call[ClaimReply]:
    """Ask for work; the same `request.request` gives the same tasks again."""
    silence_s = request.wait_s + CLAIM_SLACK_S
    return post(f"/v1/nodes/{segment(node)}/claim", ClaimReply, request, silence_s=silence_s, waits=request.wait_s > 0)


def heartbeat(node: str, request: HeartbeatRequest, *, silence_s: float) -> Call[HeartbeatReply]:
    """Extend the lease and say how far each task is."""
    return post(f"/v1/nodes/{segment(node)}/heartbeat", HeartbeatReply, request, silence_s=silence_s)


def prove(node: str, request: ProofRequest) -> Call[ProofReply]:
    """Say which encoders work now, to end a quarantine."""
    return post(f"/v1/nodes/{segment(node)}/proof", ProofReply, request)


def start(task: str, request: StartRequest) -> Call[Taken]:
    """The engine starts."""
    return post(f"/v1/tasks/{segment(task)}/start", Taken, request)


def complete(task: str, request: CompleteRequest) -> Call[Ended]:
    """The work is done, checked and published."""
    return post(f"/v1/tasks/{segment(task)}/complete", Ended, request)


def fail(task: str, request: FailRequest) -> Call[Ended]:
    """The attempt failed."""
    return post(f"/v1/tasks/{segment(task)}/fail", Ended, request)


def hand_back(task: str, request: HandBackRequest) -> Call[Ended]:
    """Give the task back unspent."""
    return post(f"/v1/tasks/{segment(task)}/hand-back", Ended, request)


def helpers(task: str, request: HelpersRequest) -> Call[HelpersReply]:
    """Ask how many others could make parts of the task now."""
    return post(f"/v1/tasks/{segment(task)}/helpers", HelpersReply, request)


def split(task: str, request: SplitRequest) -> Call[Taken]:
    """Divide the job into parts; the attempt ends."""
    return post(f"/v1/tasks/{segment(task)}/split", Taken, request)


def parts(task: str, *, node: str, attempt: int) -> Call[PartsReply]:
    """What the parts of the task have made."""
    return Call(
        method="GET",
        path=f"/v1/tasks/{segment(task)}/parts",
        read=json_into(PartsReply),
        query=(("node", node), ("attempt", str(attempt))),
    )


def piece_path(task: str, position: int, name: str) -> str:
    """Where a file lies that a part of the task has made."""
    return f"/v1/tasks/{segment(task)}/pieces/{position}/{'/'.join(segment(part) for part in name.split('/'))}"


def place(task: str, *, node: str, attempt: int) -> Call[PlaceReply]:
    """Where the attempt may store its files among the masters' blobs."""
    return Call(
        method="GET",
        path=f"/v1/tasks/{segment(task)}/place",
        read=json_into(PlaceReply),
        query=(("node", node), ("attempt", str(attempt))),
    )


def stored(task: str, request: StoredRequest) -> Call[StoredReply]:
    """The attempt has stored files there; a repetition says the same."""
    return post(f"/v1/tasks/{segment(task)}/stored", StoredReply, request)


def cached_path(task: str, key: str) -> str:
    """Where a finished piece lies that an earlier job left."""
    return f"/v1/tasks/{segment(task)}/cache/{segment(key)}"


def put_cached(task: str, key: str, *, node: str, attempt: int, path: Path, size: int) -> Call[CachedView]:
    """Keep a finished piece for later jobs; a repetition replaces it."""
    return Call(
        method="PUT",
        path=cached_path(task, key),
        read=json_into(CachedView),
        query=(("node", node), ("attempt", str(attempt))),
        headers={"content-type": "application/octet-stream"},
        body=FileSlice(path=path, offset=0, length=size),
        silence_s=300.0,
    )


def append_log(task: str, *, node: str, attempt: int, offset: int, data: bytes) -> Call[LogReply]:
    """Append to the attempt's log; a repetition adds nothing twice, because the offset says where the data belongs."""
    return Call(
        method="POST",
        path=f"/v1/tasks/{segment(task)}/log",
        read=json_into(LogReply),
        query=(("node", node), ("attempt", str(attempt)), ("offset", str(offset))),
        headers={"content-type": "application/octet-stream"},
        body=data,
    )


def put_output(task: str, *, node: str, attempt: int, name: str, path: Path, size: int) -> Call[OutputView]:
    """Store one output file with the master; a repetition replaces it. `name` may hold slashes."""
    return Call(
        method="PUT",
        path=f"/v1/tasks/{segment(task)}/outputs/{'/'.join(segment(part) for part in name.split('/'))}",
        read=json_into(OutputView),
        query=(("node", node), ("attempt", str(attempt))),
        headers={"content-type": "application/octet-stream"},
        body=FileSlice(path=path, offset=0, length=size),
        silence_s=300.0,
    )


def status_only(_: Answer) -> None:
    """For answers whose body does not matter."""
