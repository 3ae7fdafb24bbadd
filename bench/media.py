"""What `transcode` costs beside FFmpeg run by hand: overhead on one rendition, and the ladder of four."""

import itertools
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg

from bench.measure import Run, interleaved, median, ratios, spread, table

ROOT = Path(__file__).resolve().parent.parent
MILLRACE = str(Path(sys.executable).parent / "millrace")
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SAMPLE = ROOT / "samples" / "bigbuckbunny.mp4"
_QUIET = ["-nostdin", "-hide_banner", "-v", "error", "-y"]
_X264 = ["-c:v", "libx264", "-preset", "veryfast"]


def clip(folder: Path, name: str, arguments: Sequence[str]) -> Path:
    """Make a clip once."""
    path = folder / name
    subprocess.run([FFMPEG, *_QUIET, *arguments, str(path)], check=True)
    return path


def overhead(folder: Path, runs: int) -> str:
    """10 s of 720p to one H.264 rendition: `transcode`, cold, against the same FFmpeg argument list by hand."""
    source = clip(folder, "720p.mp4", ["-stream_loop", "1", "-i", str(SAMPLE), "-t", "10", "-c", "copy"])
    number = itertools.count()
    plain = _plain_arguments(source, folder / "plain")

    def by_millrace() -> list[list[str]]:
        out = folder / f"overhead-{next(number)}"
        return [[MILLRACE, "transcode", str(source), "--profile", "mp4-h264", "--out", str(out), "--json"]]

    def by_hand() -> list[list[str]]:
        shutil.rmtree(folder / "plain", ignore_errors=True)
        (folder / "plain").mkdir()
        return plain

    found = interleaved({"millrace transcode": by_millrace, "the same FFmpeg": by_hand}, runs, folder / "log")
    extra = [a.wall_s - b.wall_s for a, b in zip(*found.values(), strict=True)]
    return _report(
        "Overhead: 10 s of 720p to one rendition, cold", found, f"more in all: {spread(extra)} s; goal at most 0.5 s"
    )


def _plain_arguments(source: Path, target: Path) -> list[list[str]]:
    from millrace.domain.media.plan import plan
    from millrace.engines import profiles
    from millrace.engines.ffmpeg.engine import FFmpeg

    engine = FFmpeg(Path(FFMPEG))
    command = engine.probe(source)
    done = subprocess.run(command.argv, capture_output=True, text=True, check=True)
    facts = engine.read_probe(done.stdout, done.stderr, done.returncode)
    made = plan(profiles.named("mp4-h264"), facts, parameters={})
    # The engine names its outputs from the folder that it runs in.
    return [
        ["/usr/bin/env", "-C", str(target), *command.argv] for command in engine.encode(made, source, target, target)
    ]


RUNGS = ((1080, 6000, 21), (720, 3500, 22), (480, 1800, 23), (360, 1000, 23))
"""Height, peak kbit/s and CRF of the rungs of `web-hls`, so that every way makes the same renditions."""


def ladder(folder: Path, runs: int) -> str:
    """10 s of 1080p to `web-hls`, against the best single FFmpeg command and four separate runs of the same rungs."""
    upscale = [
        "-stream_loop",
        "1",
        "-i",
        str(SAMPLE),
        "-t",
        "10",
        "-vf",
        "scale=1920:1080",
        *_X264,
        "-crf",
        "20",
        "-c:a",
        "copy",
    ]
    source = clip(folder, "1080p.mp4", upscale)
    number = itertools.count()

    def by_millrace() -> list[list[str]]:
        out = folder / f"ladder-{next(number)}"
        return [[MILLRACE, "transcode", str(source), "--profile", "web-hls", "--out", str(out), "--json"]]

    ways = {
        "millrace transcode (web-hls)": by_millrace,
        "best single FFmpeg command": lambda: [_single(source, folder / f"single-{next(number)}")],
        "four FFmpeg runs": lambda: _separate(source, folder / f"separate-{next(number)}"),
    }
    found = interleaved(ways, runs, folder / "log")
    ours, single, four = found.values()
    note = (
        f"time of millrace over the best single command: {median(ratios(ours, single)):.2f} (goal: at most 1.00), "
        f"over four runs: {median(ratios(ours, four)):.2f}"
    )
    return _report("Ladder: 10 s of 1080p to 1080, 720, 480 and 360 in CMAF HLS", found, note)


def _hls(folder: Path, name: str) -> list[str]:
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    return [
        "-f",
        "hls",
        "-hls_time",
        "4",
        "-hls_playlist_type",
        "vod",
        "-hls_segment_type",
        "fmp4",
        str(target / "index.m3u8"),
    ]


def _encode(crf: int, peak_kbps: int) -> list[str]:
    limits = ["-crf", str(crf), "-maxrate", f"{peak_kbps}k", "-bufsize", f"{2 * peak_kbps}k"]
    return [*_X264, *limits, "-g", "100", "-keyint_min", "100", "-sc_threshold", "0", "-pix_fmt", "yuv420p"]


def _single(source: Path, folder: Path) -> list[str]:
    """Decode once, scale each rung from the one above, straight to CMAF HLS."""
    graph = "[0:v]split=2[v1080][c1];[c1]scale=-2:720,split=2[v720][c2];[c2]scale=-2:480,split=2[v480][c3];[c3]scale=-2:360[v360]"
    command = [FFMPEG, *_QUIET, "-i", str(source), "-filter_complex", graph]
    for height, peak_kbps, crf in RUNGS:
        command += ["-map", f"[v{height}]", *_encode(crf, peak_kbps), *_hls(folder, str(height))]
    return [*command, "-map", "0:a", "-c:a", "aac", "-b:a", "128k", "-ac", "2", *_hls(folder, "audio")]


def _separate(source: Path, folder: Path) -> list[list[str]]:
    commands = [
        [
            FFMPEG,
            *_QUIET,
            "-i",
            str(source),
            "-map",
            "0:v",
            "-vf",
            f"scale=-2:{height}",
            *_encode(crf, peak_kbps),
            *_hls(folder, str(height)),
        ]
        for height, peak_kbps, crf in RUNGS
    ]
    audio = [
        FFMPEG,
        *_QUIET,
        "-i",
        str(source),
        "-map",
        "0:a",
        "-c:a",
        "aac",
        "-b:a",
        "128k",
        "-ac",
        "2",
        *_hls(folder, "audio"),
    ]
    return [*commands, audio]


def _report(title: str, found: dict[str, list[Run]], note: str) -> str:
    rows = [
        [name, spread([each.wall_s for each in measured]), spread([each.cpu_s for each in measured])]
        for name, measured in found.items()
    ]
    return f"## {title}\n\n{table(['way', 'wall s, median (min to max)', 'CPU s'], rows)}\n\n{note}\n"
