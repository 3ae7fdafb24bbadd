"""A probe in one run of FFmpeg: copied packets counted by `framecrc` on stdout, the description of the streams on stderr."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from msgspec.structs import replace

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.media.accepted import too_large
from millrace.domain.media.damage import Damage
from millrace.domain.media.probe import AudioStream, Color, Probe, SubtitleStream, VideoStream
from millrace.domain.media.purposes import purposes_of
from millrace.domain.media.rates import snapped
from millrace.domain.media.source_map import PacketList
from millrace.engines.engine import Brief, Command, DamagedInput, EngineFailure, Outcome, ShortOfMemory
from millrace.engines.ffmpeg import headers as printed
from millrace.engines.ffmpeg.cadence import cadence
from millrace.engines.ffmpeg.failure import failure, messages
from millrace.engines.ffmpeg.matroska_index import Film, packets_of, read_film
from millrace.engines.ffmpeg.mp4_index import read_index
from millrace.engines.ffmpeg.packets import Packets, packet_rows, read_packet_lists, read_packets, time_bases
from millrace.engines.ffmpeg.reading import CODECS, PROBE_MEMORY_BYTES, guarded, picture, playlist, source
from millrace.engines.ffmpeg.side_data import described
from millrace.engines.ffmpeg.signatures import SHORT_OF_MEMORY, SHORT_OF_THREADS

MISDETECTED = re.compile(r"detected only with low score of")
CUT_SHORT = re.compile(
    r"partial file|File ended prematurely|Packet corrupt \(stream|corrupt input packet|Truncating packet"
)
OVER = re.compile(r"exceeds max_streams|exceeds specified max pixel count")
"""What does not fit is left out, and FFmpeg goes on without it."""
OPENED = re.compile(r"After avformat_find_stream_info\(\) pos: .* frames:(\d{1,9})\b")
ESTIMATED = "Estimating duration from bitrate"
SHORT_RATIO, SHORT_S = Fraction(1, 50), Fraction(1, 2)
"""A file that ends more than 2 % and half a second before the length that it declares has lost its end."""
LOST_S = Fraction(1, 10)
"""Of an input that is damaged in any case: it has lost its end. What is less may be the length of a last frame."""
ONE_AT_A_TIME, MANY = ("-thread_queue_size", "1"), ("-thread_queue_size", "64")
"""Packets between threads. To hand them on one at a time takes three times the CPU, and of uncompressed 4K the usual 8 alone could fill the
memory of a probe."""
COPY = ("-map", "0:v?", "-map", "0:a?", "-c", "copy", "-map_metadata", "-1", "-map_chapters", "-1")
"""Without the input's words, which would stand among the engine's own once more."""
LIST = ("-f", "framecrc", "-")
NO_PACKETS = ("-t", "0")
BEGINNING = ("-t", "20")
"""Seconds in which the packets of each stream are compared with an index that leaves something to FFmpeg."""
FEWEST_PACKETS = 20_000
"""FFmpeg has read fewer as soon."""


def probe_command(binary: Path | str, path: Path, *part: str, sparing: bool) -> Command:
    """Probe an untrusted local file, or the `part` of it that options for the input say; `sparing` memory in the place of time."""
    queue = ONE_AT_A_TIME if sparing else MANY
    return Command(
        argv=(*guarded(binary), *queue, "-copyts", *part, *source(path), *COPY, *queue, *LIST),
        label="probe",
        reads=(path,),
        memory_bytes=PROBE_MEMORY_BYTES,
    )


def brief(binary: Path | str, path: Path, *, fewest: int | None = None) -> Brief | None:
    """How an untrusted local file is described whose index tells of its packets, at least so many (None: FEWEST_PACKETS); None where
    FFmpeg has to read them all. Blocking.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        least = FEWEST_PACKETS if fewest is None else fewest
        if (film := read_film(file, fewest=least)) is not None:
            end = ("-ss", f"{film.end_s:.3f}")
            commands = tuple(probe_command(binary, path, *one, sparing=True) for one in (BEGINNING, end))
            return Brief(commands=commands, index=film)
        index = read_index(file, path.stat().st_size, fewest=least)
    if index is None:
        return None
    command = probe_command(binary, path, sparing=True)
    return Brief(commands=(replace(command, argv=(*command.argv[:-1], *NO_PACKETS, command.argv[-1])),), index=index)


