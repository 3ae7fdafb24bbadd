"""The log of a job as it is printed while several of its tasks say something at once."""

from typing import Any

from job_sample import BEGAN, job
from msgspec.structs import replace

from millrace.cli.jobs.logs import _Log
from millrace.client.calls import Call
from millrace.domain.records import Kind, Outcome
from millrace.domain.states import State
from millrace.wire.v1.jobs import AttemptView, JobDetail, ProgressView, TaskStanding


class Master:
    """Has the logs of attempts, by task and attempt, and gives them as a master does."""

    def __init__(self) -> None:
        self.logs: dict[tuple[int, int], bytes] = {}
        self.ended: set[tuple[int, int]] = set()
        self.asked = 0

    def do(self, call: Call[Any]) -> Any:
        self.asked += 1
        query = dict(call.query)
        return self.logs[int(query["task"]), int(query["attempt"])][int(query["offset"]) :]

    def says(self, task: int, text: str, attempt: int = 1) -> None:
        self.logs[task, attempt] = self.logs.get((task, attempt), b"") + text.encode()

    @property
    def job(self) -> JobDetail:
        attempts = [
            AttemptView(
                attempt=attempt, task=f"j.{task}", node="n", node_name=f"node-{task}", claimed=BEGAN, started=None, ended=None,
                outcome=Outcome.COMPLETED if (task, attempt) in self.ended else None, failure=None,
            )
            for task, attempt in self.logs
        ]  # fmt: skip
        progress = ProgressView(fraction=0, phase="", frame=0, fps=0, speed=0, eta_s=None, updated_at=None)
        tasks = [
            TaskStanding(
                task=f"j.{task}", kind=Kind.WHOLE if task == 1 else Kind.CHUNK, state=State.PROCESSING, attempt=1,
                node_name=None, frames=0, progress=progress, number=task,
            )
            for task in sorted({task for task, _ in self.logs})
        ]  # fmt: skip
        return replace(job(), attempts=attempts, tasks=tasks)


def printed(log: _Log, master: Master) -> str:
    return b"".join(log.new(master.job)).decode()


def test_lines_of_tasks_that_run_side_by_side_come_once_and_under_their_task() -> None:
    master = Master()
    log = _Log(master, "7", None, None)  # type: ignore[arg-type]
    master.says(1, "planned\n")
    assert printed(log, master) == "planned\n"
    master.ended.add((1, 1))
    master.says(2, "a 1\n")
    master.says(3, "b 1\nb 2 is not wh")
    assert printed(log, master) == "==> task 2 (chunk 2) on node-2 <==\na 1\n==> task 3 (chunk 3) on node-3 <==\nb 1\n"
    master.says(2, "a 2\n")
    assert printed(log, master) == "==> task 2 (chunk 2) on node-2 <==\na 2\n"
    master.says(3, "ole\nthe end has no line")
    master.ended |= {(2, 1), (3, 1)}
    assert printed(log, master) == "==> task 3 (chunk 3) on node-3 <==\nb 2 is not whole\nthe end has no line"
    asked = master.asked
    assert printed(log, master) == ""
    assert master.asked == asked, "what has ended and was read is not asked for again"


def test_of_a_job_that_is_one_task_nothing_is_said_between_its_lines() -> None:
    master = Master()
    log = _Log(master, "7", None, None)  # type: ignore[arg-type]
    master.says(1, "first try\n")
    master.ended.add((1, 1))
    master.says(1, "second try\n", attempt=2)
    assert printed(log, master) == "first try\nsecond try\n"


def test_only_what_is_wanted_is_asked_for() -> None:
    master = Master()
    for task in (1, 2, 3):
        master.says(task, f"task {task}\n")
    master.says(3, "task 3 again\n", attempt=2)
    assert printed(_Log(master, "7", 3, None), master).count("task 3") == 3  # type: ignore[arg-type]
    assert printed(_Log(master, "7", 3, 2), master).endswith("task 3 again\n")  # type: ignore[arg-type]
    assert "again" not in printed(_Log(master, "7", None, 1), master)  # type: ignore[arg-type]
