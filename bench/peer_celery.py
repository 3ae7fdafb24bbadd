"""Celery over Redis driven directly: sent and finished jobs a second. Run by `bench/peers.py` in its venv.

    python peer_celery.py PORT SECONDS JOBS

Prefork workers, acknowledged late, no result backend, prefetch 4. Prints {"insert": rate, "drain": {processes: rate}}.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import celery
import redis

PORT = int(os.environ.get("BENCH_REDIS_PORT", "0"))
PROCESSES = (2, 8)
_LIMIT_S = 40.0

app = celery.Celery("peer_celery", broker=f"redis://127.0.0.1:{PORT}/0")
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@app.task(name="nothing")
def nothing(text: str) -> None:
    """A job that takes no time."""


def drained(broker: redis.Redis, processes: int, jobs: int) -> float:
    """Finished jobs a second, from the first that is taken to the last that is acknowledged."""
    broker.flushall()
    for _ in range(jobs):
        nothing.delay("x" * 300)
    command = [sys.executable, "-m", "celery", "-A", "peer_celery", "worker", "-P", "prefork", "-c", str(processes)]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"]
    worker = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end_s = time.perf_counter() + _LIMIT_S
    first_s = 0.0
    try:
        while time.perf_counter() < end_s:
            left = broker.llen("celery") + broker.hlen("unacked")
            if not first_s and broker.llen("celery") < jobs:
                first_s = time.perf_counter()
            if first_s and left == 0:
                break
            time.sleep(0.02)
        return (jobs - broker.llen("celery") - broker.hlen("unacked")) / (time.perf_counter() - first_s)
    finally:
        worker.terminate()
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def main(seconds: float, jobs: int) -> None:
    broker = redis.Redis(port=PORT)
    broker.flushall()
    began, done = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        nothing.delay("x" * 300)
        done += 1
    rate = done / (time.perf_counter() - began)
    print(json.dumps({"insert": rate, "drain": {count: drained(broker, count, jobs) for count in PROCESSES}}))


if __name__ == "__main__":
    main(float(sys.argv[2]), int(sys.argv[3]))
