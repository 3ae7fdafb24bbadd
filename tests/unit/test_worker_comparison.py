"""Pictures beside the source: all of them come to the output, or the job says which frame was not found."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain.failures import FailureClass
from millrace.domain.media.plan import plan
from millrace.domain.media.profile_document import profile_from
from millrace.engines.engine import Command
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.worker.comparison_steps import illustrated
from millrace.worker.failure import TaskFailedError

WANTED = plan(
    profile_from(
        {"name": "p", "packaging": "mp4", "renditions": [{"name": "r", "video": {}}], "comparison": {"frames": 2}}
    ),
    None,
)


class Steps(SimpleNamespace):
    """An attempt whose engine draws these pictures."""

    def __init__(self, folder: Path, *drawn: str) -> None:
        super().__init__(
            folder=folder, out=folder / "out", cores=2, engine=FFmpeg("ffmpeg"), log=self, drawn=drawn, lines=[]
        )

    def say(self, line: str) -> None:
        self.lines.append(line)

    async def run(self, commands: list[Command], _: Any, *, at_once: int) -> None:
        assert len(commands) == at_once == 2
        for name in self.drawn:
            (self.folder / "comparison" / name).write_bytes(name.encode())


def shown(steps: Steps) -> Any:
    return asyncio.run(illustrated(steps, WANTED, None))  # type: ignore[arg-type]


def test_pictures_come_to_the_output_and_nothing_else_does(tmp_path: Path) -> None:
    steps = Steps(tmp_path, "r-0.png", "r-1.png")
    assert shown(steps) == {"comparison/r-1.png": 7, "comparison/r-2.png": 7}
    assert sorted(path.name for path in (steps.out / "comparison").iterdir()) == ["r-1.png", "r-2.png"]
    assert not (tmp_path / "comparison").exists()
    assert steps.lines == ["compare: 2 pictures beside the source"]


@pytest.mark.parametrize("drawn", [("r-0.png",), ()])
def test_a_frame_that_was_not_found_fails_the_job_by_its_number(tmp_path: Path, drawn: tuple[str, ...]) -> None:
    missing = WANTED.comparison[len(drawn)].first
    with pytest.raises(
        TaskFailedError, match=f"cannot show r beside its source: frame {missing} was not found"
    ) as caught:
        shown(Steps(tmp_path, *drawn))
    assert caught.value.failure.failure_class is FailureClass.OUTPUT


def test_a_link_is_no_picture(tmp_path: Path) -> None:
    class Taken(Steps):
        async def run(self, *_: Any, **__: Any) -> None:
            (self.folder / "comparison" / "r-0.png").symlink_to("/etc/passwd")

    with pytest.raises(TaskFailedError, match="neither file nor folder"):
        shown(Taken(tmp_path))


def test_without_a_wish_nothing_is_drawn(tmp_path: Path) -> None:
    assert asyncio.run(illustrated(Steps(tmp_path), replace(WANTED, comparison=()), None)) == {}  # type: ignore[arg-type]
