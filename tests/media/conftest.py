"""A small runner of the engine's commands, and tiny clips made once for each test process."""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest

from millrace.domain.media.check import Finding, Produced, check
from millrace.domain.media.chunks import with_split
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import Probe
from millrace.domain.media.profile import Profile
from millrace.domain.media.split import Chunking
from millrace.engines.engine import Command, EngineFailure, Listing, Outcome
from millrace.engines.ffmpeg import probe as probing
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.worker.media_steps import list_folder, put_together, write_files

BINARY = imageio_ffmpeg.get_ffmpeg_exe()
BARS = ("-f", "lavfi", "-i", "testsrc2=s=128x72:r=25:d=2")
TONE = ("-f", "lavfi", "-i", "sine=d=2")
FAST = ("-c:v", "libx264", "-preset", "ultrafast")
CLIPS: dict[str, tuple[str, ...]] = {
    "plain.mp4": (*BARS, *TONE, *FAST, "-c:a", "aac"),
    "anamorphic.mp4": (*BARS, "-vf", "setsar=4/3", *FAST),
    "odd.mkv": ("-f", "lavfi", "-i", "testsrc2=s=127x71:r=25:d=2", "-pix_fmt", "yuv444p", "-c:v", "ffv1"),
    "variable.mp4": (
        *("-f", "lavfi", "-i", "testsrc2=s=128x72:r=30:d=2"),
        *("-vf", "select='not(mod(n,3))+not(mod(n,7))'", "-fps_mode", "vfr", "-c:v", "libx264", "-preset", "veryfast"),
    ),
    "ten_bit.mp4": (*BARS, "-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", "log-level=error"),
    "ntsc.mp4": ("-f", "lavfi", "-i", "testsrc2=s=256x144:r=30000/1001:d=5", *TONE, *FAST, "-g", "300", "-c:a", "aac"),
    "interlaced.mp4": (*BARS, "-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ilme+ildct", *FAST),
    "surround.mkv": (
        *BARS,
        *(
            "-f",
            "lavfi",
            "-i",
            "aevalsrc='0.5*sin(2764*t)|0|0|0|0|0.2*sin(1382*t)':d=2:c=5.1(side)",
            *FAST,
            "-c:a",
            "ac3",
        ),
    ),
    "late_audio.mp4": (*BARS, "-itsoffset", "0.5", *TONE, "-map", "0", "-map", "1", *FAST, "-c:a", "aac"),
    "late_video.mkv": (
        *(
            "-itsoffset",
            "0.5",
            *BARS,
            "-f",
            "lavfi",
            "-i",
            "sine=d=2.5",
            "-map",
            "0",
            "-map",
            "1",
            *FAST,
            "-c:a",
            "aac",
        ),
    ),
    "transport.ts": (*BARS, *TONE, *FAST, "-bf", "2", "-c:a", "aac"),
    "hdr.mp4": (
        *BARS,
        *("-vf", "zscale=tin=bt709:pin=bt709:min=bt709:t=smpte2084:p=bt2020:m=bt2020nc:npl=203,format=yuv420p10le"),
        *(
            "-c:v",
            "libx265",
            "-x265-params",
            "log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc",
        ),
        *("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"),
    ),
    "mastered.mp4": (
        *BARS,
        *(
            "-vf",
            "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv",
        ),
        *("-c:v", "libx265", "-preset", "ultrafast", "-x265-params"),
        "log-level=error:keyint=12:max-cll=1000,400:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)",
    ),
    "hlg.mp4": (
        *BARS,
        *(
            "-vf",
            "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc:range=tv",
        ),
        *("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"),
    ),
    "grey_hdr.mp4": (
        *("-f", "lavfi", "-i", "color=0x808080:s=64x64:r=25:d=0.2"),
        *("-vf", "zscale=tin=bt709:pin=bt709:min=bt709:t=smpte2084:p=bt2020:m=bt2020nc:npl=203,format=yuv420p10le"),
        *(
            "-c:v",
            "libx265",
            "-x265-params",
            "log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc",
        ),
        *("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"),
    ),
    "sound.m4a": (*TONE, "-c:a", "aac"),
    "no_presentation_times.avi": (*BARS, *TONE, "-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"),
}


