"""Av1an's documented method with FFmpeg's libx264, where Av1an itself (Rust, VapourSynth) cannot be installed from a package index.

Usage: python bench/peer_av1an.py FFMPEG SOURCE TARGET WORKERS ENCODER_ARGUMENT ...

As its README and `av1an --help` have it: scene cuts become chunks (none shorter than 24 frames, what is longer than 10 s is
split), chunks are encoded the longest first by so many workers, each a decoder that writes YUV4MPEG into the pipe of an encoder,
their frames are counted, and FFmpeg's concat joins them with the sound. Its default on two cores is one worker.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

RATE = 25
LEAST, MOST = 24, 10 * RATE
"""Frames of a chunk."""
SCENE = 0.3
"""How different a frame is from the one before it, of 1, where a scene begins: FFmpeg's own measure, at a third of the height."""
_QUIET = ["-nostdin", "-hide_banner", "-v", "error", "-y"]


def scenes(ffmpeg: str, source: str) -> list[tuple[int, int]]:
    """Chunks as first frame and end."""
    graph = f"fps={RATE},scale=-2:360,select='eq(n,0)+gt(scene,{SCENE})',metadata=print:file=-"
    command = [ffmpeg, *_QUIET, "-i", source, "-an", "-vf", graph, "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cuts = [0]
    for found in re.findall(r"pts_time:([\d.]+)", said):
        frame = round(float(found) * RATE)
        if frame - cuts[-1] >= LEAST:
            cuts.append(frame)
    found = []
    for first, end in zip(cuts, [*cuts[1:], _frames(ffmpeg, source)], strict=True):
        parts = -(-(end - first) // MOST)
        edges = [first + (end - first) * part // parts for part in range(parts + 1)]
        found += list(pairwise(edges))
    return found


def _frames(ffmpeg: str, path: str) -> int:
    """Frames of the first picture stream, counted by packets."""
    command = [ffmpeg, "-nostdin", "-hide_banner", "-i", path, "-map", "0:v:0", "-c", "copy", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return int(re.findall(r"frame=\s*(\d+)", said)[-1])


def encode(ffmpeg: str, source: str, target: Path, chunk: tuple[int, int], arguments: Sequence[str]) -> None:
    """One chunk, through a pipe of YUV4MPEG."""
    first, end = chunk
    seek = ["-ss", f"{max(0.0, (first - 0.5) / RATE):.6f}"]
    decoder = [ffmpeg, *_QUIET, *seek, "-i", source, "-an", "-frames:v", str(end - first), "-f", "yuv4mpegpipe", "-"]
    encoder = [ffmpeg, *_QUIET[1:], "-f", "yuv4mpegpipe", "-i", "-", *arguments, str(target)]
    with subprocess.Popen(decoder, stdout=subprocess.PIPE) as pictures:
        subprocess.run(encoder, stdin=pictures.stdout, check=True)
    made = _frames(ffmpeg, str(target))
    if made != end - first:
        raise SystemExit(f"cannot compare: a chunk of {end - first} frames has {made}")


def main(ffmpeg: str, source: str, target: str, workers: str, *arguments: str) -> None:
    """Cut, encode, join."""
    with tempfile.TemporaryDirectory(dir=Path(target).parent) as place:
        folder = Path(place)
        chunks = scenes(ffmpeg, source)
        paths = [folder / f"{number:05}.mkv" for number in range(len(chunks))]
        longest = sorted(zip(chunks, paths, strict=True), key=lambda one: one[0][0] - one[0][1])
        with ThreadPoolExecutor(int(workers)) as pool:
            list(pool.map(lambda one: encode(ffmpeg, source, one[1], one[0], arguments), longest))
        names = folder / "concat.txt"
        names.write_text("".join(f"file {path.name}\n" for path in paths))
        sound = [
            "-map",
            "0:v",
            "-map",
            "1:a?",
            "-c:v",
            "copy",
            "-c:a",
            "aac",
            "-b:a",
            "128k",
            "-ac",
            "2",
            "-ar",
            "48000",
        ]
        join = ["-f", "concat", "-i", str(names), "-i", source, *sound, "-movflags", "+faststart", target]
        subprocess.run([ffmpeg, *_QUIET, *join], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
