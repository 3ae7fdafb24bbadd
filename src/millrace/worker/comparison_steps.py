"""The step of a task that shows frames of what was made beside those of the source."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from millrace.domain.failures import FailureClass
from millrace.domain.media.comparison import FOLDER, picture
from millrace.domain.media.outputs import Plan
from millrace.worker.failure import TaskFailedError, from_os_error
from millrace.worker.media_steps import MediaSteps, list_folder, write_files


async def illustrated(steps: MediaSteps, plan: Plan, source: Path | None) -> Mapping[str, int]:
    """Put a picture for each rendition and moment of the plan beside the output; the size of each in bytes, by its path.

    Raises:
        TaskFailedError: class `output`; a frame is not where it should be.
    """
    wanted = [(file, file.video, moment) for file in plan.files if file.video for moment in plan.comparison]
    if not wanted:
        return {}
    work = steps.folder / FOLDER
    shown = [
        steps.engine.side_by_side(plan, file, moment, source=source, folder=steps.out, work=work)
        for file, _, moment in wanted
    ]
    try:
        for one in shown:
            await asyncio.to_thread(write_files, work, one.files)
        await steps.run([one.command for one in shown], lambda *_: None, at_once=steps.cores)
        # An engine that was taken over could have left a link there.
        sizes = (await asyncio.to_thread(list_folder, work)).sizes
        made: dict[str, int] = {}
        for (_, video, moment), one in zip(wanted, shown, strict=True):
            if not sizes.get(one.picture):
                sentence = f"cannot show {video.name} beside its source: frame {moment.first} was not found in both"
                raise TaskFailedError(FailureClass.OUTPUT, sentence)
            path = picture(video.name, moment)
            await asyncio.to_thread(_move, work / one.picture, steps.out / path)
            made[path] = sizes[one.picture]
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
    except OSError as error:
        raise from_os_error(error, "keep the pictures of the comparison") from error
    steps.log.say(f"compare: {len(made)} pictures beside the source")
    return made


def _move(picture_: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    picture_.rename(to)