def ffmpeg(*arguments: str) -> None:
    subprocess.run([BINARY, "-nostdin", "-v", "error", "-y", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a clip by its name, made at the first call."""
    folder = tmp_path_factory.mktemp("clips")

    def made(name: str) -> Path:
        path = folder / name
        if not path.exists():
            if name == "turned.mp4":
                ffmpeg("-display_rotation", "-90", "-i", str(made("corner.mp4")), "-c", "copy", str(path))
            elif name == "corner.mp4":
                # White in the upper left quarter, black elsewhere.
                corner = "color=black:s=128x72:r=25:d=1,drawbox=x=0:y=0:w=64:h=36:color=white:t=fill"
                ffmpeg("-f", "lavfi", "-i", corner, *FAST, "-pix_fmt", "yuv420p", str(path))
            elif name == "subtitled.mkv":
                (folder / "words.srt").write_text("1\n00:00:00,100 --> 00:00:01,000\nHello\n\n")
                ffmpeg(
                    *("-i", str(made("plain.mp4")), "-i", str(folder / "words.srt"), "-map", "0", "-map", "1"),
                    *("-c", "copy", "-c:s", "srt", "-metadata:s:s", "language=eng", str(path)),
                )
            elif name == "covered.mp4":
                cover = folder / "cover.png"
                ffmpeg("-f", "lavfi", "-i", "testsrc2=s=256x256", "-frames:v", "1", str(cover))
                ffmpeg(
                    *("-i", str(made("plain.mp4")), "-i", str(cover), "-map", "0", "-map", "1", "-c", "copy"),
                    *("-disposition:v:1", "attached_pic", str(path)),
                )
            elif name == "faststart.mp4":
                ffmpeg("-i", str(made("ntsc.mp4")), "-c", "copy", "-movflags", "+faststart", str(path))
            else:
                ffmpeg(*CLIPS[name], str(path))
        return path

    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A finished run."""

    probe: Probe | None
    plan: Plan
    produced: Produced
    findings: tuple[Finding, ...]
    folder: Path
    finished: Mapping[str, bytes]


class Bench:
    """Runs the engine's commands one after another, as a worker would."""

    def __init__(self, engine: FFmpeg) -> None:
        self.engine = engine

    def run(self, command: Command) -> Outcome:
        for folder in command.folders:
            folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command.argv, capture_output=True, cwd=command.cwd, check=False)
        return Outcome(
            exit_status=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
        )

    def probe(self, source: Path) -> Probe:
        outcome = self.run(self.engine.probe(source))
        found = self.engine.read_probe(outcome.stdout, outcome.stderr, outcome.exit_status)
        command = self.engine.first_picture(source, found)
        return found if command is None else self.engine.with_first_picture(found, self.run(command))

    def briefly(self, source: Path) -> Probe | None:
        """What a worker finds without looking at each packet; None where it has to."""
        found = self.engine.brief(source)
        return None if found is None else self.engine.read_brief(found, [self.run(one) for one in found.commands])

    def encode(self, wanted: Plan, source: Path | None, folder: Path) -> None:
        work = folder.with_name(folder.name + ".pieces")
        for command in self.engine.first_pass(wanted, source, work):
            self.must(command)
        for command in self.engine.encode(wanted, source, folder, work):
            self.must(command)
        if source is not None and not wanted.split.is_whole:
            joined = self.engine.join(wanted, list_folder(work, self.engine.pieces(wanted)))
            put_together(work, folder if joined.folder is None else work / joined.folder, joined)
            for command in self.engine.mux(wanted, source, folder, work):
                self.must(command)

    def must(self, command: Command) -> None:
        outcome = self.run(command)
        if outcome.exit_status:
            raise EngineFailure(self.engine.failure(outcome.exit_status, outcome.stderr, signalled=False))
        if suspicion := self.engine.suspicion(outcome.stderr):
            raise EngineFailure(suspicion)

    def listing(self, wanted: Plan, folder: Path) -> Listing:
        return list_folder(folder, self.engine.reads(wanted), fragmented=self.engine.fragmented(wanted))

    def inspect(self, wanted: Plan, folder: Path) -> Produced:
        outcomes = [self.run(command) for command in self.engine.inspect(wanted, folder)]
        return self.engine.read_inspection(wanted, outcomes, self.listing(wanted, folder))

    def make(
        self, profile: Profile, source: Path | None, folder: Path, *, chunks: str | None = None, **parameters: Any
    ) -> Made:
        folder.mkdir(parents=True, exist_ok=True)
        probe = self.probe(source) if source else None
        wanted = plan(profile, probe, parameters=parameters)
        if chunks is not None:
            wanted = with_split(wanted, probe, cores=2, chunking=Chunking(chunks))
        self.encode(wanted, source, folder)
        produced = self.inspect(wanted, folder)
        finished = self.engine.finish(wanted, self.listing(wanted, folder))
        write_files(folder, finished)
        return Made(
            probe=probe,
            plan=wanted,
            produced=produced,
            findings=check(wanted, produced),
            folder=folder,
            finished=finished,
        )


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench(FFmpeg(BINARY))


@pytest.fixture
def brief_bench(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """One that takes the shorter way with short clips, too."""
    monkeypatch.setattr(probing, "FEWEST_PACKETS", 0)
    return bench


def pixels(path: Path, width: int, height: int, at_s: float = 0.0) -> bytes:
    """The luma of one frame, row by row, scaled to `width` x `height`."""
    done = subprocess.run(
        [
            *(BINARY, "-nostdin", "-v", "error", "-ss", str(at_s), "-i", str(path), "-frames:v", "1"),
            *("-vf", f"scale={width}:{height}:flags=area,format=gray", "-f", "rawvideo", "-"),
        ],
        capture_output=True,
        check=True,
    )
    return done.stdout
