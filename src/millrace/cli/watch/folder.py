"""A folder whose films are submitted: what a look at it does, and what is told of it."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from millrace.cli.films import films_in, output_of
from millrace.cli.jobs.request import Wish, request_of
from millrace.cli.watch.settling import Look, Settling
from millrace.client import people
from millrace.client.client import Client
from millrace.client.errors import NotFoundError, RefusedError, UnreachableError, UntrustedError
from millrace.domain.states import FINAL
from millrace.wire.v1.jobs import JobDetail, JobRequest

_LATER = frozenset({408, 429, 503, 507})
"""Statuses of refusals that time mends: a quota, a lack of space."""
MOST_ASKED = 50
"""Jobs whose state is asked for at one look."""

Tell = Callable[[str, Path | None, Mapping[str, object]], None]
"""Called with what happened (`submitted`, `known`, `ended`, `refused`, `stays`, `waits`, `goes on`), to which file, and more of it."""


class Submitted(Struct, frozen=True):
    """A job that has not ended, with its film."""

    job: str
    film: Path


class Folder:
    """One watched folder. `done` is where films go whose jobs have completed; None leaves them where they are."""

    def __init__(
        self,
        client: Client,
        folder: Path,
        wish: Wish,
        *,
        patterns: Sequence[str],
        settle_s: float,
        done: Path | None,
        tell: Tell,
    ) -> None:
        """`wish` is what each film's job is to be; its `output` the folder for all of them, or None."""
        self._client = client
        self._folder = folder
        self._wish = wish
        self._patterns = patterns
        self._done = done
        self._tell = tell
        self._settling = Settling(settle_s)
        self._running: dict[str, Submitted] = {}
        self._trouble = ""

    @property
    def is_still(self) -> bool:
        """Whether nothing is left to submit."""
        return not self._trouble and self._settling.is_still

    @property
    def running(self) -> int:
        """How many jobs have not ended, as far as is known."""
        return len(self._running)

    def look(self) -> None:
        """Submit what has settled, and ask how the jobs stand. A master or a folder that is away is waited for.

        Raises:
            UnauthorizedError, UntrustedError: no waiting mends it.
        """
        try:
            films = {
                path: look for path in films_in(self._folder, self._patterns) if (look := _look_at(path)) is not None
            }
            settled = self._settling.look(films, now_s=time.monotonic(), wall_ns=time.time_ns())
            trouble = self._submit_all(settled, films)
            self._ask()
        except UntrustedError:
            raise
        except UnreachableError as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"cannot read {self._folder}: {error.strerror or error}"
        if trouble != self._trouble:
            self._tell("waits" if trouble else "goes on", None, {"why": trouble} if trouble else {})
        self._trouble = trouble

    def _submit_all(self, settled: Sequence[tuple[Path, Look]], films: Mapping[Path, Look]) -> str:
        """Submit these; why the rest of them has to wait, empty where all went."""
        trouble = ""
        for place, (film, look) in enumerate(settled):
            try:
                trouble = self._submit(film, look, films)
            except UnreachableError:
                self._settling.give_again(settled[place:])
                raise
            if trouble:
                self._settling.give_again(settled[place:])
                break
        return trouble

    def _submit(self, film: Path, look: Look, films: Mapping[Path, Look]) -> str:
        request = self.request_for(film, films)
        try:
            job = self._client.do(people.submit(request, key=key_of(film, look, request)))
        except RefusedError as error:
            if error.status in _LATER:
                return str(error)
            if error.kind == "idempotency-key-reused":  # by who watched before, and gave another priority or the like
                self._tell("known", film, {})
            else:
                self._tell("refused", film, {"why": _why(error)})
        else:
            self._running[job.id] = Submitted(job.id, film)
            self._tell("submitted", film, {"job": job.number, "state": job.state})
        return ""

    def request_for(self, film: Path, beside: Mapping[Path, Look]) -> JobRequest:
        """What is submitted for a film."""
        destination = self._wish["output"]
        output = None if destination is None else output_of(film, self._folder, str(destination), beside.keys())
        return request_of(self._wish | {"input": str(film), "output": output}, what="watch")

    def _ask(self) -> None:
        """What became of jobs, the longest running first; those that go on are asked about after all others."""
        for one in list(self._running.values())[:MOST_ASKED]:
            del self._running[one.job]
            try:
                job = self._client.do(people.job(one.job))
            except NotFoundError:
                continue  # it is past its retention
            except UnreachableError:
                self._running[one.job] = one
                raise
            if job.state in FINAL:
                self._ended(one.film, job)
            else:
                self._running[one.job] = one

    def _ended(self, film: Path, job: JobDetail) -> None:
        why = {} if job.failure is None else {"why": job.failure.message}
        self._tell("ended", film, {"job": job.number, "state": job.state, **why})
        if job.state == "completed" and self._done is not None:
            try:
                _move(film, self._done / film.relative_to(self._folder))
            except OSError as error:
                self._tell("stays", film, {"why": f"cannot move it to {self._done}: {error.strerror}"})


def key_of(film: Path, look: Look, request: JobRequest) -> str:
    """The idempotency key of a film as it is, and of what is made of it where: who watches again submits nothing twice."""
    made = (request.profile, request.scenario, msgspec.to_builtins(request.parameters), request.output)
    text = msgspec.json.encode((str(film), look.size, look.mtime_ns, made), order="sorted")
    return f"watch-{hashlib.sha256(text).hexdigest()}"


def _look_at(path: Path) -> Look | None:
    try:
        found = path.stat()
    except OSError:
        return None  # it went between the list and the look
    return Look(found.st_size, found.st_mtime_ns, found.st_ino)


def _why(error: RefusedError) -> str:
    return "; ".join(f"{one.field}: {one.message}" for one in error.errors) or str(error)


def _move(film: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target = target.with_name(f"{target.stem}.{time.time_ns()}{target.suffix}")
    os.rename(film, target)  # noqa: PTH104  within one file system, so that nobody ever sees half of it
