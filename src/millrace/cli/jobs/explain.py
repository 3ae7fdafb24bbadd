"""`millrace jobs explain`."""

from collections.abc import Iterator, Mapping, Sequence

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, job_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.domain.media.split import Course
from millrace.wire.v1.explanation import ChunkView, DecisionView, Explanation, SpentView

_WAYS = {Course.WHOLE: "whole", Course.CHUNKS: "chunks on one worker", Course.SPREAD: "chunks on several workers"}
_MOST_CHUNKS = 24
_UNPLANNED = "The worker that takes it reads the input first, and decides then whether it is encoded whole, in chunks or on several workers."


@click.command()
@job_argument
@target_options
@output_option
def explain(
    job: str,
    target: Target,
    output: Output,
) -> None:
    """Say why a job is encoded as it is: what was found, what was weighed, what was expected and what it took.

    Of a job that nobody has begun it says why it waits, and which nodes could take it.
    """
    with connect(target) as client:
        found = client.do(people.explain(job))
    if output is Output.JSON:
        show.json_document(found)
    else:
        _page(found)


def _page(found: Explanation) -> None:
    decision = found.decision
    show.paragraphs(
        [
            ("job", f"{found.number}, {show.styled(found.state)}"),
            ("input", show.escape(found.input or "a generated test clip")),
            ("profile", show.escape(found.profile)),
            ("waits", show.escape(found.waits)),
            ("", _UNPLANNED if found.waits and decision is None and found.source is None else ""),
            ("found", "; ".join(_source(found.source or {}))),
            ("decided", show.escape(decision.reason) if decision else ""),
            ("counted with", _counted(decision) if decision else ""),
            *((name, show.escape(text)) for name, text in found.steps.items()),
            *(("note", show.escape(note)) for note in found.notes),
        ]
    )
    if found.candidates:
        print()
        show.table(
            ["node", "state", "free slots", "lacks"],
            [
                [show.escape(one.node), show.styled(one.state), str(one.free), show.escape(one.lacks)]
                for one in found.candidates
            ],
            empty="",
        )
    if decision and decision.ways:
        print()
        _weighed(decision)
    if found.chunks:
        print()
        _chunks(found.chunks)
    if found.expected or found.actual:
        print()
        _spent(found)


def _counted(decision: DecisionView) -> str:
    cores = f"{decision.cores} core{'s' * (decision.cores > 1)}"
    parts = "1 part" if decision.helpers == 1 else f"{decision.helpers} parts"
    others = f" of each worker, and {parts} that others could begin" if decision.helpers else ""
    return f"{cores}{others}; the job asks for chunks: {decision.asked}"


def _source(probe: Mapping[str, object]) -> Iterator[str]:
    """What was found in the input, stream by stream."""
    streams = probe.get("streams")
    duration = probe.get("duration_s")
    if isinstance(duration, int | float):
        yield show.span(duration)
    for stream in streams if isinstance(streams, list) else ():
        kind = stream.get("type")
        if kind == "video":
            yield _pictures(stream)
        elif kind == "audio":
            language = f" {stream['language']}" if stream.get("language") else ""
            yield show.escape(
                f"sound in {stream.get('codec')}, {stream.get('layout') or stream.get('channels')}{language}"
            )
        elif kind == "subtitles":
            yield show.escape(f"subtitles in {stream.get('codec')}")


def _pictures(stream: Mapping[str, object]) -> str:
    rate, frames = stream.get("fps"), stream.get("frames")
    varies = "about " if stream.get("variable_frame_rate") else ""
    text = f"{stream.get('width')}x{stream.get('height')} in {stream.get('codec')}"
    text += f", {varies}{rate:g} frames a second" if isinstance(rate, int | float) else ""
    text += f", {frames:,} frames" if isinstance(frames, int) else ""
    keys = stream.get("key_frames")
    if isinstance(keys, Mapping):
        apart = keys.get("apart_s")
        text += (
            ", one key frame"
            if apart is None
            else f", a key frame every {apart:.2f} s (at most {keys['longest_s']:.2f} s apart)"
        )
    return show.escape(text)


def _weighed(decision: DecisionView) -> None:
    show.table(
        ["", "weighed", "chunks", "workers", "decoded twice", "expected time", "of all cores"],
        [
            [
                "*" if way.chosen else "",
                _WAYS[way.course],
                str(way.chunks),
                str(way.workers),
                f"{way.repeated_frames} frames",
                show.span(way.time_s),
                show.span(way.cpu_s),
            ]
            for way in decision.ways
        ],
        empty="",
    )


def _chunks(chunks: Sequence[ChunkView]) -> None:
    spread = any(chunk.task is not None for chunk in chunks)
    show.table(
        ["chunk", "frames", "length", *(("task", "node", "state", "took") if spread else ())],
        [
            [
                str(chunk.number),
                f"{chunk.first_frame:,} to {chunk.first_frame + chunk.frames - 1:,}",
                "" if chunk.length_s is None else show.span(chunk.length_s),
                *(
                    (
                        str(chunk.task or ""),
                        show.escape(chunk.node_name or ""),
                        show.styled(chunk.state or ""),
                        "" if chunk.took_s is None else show.span(chunk.took_s),
                    )
                    if spread
                    else ()
                ),
            ]
            for chunk in chunks[:_MOST_CHUNKS]
        ],
        empty="",
    )
    if len(chunks) > _MOST_CHUNKS:
        print(f"and {len(chunks) - _MOST_CHUNKS} more: --output json lists all of them")


def _spent(found: Explanation) -> None:
    nothing = SpentView(time_s=None, cpu_s=None)
    expected, actual = found.expected or nothing, found.actual or nothing
    rows = [
        ["encode", show.span_or_dash(expected.time_s), show.span_or_dash(actual.time_s)],
        ["of all cores", show.span_or_dash(expected.cpu_s), show.span_or_dash(actual.cpu_s)],
    ]
    if found.job_s is not None:
        rows.append(["whole job", "-", show.span(found.job_s)])
    show.table(["", "expected", "actual"], rows, empty="")
