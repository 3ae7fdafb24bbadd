"""An engine that encodes nothing: its child is a shell script that does what the test tells it through a FIFO."""

import asyncio
import os
from fractions import Fraction
from pathlib import Path

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.media.check import Produced
from millrace.domain.media.probe import Probe, VideoStream
from millrace.engines.engine import Command, EngineFailure, Progress
from millrace.worker.proofs import EngineSource

SCRIPT = """
echo "frame 1"
echo "engine speaks: begin" >&2
echo "begun $$" > "$1/said"
while read word < "$1/told"; do
  case $word in
    finish) printf video > "$2/video.mp4"; echo "frame 30"; exit 0;;
    fail) echo "engine speaks: broken" >&2; exit 3;;
    lines) i=0; while [ $i -lt 2000 ]; do echo "engine line $i" >&2; i=$((i+1)); done; echo "done" > "$1/said";;
    spin) while :; do :; done;;
  esac
done
"""
PROFILE = {
    "name": "fake",
    "packaging": "mp4",
    "renditions": [{"video": {"codec": "h264", "height": 72}}],
}


def spec(**fields):
    base = {
        "input": None,
        "output": None,
        "overwrite": False,
        "engine": "ffmpeg",
        "profile": PROFILE,
        "parameters": {"duration_s": 1},
    }
    return {**base, **fields}


class FakeEngine:
    """`folder` holds two FIFOs, one for each direction. Use it inside an event loop; runs one child at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.encoded = 0
        self.findings = False
        self._heard = asyncio.Queue()
        self._told, self._said = (self._fifo(folder / name) for name in ("told", "said"))
        asyncio.get_running_loop().add_reader(self._said, self._read)

    def _fifo(self, path: Path) -> int:
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        # Open at both ends, so that neither we nor a child ever wait for the other to open it.
        return os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def _read(self) -> None:
        for line in os.read(self._said, 4096).decode().splitlines():
            self._heard.put_nowait(line)

    def source(self, encoders=("libx264",)):
        return EngineSource(name="ffmpeg", binary=Path("/bin/sh"), encoders=encoders, bind=lambda _: self)

    # For the test ---------------------------------------------------------------------------------------------------

    async def begun(self) -> int:
        """The pid of the child, once it runs."""
        return int((await self.heard()).removeprefix("begun "))

    async def heard(self) -> str:
        """The next line that a child says."""
        return await asyncio.wait_for(self._heard.get(), 30)

    def tell(self, word: str) -> None:
        os.write(self._told, word.encode() + b"\n")

    # Engine ----------------------------------------------------------------------------------------------------------

    def brief(self, source, *, fewest=None):
        return None

    def probe(self, source):
        return Command(argv=("/bin/cat", str(source)), label="probe")

    def read_probe(self, stdout, stderr, exit_status):
        if "video" not in stdout:
            raise EngineFailure(Failure(failure_class=FailureClass.INPUT, message="The input is no video."))
        stream = VideoStream(
            index=0, codec="h264", width=128, height=72, frame_rate=Fraction(30), frames=30, end=Fraction(1)
        )
        return Probe(formats=("mp4",), duration=Fraction(1), video=(stream,))

    def first_picture(self, source, probe):
        return None

    def encode(self, plan, source, folder, work):
        self.encoded += 1
        return (
            Command(
                argv=("/bin/sh", "-c", SCRIPT, "engine", str(self.folder), str(folder)),
                label="encode",
                frames=plan.frames,
            ),
        )

    def encoders_in(self, plan):
        return frozenset({"libx264"})

    def progress(self):
        return self

    def feed(self, line):
        frame = int(line.removeprefix("frame "))
        return Progress(frame=frame, fps=1.0, speed=1.0, out_time_s=None, bitrate_bps=None, ended=False)

    def failure(self, exit_status, log_tail, *, signalled):
        return Failure(
            failure_class=FailureClass.ENGINE,
            message=f"The engine ended with {exit_status}: {log_tail.splitlines()[-1:]}",
        )

    def suspicion(self, log_tail):
        return None

    def inspect(self, plan, folder):
        return (Command(argv=("/bin/cat", str(folder / "video.mp4")), label="check"),)

    def fragmented(self, plan):
        return ()

    def reads(self, plan):
        return ()

    def read_inspection(self, plan, outcomes, listing):
        file = plan.files[0]
        wanted = file.video
        stream = VideoStream(
            index=0, codec="h264", width=wanted.size.width, height=wanted.size.height, frame_rate=wanted.rate,
            frames=wanted.frames - (5 if self.findings else 0), end=plan.duration,
        )  # fmt: skip
        probe = Probe(formats=("mp4",), duration=plan.duration, video=(stream,))
        return Produced(probes={file.path: probe}, sizes=listing.sizes)

    def finish(self, plan, listing):
        return {}

    def encoder_proof(self, encoder):
        works = encoder != "broken"
        script = "exit 0" if works else "echo 'no such device' >&2; exit 1"
        (self.folder / "proofs").open("a").write(encoder + "\n")
        return Command(argv=("/bin/sh", "-c", script), label=f"prove {encoder}")

    def encoders_of(self, profile):
        return frozenset({"libx264"})
