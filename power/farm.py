"""A real farm on two disks: a master with SQLite and kept outputs on one, a worker with its scratch and published outputs on the other."""

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import httpx2

from millrace.blobs.values import PRIVATE
from millrace.domain.keys import RANDOM_BYTES, spell
from millrace.programs.master import DATABASE
from millrace.worker.deliver import MANIFEST
from power.ext4 import Disk

ROOT = Path(__file__).resolve().parent.parent
JOB = {"scenario": "144p10-h264", "parameters": {"duration_s": 1, "preset": "ultrafast"}}
PROOFS = "proofs.json"
ENVIRONMENT = {
    "MILLRACE_HEARTBEAT": "0.5", "MILLRACE_LEASE_TTL": "3", "MILLRACE_MIN_FREE_MB": "1", "MILLRACE_LOG": "json",
}  # fmt: skip
"""Quick to notice a worker that has gone."""


class Farm:
    """One farm, through its lives; between them its disks lose their power."""

    def __init__(self, master_disk: Disk, worker_disk: Disk, folder: Path, bug: str) -> None:
        self._bug = bug
        self._data = master_disk.path / "farm"
        self._state, self._media = worker_disk.path / "worker", worker_disk.path / "media"
        self._folder = folder
        self._key = spell(secrets.token_bytes(RANDOM_BYTES))
        self._programs: list[subprocess.Popen[str]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.http = httpx2.Client(
            base_url=f"http://127.0.0.1:{self._port}", headers={"authorization": f"Bearer {self._key}"}, timeout=30.0,
            trust_env=False,
        )  # fmt: skip

    def start(self) -> None:
        """Both programs, as after a reboot."""
        self._media.mkdir(exist_ok=True)
        self._state.mkdir(exist_ok=True, mode=0o700)
        kept = self._folder / PROOFS
        if kept.exists():  # to try every encoder again after each cut would take most of the time
            shutil.copy(kept, self._state / PROOFS)
        self._run("master", "--data", self._data, "--port", self._port)
        self._run(
            "worker",
            "--master",
            self.http.base_url,
            "--state",
            self._state,
            "--name",
            "one",
            "--media-root",
            self._media,
        )
        if not kept.exists() and (self._state / PROOFS).exists():
            shutil.copy(self._state / PROOFS, kept)

    def _run(self, *words: object) -> None:
        with (self._folder / "log").open("ab") as log:
            program = subprocess.Popen(
                [sys.executable, "-m", "power.planted", self._bug, *map(str, words), "--json"], cwd=ROOT, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                env={**os.environ, **ENVIRONMENT, "MILLRACE_API_KEY": self._key},
            )  # fmt: skip
        self._programs.append(program)
        assert program.stdout is not None
        if not program.stdout.readline():
            raise AssertionError(f"{words[0]} did not start; its log is {self._folder / 'log'}")

    def kill(self) -> None:
        """All of it, as the power would."""
        for program in self._programs:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
            assert program.stdout is not None
            program.stdout.close()
        self._programs.clear()

    def submit(self, number: int) -> str:
        """Accept a job: every second one goes into a folder, the others are kept by the master. Its id, from the 2xx."""
        body = JOB | ({"output": str(self._media / f"film{number}")} if number % 2 else {})
        answer = self.http.post("/v1/jobs", json=body, headers={"idempotency-key": f"job-{number}"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def jobs(self) -> dict[str, str]:
        """The state of each job by its id."""
        found, cursor = {}, None
        while True:
            page = self.http.get("/v1/jobs", params={"limit": 500} | ({"cursor": cursor} if cursor else {})).json()
            found |= {one["id"]: one["state"] for one in page["jobs"]}
            if (cursor := page.get("next")) is None:
                return found

    def job(self, job: str) -> dict[str, Any]:
        """All that is known of one."""
        answer = self.http.get(f"/v1/jobs/{job}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def damaged(self) -> Iterator[str]:
        """What of the database and of what can be seen is not whole. Only while nothing runs."""
        try:
            connection = apsw.Connection(str(self._data / DATABASE), flags=apsw.SQLITE_OPEN_READWRITE)
            found = connection.execute("PRAGMA integrity_check").fetchall()
            connection.close()
        except apsw.Error as error:
            found = [(str(error),)]
        if found != [("ok",)]:
            yield f"the database: {found[:3]}"
        for folder in (path for path in self._media.iterdir() if not path.name.startswith(PRIVATE)):
            try:
                outputs = json.loads((folder / MANIFEST).read_bytes())["outputs"]
            except (OSError, ValueError) as error:
                yield f"{folder.name} can be seen without a manifest: {error}"
                continue
            for one in outputs:
                if _sha256(folder / one["name"]) != one["sha256"]:
                    yield f"{folder.name}/{one['name']} can be seen, and is not whole"

    def unlike(self, job: dict[str, Any]) -> Iterator[str]:
        """Outputs of a completed job that are not what was recorded."""
        for one in job["outputs"]:
            if one.get("url"):
                answer = self.http.get(one["url"])
                found = hashlib.sha256(answer.content).hexdigest() if answer.status_code == 200 else ""
            else:
                found = _sha256(Path(one["path"]))
            if found != one["sha256"]:
                yield f"{one['name']} of job {job['number']} is not what was recorded"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