def opening_command(binary: Path | str, path: Path) -> Command:
    """Open a file and nothing more, and tell how much of it was read for that."""
    return Command(
        argv=(*guarded(binary), "-v", "debug", *source(path)),
        label="look how it is opened",
        reads=(path,),
        memory_bytes=PROBE_MEMORY_BYTES,
    )


def read_opening(stderr: str) -> int | None:
    """How many packets were read to open a file, as `avformat_find_stream_info` says; None where it does not."""
    # A tag may hold such a line, too: the most of them is no less than the truth.
    return max((int(found) for found in OPENED.findall(stderr)), default=None)


def packet_lists(outcome: Outcome) -> Mapping[int, PacketList]:
    """By input stream, the packets that a probe has read."""
    return read_packet_lists(outcome.stdout, printed.read_headers(outcome.stderr).mapping)


def made_input(path: str) -> tuple[str, ...]:
    """Input options for a file that Millrace made: a playlist with its segments, a sprite, or a movie."""
    return playlist(path) if path.endswith(".m3u8") else picture(path) if path.endswith(".jpg") else source(path)


def inspection_command(binary: Path | str, path: str, folder: Path, share: float) -> Command:
    """Probe a file that Millrace made in `folder`."""
    return Command(
        argv=(*guarded(binary), *ONE_AT_A_TIME, "-copyts", *made_input(path), *COPY, *ONE_AT_A_TIME, *LIST),
        label=f"check {path}",
        share=share,
        cwd=folder,
        reads=(folder,),
        memory_bytes=PROBE_MEMORY_BYTES,
    )


def read_probe(stdout: str, stderr: str, exit_status: int) -> Probe:
    """The facts about a source.

    Raises:
        DamagedInput: class input and a sentence, when the file is damaged or cut short, with what is known of the rest.
        EngineFailure: the same, when it is missing or no real media.
    """
    head = _head(stderr, exit_status)
    packets = read_packets(stdout)
    return _described(head, {head.mapping.get(number, number): one for number, one in packets.items()}, stderr)


def read_brief(found: Brief, outcomes: Sequence[Outcome]) -> Probe | None:
    """The same by an index; None where its streams are not those that FFmpeg describes. Raises as :func:`read_probe`."""
    stderr = outcomes[0].stderr
    head = _head(stderr, outcomes[0].exit_status)
    index: Mapping[int, Packets] | None = found.index  # type: ignore[assignment]  # as `brief` made it
    if isinstance(found.index, Film):
        index = _compared(found.index, head, outcomes)
    if index is None or set(index) != {header.index for header in head.streams if header.kind in ("Video", "Audio")}:
        return None
    return _described(head, index, stderr)


def _compared(film: Film, head: printed.Headers, outcomes: Sequence[Outcome]) -> Mapping[int, Packets] | None:
    """The packets of a film by its headers; None where those that were read at its beginning and end are others."""
    begin, end = outcomes
    if end.exit_status or CUT_SHORT.search(messages(end.stderr)):
        return None
    bases = {head.mapping.get(number, number): base for number, base in time_bases(begin.stdout).items()}
    ends = printed.read_headers(end.stderr).mapping
    return packets_of(film, bases, packet_rows(begin.stdout, head.mapping), packet_rows(end.stdout, ends))


def _head(stderr: str, exit_status: int) -> printed.Headers:
    head = printed.read_headers(stderr)
    log = messages(stderr)
    if MISDETECTED.search(log):
        raise _refusal("is not a video or audio file of a known kind, whatever its name says")
    if head.forged:
        raise _refusal("imitates the engine's own words in its tags, so that nothing that it says can be believed")
    if exit_status != 0:
        if head.streams and "does not contain any stream" in log:
            raise _refusal("holds neither video nor audio")
        found = failure(exit_status, stderr, signalled=exit_status < 0)
        if found.message in (SHORT_OF_MEMORY, SHORT_OF_THREADS):  # a thread needs memory, too
            # Ours is the only bound that so little work can meet: it lies in the file, so no other machine does better.
            raise ShortOfMemory(_refusal(f"cannot be described within {PROBE_MEMORY_BYTES >> 20} MB of memory").failure)
        raise EngineFailure(found)
    if OVER.search(log):
        raise EngineFailure(failure(exit_status, stderr, signalled=False))
    return head


