"""A job as commands get it from a master."""

from datetime import UTC, datetime, timedelta

import msgspec

from millrace.wire.v1.jobs import JobDetail

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def output(name, *streams):
    return {"name": name, "size": 1_048_576, "sha256": "0" * 64, "streams": list(streams)}


def job(*outputs, state="processing", eta_s=3725.0, notes=(), sandbox=None, proof=None):
    attempt = {
        "attempt": 1, "task": "j1.1", "node": "n1", "node_name": "encoder-with-a-rather-long-name.example.org",
        "claimed": BEGAN, "started": BEGAN, "ended": None, "outcome": None, "failure": None,
    }  # fmt: skip
    progress = {
        "fraction": 0.43, "phase": "encode", "frame": 57, "fps": 129.0, "speed": 1.83, "eta_s": eta_s, "updated_at": BEGAN,
    }  # fmt: skip
    return msgspec.convert(
        {
            "id": "j1", "number": 12345, "state": state, "progress": progress, "queue": "default", "priority": "medium",
            "profile": "web-hls", "input": "/film.mp4", "output": "/out", "engine": "auto", "classification": None,
            "tenant": "default", "labels": {}, "max_retries": 0, "timeout_s": None, "created": BEGAN, "run_after": None,
            "started": BEGAN, "finished": BEGAN + timedelta(seconds=60), "failure": None, "sla": None, "parameters": {},
            "outputs": list(outputs), "attempts": [attempt], "transitions": [],
            "facts": {"plan": {"notes": list(notes)}, "sandbox": sandbox, "proof": proof},
        },
        JobDetail,
    )  # fmt: skip
