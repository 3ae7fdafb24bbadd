"""How many sessions a card has: found by opening them, on a card that is a folder, and remembered."""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from millrace.engines.engine import Command
from millrace.engines.ffmpeg import encoders
from millrace.programs import ffmpeg
from millrace.runtime.clock import SystemClock
from millrace.worker.proofs import EngineSource, Proven, trial
from millrace.worker.sessions import MOST, _opens, count_sessions

CARD = """
import fcntl, signal, sys
from pathlib import Path
card, most = Path(sys.argv[1]), int(sys.argv[2])
with (card / "opened").open("a") as opened:
    print("asked", file=opened)
print("frame=0", flush=True)
for number in range(most):
    lock = (card / f"session{number}").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        continue
    print("frame=1", "fps=25.0", sep="\\n", flush=True)
    signal.pause()
print("OpenEncodeSessionEx failed: out of memory (10)", file=sys.stderr)
sys.exit(1)
"""


class Card:
    """A card with so many sessions, as a folder of locks."""

    def __init__(self, folder: Path, most: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.most = most

    def source(self, *, countable: bool = True) -> EngineSource:
        return EngineSource(
            name="ffmpeg",
            binary=Path(sys.executable),
            encoders=("libx264", "h264_nvenc", "hevc_nvenc"),
            bind=lambda _: None,  # type: ignore[arg-type,return-value]  # nothing is encoded
            session=self._session if countable else None,
        )

    def _session(self, encoder: str) -> Command:
        argv = (sys.executable, "-c", CARD, str(self.folder), str(self.most))
        return Command(argv=argv, label=f"open {encoder}")

    async def count(self, *working: str, countable: bool = True, **given: int) -> Mapping[str, int]:
        source = self.source(countable=countable)
        reasons = {encoder: "" if encoder in working else "no device" for encoder in source.encoders}
        proven = Proven(name="ffmpeg", engine=None, reasons=reasons, ability="", bind=source.bind)  # type: ignore[arg-type]
        return await count_sessions(
            source, proven, given=given, cache=self.folder / "proofs.json", environment={}, clock=SystemClock(), folder=self.folder
        )  # fmt: skip

    @property
    def asked(self) -> int:
        found = self.folder / "opened"
        return len(found.read_text().split()) if found.exists() else 0


@pytest.mark.parametrize("most", [0, 1, 3])
def test_sessions_are_opened_until_one_is_refused_and_all_are_closed(tmp_path: Path, most: int) -> None:
    async def main() -> None:
        card = Card(tmp_path / "card", most)
        assert await card.count("h264_nvenc", "hevc_nvenc") == {"nvenc": most}
        assert card.asked == most + 1
        # Remembered; and nothing holds a session any more.
        assert await card.count("h264_nvenc", "hevc_nvenc") == {"nvenc": most}
        assert card.asked == most + 1
        (card.folder / "proofs.json").unlink()
        assert await card.count("h264_nvenc") == {"nvenc": most}

    asyncio.run(main())


def test_a_card_that_opens_all_that_are_tried_has_no_bound(tmp_path: Path) -> None:
    async def main() -> None:
        card = Card(tmp_path / "card", MOST + 1)
        assert await card.count("h264_nvenc") == {}
        assert card.asked == MOST

    asyncio.run(main())


def test_what_an_operator_says_goes_before_and_only_what_works_is_counted(tmp_path: Path) -> None:
    async def main() -> None:
        card = Card(tmp_path / "card", 3)
        assert await card.count("h264_nvenc", nvenc=1, qsv=7) == {"nvenc": 1}
        assert await card.count("libx264") == {}
        assert await card.count("h264_nvenc", countable=False) == {}
        assert card.asked == 0

    asyncio.run(main())


def test_workers_that_start_together_do_not_take_each_others_sessions(tmp_path: Path) -> None:
    async def main() -> None:
        card = Card(tmp_path / "card", 3)
        assert await asyncio.gather(*(card.count("h264_nvenc") for _ in range(3))) == [{"nvenc": 3}] * 3
        assert card.asked == 4

    asyncio.run(main())


def test_a_real_ffmpeg_says_when_its_encoder_works_and_holds_it_until_it_is_ended(tmp_path: Path) -> None:
    """With encoders in software: there is no card here."""

    async def main() -> None:
        command = encoders.session(ffmpeg.binary(None), "libx264")
        refused = encoders.session(ffmpeg.binary(None), "aac")  # which makes no pictures
        async with AsyncExitStack() as held:
            for wanted, opens in ((command, True), (refused, False), (command, True)):
                assert await _opens(trial(wanted, {}, None, tmp_path), held, clock=SystemClock()) is opens

    asyncio.run(main())