def _described(head: printed.Headers, packets: Mapping[int, Packets], stderr: str) -> Probe:
    log = messages(stderr)
    if (broken := _broken(log, packets)) is not None:
        raise _damaged(broken, head, packets, log)
    described = _assembled(head, packets)
    if not described.video and not described.audio:
        raise _refusal("holds neither video nor audio that can be decoded")
    missing = _missing(head, described, log)
    if head.declared_s is not None and missing > SHORT_S and missing > head.declared_s * SHORT_RATIO:
        text = f"is cut short: it declares {float(head.declared_s):.1f} s but holds {float(described.duration):.1f} s"
        raise _damaged(text, head, packets, log)
    return described


def read_back(stdout: str, stderr: str, exit_status: int) -> Probe | None:
    """The facts about an output; None when it cannot be read."""
    if exit_status != 0 or CUT_SHORT.search(messages(stderr)):
        return None
    try:
        head, packets = printed.read_headers(stderr), read_packets(stdout)
        return _assembled(head, {head.mapping.get(number, number): one for number, one in packets.items()})
    except EngineFailure:
        return None


def _refusal(text: str) -> EngineFailure:
    return EngineFailure(Failure(failure_class=FailureClass.INPUT, message=f"The input {text}."))


def _broken(log: str, packets: Mapping[int, Packets]) -> str | None:
    """What the demuxer says of damage; None for nothing."""
    if CUT_SHORT.search(log):
        return "is damaged or cut short: it ends, or breaks, before its own index says"
    marked = any(stream.corrupt for stream in packets.values())
    return "is damaged: some of its packets are marked as corrupt" if marked else None


def _damaged(text: str, head: printed.Headers, packets: Mapping[int, Packets], log: str) -> EngineFailure:
    """The refusal of a damaged input, with what is known of the rest, if that is anything."""
    refusal = _refusal(text)
    try:
        found = _assembled(head, packets)
    except EngineFailure:
        return refusal
    if not found.pictures and not found.audio:
        return refusal
    missing = _missing(head, found, log)
    damage = Damage(ends=found.duration, declared=found.duration + missing) if missing > LOST_S else Damage()
    return DamagedInput(refusal.failure, found, damage)


def _missing(head: printed.Headers, found: Probe, log: str) -> Fraction:
    """Seconds that the input declares beyond those that it holds."""
    if head.declared_s is None or ESTIMATED in log:
        return Fraction(0)
    # Matroska declares the time of its end, which is not its length where it begins late.
    reach = found.duration + (max(found.start, Fraction(0)) if "matroska" in head.formats else 0)
    return head.declared_s - reach


def _assembled(head: printed.Headers, packets: Mapping[int, Packets]) -> Probe:
    """`packets` are those of the input's streams by their number."""
    video: list[VideoStream] = []
    audio: list[AudioStream] = []
    subtitles: list[SubtitleStream] = []
    for header in head.streams:
        stream = packets.get(header.index, Packets())
        if header.kind == "Video" and (picture_stream := _video(header, stream)):
            video.append(picture_stream)
        elif header.kind == "Audio" and stream.times and (sound := _audio(header, stream)):
            audio.append(sound)
        elif header.kind == "Subtitle":
            subtitles.append(
                SubtitleStream(
                    index=header.index,
                    codec=header.codec,
                    is_text=header.codec in printed.TEXT_SUBTITLES,
                    language=header.language,
                    forced="forced" in header.dispositions,
                    purposes=purposes_of(header.dispositions),
                )
            )
    timed: list[VideoStream | AudioStream] = [*(one for one in video if not one.attached_picture), *audio]
    start = head.start_s if head.start_s is not None else min((one.start for one in timed), default=Fraction(0))
    end = max((one.end for one in timed), default=start)
    return Probe(
        formats=head.formats,
        start=start,
        duration=max(end - start, Fraction(0)),
        video=tuple(video),
        audio=tuple(audio),
        subtitles=tuple(subtitles),
        # What ends before the film begins belongs to nothing in it, and FFmpeg keeps none of that.
        chapters=sum(chapter_end >= start for chapter_end in head.chapters.values()),
        attachments=sum(header.kind == "Attachment" for header in head.streams),
        data=sum(header.kind == "Data" for header in head.streams),
    )


