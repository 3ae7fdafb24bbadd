"""What `transcode` costs beside FFmpeg run by hand: overhead on one rendition, the ladder of four, and a film in chunks."""

import functools
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import imageio_ffmpeg

from bench.measure import Run, cpu_ratios, interleaved, median, ratios, spread, table

ROOT = Path(__file__).resolve().parent.parent
MILLRACE = str(Path(sys.executable).parent / "millrace")
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SAMPLE = ROOT / "samples" / "bigbuckbunny.mp4"
_QUIET = ["-nostdin", "-hide_banner", "-v", "error", "-y"]
FILM_S, CLIP_S = 60, 10
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
    """1080p to `web-hls`, a minute and 10 s, against the best single FFmpeg command and four separate runs of the same rungs."""
    film_of = {seconds: _film(folder, seconds) for seconds in (FILM_S, CLIP_S)}
    number = itertools.count()

    def by_millrace(seconds: int) -> list[list[str]]:
        out = folder / f"ladder-{next(number)}"
        return [[MILLRACE, "transcode", str(film_of[seconds]), "--profile", "web-hls", "--out", str(out), "--json"]]

    def by_hand(seconds: int) -> list[list[str]]:
        return [_single(film_of[seconds], folder / f"single-{next(number)}")]

    ways: dict[str, Callable[[], list[list[str]]]] = {}
    for length in film_of:
        ways[f"{length} s, millrace transcode"] = functools.partial(by_millrace, length)
        ways[f"{length} s, best single FFmpeg command"] = functools.partial(by_hand, length)
    ways[f"{CLIP_S} s, four FFmpeg runs"] = lambda: _separate(film_of[CLIP_S], folder / f"separate-{next(number)}")
    found = interleaved(ways, runs, folder / "log")
    ours, single, ours_of_clip, single_of_clip, four = found.values()
    note = (
        f"time of millrace over the best single command: {median(ratios(ours, single)):.2f} for {FILM_S} s (goal: at most "
        f"1.00), of its CPU {median(cpu_ratios(ours, single)):.2f}; {median(ratios(ours_of_clip, single_of_clip)):.2f} and "
        f"{median(cpu_ratios(ours_of_clip, single_of_clip)):.2f} for {CLIP_S} s, where what every start costs counts most; "
        f"over four runs of {CLIP_S} s: {median(ratios(ours_of_clip, four)):.2f}"
    )
    return _report("Ladder: 1080p to 1080, 720, 480 and 360 in CMAF HLS", found, note)


def film(folder: Path, runs: int) -> str:
    """60 s of 1080p to one H.264 rendition in MP4 at equal preset, CRF and GOP, against one FFmpeg with default threads."""
    source = _film(folder, FILM_S)
    ours, theirs = folder / "ours", folder / "theirs"

    def by_millrace(chunks: str, out: Path) -> list[list[str]]:
        options = ["--profile", "1080p25-h264", "--chunks", chunks, "--out", str(out), "--overwrite", "--json"]
        return [[MILLRACE, "transcode", str(source), *options]]

    encoder = [*_X264, "-g", "100", "-keyint_min", "100", "-sc_threshold", "0", "-crf", "22"]

    def by_hand() -> list[list[str]]:
        shutil.rmtree(theirs, ignore_errors=True)
        theirs.mkdir()
        sound = ["-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000"]
        target = ["-movflags", "+faststart", str(theirs / "v.mp4")]
        return [[FFMPEG, *_QUIET, "-i", str(source), "-vf", "fps=25", *encoder, *sound, *target]]

    def by_scenes(workers: int) -> list[list[str]]:
        script = str(ROOT / "bench" / "peer_av1an.py")
        return [[sys.executable, script, FFMPEG, str(source), str(folder / "scenes.mp4"), str(workers), *encoder]]

    cores = os.cpu_count() or 1
    ways = {
        "millrace transcode": lambda: by_millrace("auto", ours),
        "the same, not in chunks": lambda: by_millrace("never", folder / "never"),
        "one FFmpeg": by_hand,
        "Av1an's method, a worker for each core": lambda: by_scenes(cores),
        "Av1an's method, its default of workers": lambda: by_scenes(max(1, cores // 8)),
    }
    found = interleaved(ways, runs, folder / "log")
    mine, _, single, scenes, _ = found.values()
    sizes = [(ours / "video.mp4").stat().st_size, (theirs / "v.mp4").stat().st_size]
    quality = [_vmaf(path, source) for path in (ours / "video.mp4", theirs / "v.mp4")]
    note = (
        f"speed of millrace over one FFmpeg: {1 / median(ratios(mine, single)):.2f} (goal: at least 1.05), "
        f"CPU for a frame: {1 / median(cpu_ratios(mine, single)):.2f} times less (goal: 1.10); "
        f"size {sizes[0] / sizes[1]:.3f} (goal: within 1 %), VMAF {quality[0]:.2f} against {quality[1]:.2f} (goal: within 0.2); "
        f"over Av1an's method: {1 / median(ratios(mine, scenes)):.2f}, {1 / median(cpu_ratios(mine, scenes)):.2f} in CPU"
    )
    return _report(f"Film: {FILM_S} s of 1080p to one rendition", found, note)


def _film(folder: Path, seconds: int) -> Path:
    """The sample, repeated and enlarged to 1080p."""
    return clip(
        folder,
        f"1080p-{seconds}.mp4",
        [
            *("-stream_loop", str(seconds // 5 - 1), "-i", str(SAMPLE), "-t", str(seconds)),
            *("-vf", "scale=1920:1080", *_X264, "-crf", "20", "-c:a", "copy"),
        ],
    )


def _vmaf(path: Path, source: Path) -> float:
    """The mean VMAF of every tenth frame."""
    graph = (
        "[0:v]fps=25,setpts=PTS-STARTPTS[a];[1:v]fps=25,setpts=PTS-STARTPTS[b];[a][b]libvmaf=n_subsample=10:n_threads=2"
    )
    command = [
        FFMPEG,
        "-nostdin",
        "-hide_banner",
        "-i",
        str(path),
        "-i",
        str(source),
        "-lavfi",
        graph,
        "-f",
        "null",
        "-",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return float(said.rpartition("VMAF score: ")[2].split()[0])


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
