"""An example of each request and reply that people meet first. Tests decode every one into its shape."""

from millrace.wire.v1 import batches, problems, schedules, system, work
from millrace.wire.v1 import jobs as j

_JOB = "j0192f5b7c8d94e2a8f6b1c3d5e7f9a0b"
_NEXT = "j0192f5b7c8d94e2a8f6b1c3d5e7f9a1d"
_NODE = "n0192f5b7c8d94e2a8f6b1c3d5e7f9a0c"
_SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

EXAMPLES: dict[type, object] = {
    j.JobRequest: {
        "input": "/media/film.mp4",
        "profile": "web-hls",
        "output": "/media/out/film",
        "queue": "default",
        "priority": "high",
        "labels": {"show": "news"},
        "max_retries": 2,
    },
    batches.BatchRequest: {
        "name": "monday",
        "jobs": [
            {"input": "/media/in/a.mp4", "profile": "web-hls", "output": "/media/out/a"},
            {"input": "/media/in/b.mp4", "profile": "web-hls", "output": "/media/out/b", "priority": "high"},
        ],
    },
    batches.SteerBatchReply: {
        "changed": [43, 44],
        "passed_over": {"42": "cannot cancel job 42: it is completed already"},
        "next": None,
    },
    schedules.ScheduleRequest: {
        "name": "nightly",
        "cron": "30 3 * * *",
        "zone": "Europe/Berlin",
        "overlap": "forbid",
        "job": {"input": "/media/news.mp4", "profile": "web-hls", "output": "/media/out/news-{due}"},
    },
    work.RegisterRequest: {
        "fingerprint": "host-4f1c0b8a",
        "boot_id": "5f0c0b1e-1f2d",
        "name": "encoder-1",
        "slots": 2,
        "labels": {"zone": "a"},
        "engines": ["ffmpeg"],
        "encoders": {"libx264": "", "h264_nvenc": "no device was found"},
        "memory_mb": 16384,
    },
    work.RegisterReply: {"node": _NODE, "epoch": 1, "lease_ttl_s": 15.0, "heartbeat_s": 3.0},
    work.ClaimRequest: {"epoch": 1, "request": "0d6f3a1e-22", "limit": 2, "wait_s": 30},
    work.HeartbeatRequest: {
        "epoch": 1,
        "tasks": [
            {
                "task": f"{_JOB}.1",
                "attempt": 1,
                "fraction": 0.42,
                "phase": "encode",
                "frame": 1260,
                "fps": 96.5,
                "speed": 3.2,
            }
        ],
    },
    work.HeartbeatReply: {
        "lease_ttl_s": 15.0,
        "drain": False,
        "directives": [{"task": f"{_JOB}.1", "attempt": 1, "action": "pause"}],
    },
    work.StartRequest: {"node": _NODE, "attempt": 1},
    work.CompleteRequest: {
        "node": _NODE,
        "attempt": 1,
        "outputs": [{"name": "master.m3u8", "location": "/media/out/film/master.m3u8", "sha256": _SHA, "size": 812}],
        "facts": {"duration_s": 60.0},
        "claim": {"epoch": 1, "request": "0d6f3a1e-23"},
    },
    work.FailRequest: {"node": _NODE, "attempt": 1, "class": "input", "message": "cannot read the input: it is empty"},
    work.HandBackRequest: {"node": _NODE, "attempt": 1, "reason": "the worker drains"},
    work.Taken: {"task": f"{_JOB}.1", "state": "processing"},
    work.Ended: {
        "task": f"{_JOB}.1",
        "state": "completed",
        "tasks": [
            {
                "task": f"{_NEXT}.1",
                "job": _NEXT,
                "number": 18,
                "attempt": 1,
                "profile": "web-hls",
                "spec": {"input": "/media/next.mp4", "output": "/media/out/next", "engine": "auto"},
                "timeout_s": None,
            }
        ],
    },
    work.HelpersRequest: {
        "node": _NODE,
        "attempt": 1,
        "engine": "ffmpeg-parts-3b1c0f7e9a52",
        "encoders": ["aac", "libx264"],
    },
    work.HelpersReply: {"slots": 3},
    work.SplitRequest: {
        "node": _NODE,
        "attempt": 1,
        "engine": "ffmpeg-parts-3b1c0f7e9a52",
        "encoders": ["aac", "libx264"],
        "parts": [{"kind": "sides"}, {"kind": "chunk", "number": 0, "frames": 750}],
        "plan": {"source_bytes": 734003200},
    },
    work.LogReply: {"length": 4096},
    system.UploadRequest: {"name": "film.mp4", "size": 734003200},
    system.UploadView: {
        "id": "u0192f5b7c8d94e2a8f6b1c3d5e7f9a0d",
        "name": "film.mp4",
        "size": 734003200,
        "offset": 8388608,
    },
    system.HealthView: {"status": "healthy", "store": "answers", "version": "0.1.0"},
    problems.Problem: {
        "type": "urn:millrace:problem:invalid",
        "title": "Bad Request",
        "status": 400,
        "detail": "cannot accept the request: queue: 'fast' is none of the allowed values",
        "errors": [
            {
                "field": "queue",
                "message": "'fast' is none of the allowed values",
                "allowed": ["live", "default", "batch"],
            }
        ],
    },
}