def _video(header: printed.Header, stream: Packets) -> VideoStream | None:
    is_cover = "(attached pic)" in header.text
    if is_cover and header.codec not in CODECS:
        return None  # nobody decodes it
    _accept_codec(header)
    size = printed.size_of(header)
    if size is not None and (fault := too_large(*size)):
        raise _refusal(fault)
    pixel_format, words = printed.pixel_format_of(header)
    if header.codec == "none" or size is None or pixel_format in (None, "none"):
        raise _refusal(f"has video in a codec that cannot be decoded (stream {header.index})")
    width, height = (side - cut for side, cut in zip(size, header.cropping, strict=True))
    if min(width, height) < 1:
        raise _refusal(f"is to be shown cropped by more than it has (stream {header.index})")
    if round(header.rotation) % 90:
        raise _refusal(f"is to be shown turned by {header.rotation:g} degrees; only quarter turns can be done")
    declared = printed.rate_of(header)
    beat = cadence(stream.times, stream.time_base, None if declared is None else snapped(declared))
    base = stream.time_base
    last = stream.last_duration * base or (1 / beat.rate if beat.rate else Fraction(0))
    first = min(stream.times, default=0) * base
    found = VideoStream(
        index=header.index,
        codec=header.codec,
        profile=header.profile,
        width=width,
        height=height,
        sar=printed.sar_of(header),
        # FFmpeg prints the turn that the matrix makes anticlockwise; what is stored here is the clockwise turn for display.
        rotation_degrees=-round(header.rotation) % 360,
        pix_fmt=pixel_format,
        bit_depth=printed.bit_depth_of(pixel_format),
        frame_rate=beat.rate,
        peak_rate=beat.peak,
        time_base=base,
        frames=len(stream.times),
        start=first,
        end=max(stream.times, default=0) * base + last,
        is_vfr=beat.is_vfr,
        exact_times=not stream.guessed,
        field_order=next((printed.FIELDS[word] for word in words if word in printed.FIELDS), "progressive"),
        color=_color(words),
        chroma=printed.chroma_of(pixel_format),
        alpha=header.transparent or printed.has_alpha(pixel_format),
        attached_picture=is_cover,
        keyframes=tuple(time * base for time, _ in sorted(stream.keys)),
        key_decoding=tuple(dts * base for _, dts in sorted(stream.keys)),
        gops=stream.gops(),
        backsteps=tuple(time * base for time in stream.backsteps),
        hidden=stream.hidden,
    )
    return described(found, header.side_data or ())


def _color(words: list[str]) -> Color:
    def known(text: str) -> str | None:
        return None if text in ("unknown", "reserved") else text

    levels = next((word for word in words if word in ("tv", "pc")), None)
    triple = next((word for word in words if word.count("/") == 2), None)
    if triple is not None:
        space, primaries, transfer = triple.split("/")
        return Color(range=levels, space=known(space), primaries=known(primaries), transfer=known(transfer))
    # One name stands for all three when they are the same.
    same = next(
        (word for word in words if word not in ("tv", "pc", "progressive") and word not in printed.FIELDS), None
    )
    return Color(range=levels, space=same, primaries=same, transfer=same)


def _accept_codec(header: printed.Header) -> None:
    if header.codec != "none" and header.codec not in CODECS:
        raise _refusal(
            f"has {header.kind.lower()} in {header.codec} (stream {header.index}), a codec that is not accepted"
        )


def _audio(header: printed.Header, stream: Packets) -> AudioStream | None:
    _accept_codec(header)
    rate = next((int(part.split(" ")[0]) for part in header.parts if re.fullmatch(r"\d+ Hz", part)), None)
    named = next(((part, count) for part in header.parts[1:] if (count := printed.channels_of(part)) is not None), None)
    if header.codec == "none" or rate is None or named is None:
        raise _refusal(f"has audio in a codec that cannot be decoded (stream {header.index})")
    base = stream.time_base
    return AudioStream(
        index=header.index,
        codec=header.codec,
        sample_rate=rate,
        channels=named[1],
        layout=named[0],
        language=header.language,
        purposes=purposes_of(header.dispositions),
        packets=len(stream.times),
        start=min(stream.times) * base,
        end=(max(stream.times) + stream.last_duration) * base,
    )
