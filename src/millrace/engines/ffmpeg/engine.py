"""FFmpeg behind the `Engine` protocol."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from millrace.domain.failures import Failure
from millrace.domain.media.check import Produced
from millrace.domain.media.damage import Place
from millrace.domain.media.outputs import OutputFile, Plan, Role
from millrace.domain.media.probe import Probe
from millrace.domain.media.profile import Profile
from millrace.domain.media.rate_bound import Supply, bound_of, supply
from millrace.domain.media.samples import ProbeEncode
from millrace.domain.media.source_map import SourceMap
from millrace.domain.media.split import Chunk
from millrace.engines.engine import Brief, Command, Done, Illustration, Joined, Listing, Outcome, Piece
from millrace.engines.ffmpeg import encoders
from millrace.engines.ffmpeg.arguments import encode_commands, first_pass_commands
from millrace.engines.ffmpeg.chunk_arguments import (
    Encoding,
    chunk_command,
    chunk_commands,
    mux_commands,
    muxes_from_source,
    sides_commands,
    sides_files,
)
from millrace.engines.ffmpeg.comparison_arguments import side_by_side
from millrace.engines.ffmpeg.damage import damage_commands, read_damage
from millrace.engines.ffmpeg.failure import failure, suspicion
from millrace.engines.ffmpeg.mp4_index import read_packet_lists
from millrace.engines.ffmpeg.packets import sizes
from millrace.engines.ffmpeg.probe import (
    brief,
    inspection_command,
    opening_command,
    packet_lists,
    probe_command,
    read_back,
    read_brief,
    read_opening,
    read_probe,
)
from millrace.engines.ffmpeg.progress import FFmpegProgress
from millrace.engines.ffmpeg.quality_arguments import compare_command, log_name, probe_commands, probe_file, trial_piece
from millrace.engines.ffmpeg.side_data import first_picture, with_first_picture
from millrace.engines.ffmpeg.vmaf_log import read_scores
from millrace.engines.head_layout import Head, read_head
from millrace.engines.joining import join, pieces_to_read
from millrace.engines.layout import map_index, map_source
from millrace.engines.packages import files_to_read, finishing_files, fragmented, segments_of


class FFmpeg:
    """Argument lists for one FFmpeg binary.

    `working` holds the names of the encoders that were proven on this machine; None means that nothing was tried yet.
    """

    def __init__(self, binary: Path | str, *, working: frozenset[str] | None = None) -> None:
        """Bind to a binary; nothing is run."""
        self.binary = binary
        self.working = working

    def probe(self, source: Path, *, sparing: bool = False) -> Command:
        """See `Engine.probe`."""
        return probe_command(self.binary, source, sparing=sparing)

    def read_probe(self, stdout: str, stderr: str, exit_status: int) -> Probe:
        """See `Engine.read_probe`."""
        return read_probe(stdout, stderr, exit_status)

    def first_picture(self, source: Path, probe: Probe) -> Command | None:
        """See `Engine.first_picture`."""
        return first_picture(self.binary, source, probe)

    def with_first_picture(self, probe: Probe, outcome: Outcome) -> Probe:
        """See `Engine.with_first_picture`."""
        return with_first_picture(probe, outcome.stderr, outcome.exit_status)

    def damage(self, source: Path, probe: Probe) -> tuple[Command, ...]:
        """See `Engine.damage`."""
        return damage_commands(self.binary, source, probe)

    def read_damage(self, probe: Probe, outcomes: Sequence[Outcome]) -> tuple[Place, ...]:
        """See `Engine.read_damage`."""
        stored, decoded = outcomes
        return read_damage(probe, stored.stdout, decoded.stdout)

    def head(self, source: Path, have: int) -> Head:
        """See `Engine.head`."""
        with source.open("rb") as file:
            return read_head(file, have, source.stat().st_size)

    def brief(self, source: Path, *, fewest: int | None = None) -> Brief | None:
        """See `Engine.brief`."""
        return brief(self.binary, source, fewest=fewest)

    def read_brief(self, brief: Brief, outcomes: Sequence[Outcome]) -> Probe | None:
        """See `Engine.read_brief`."""
        return read_brief(brief, outcomes)

    def opening(self, source: Path) -> Command:
        """See `Engine.opening`."""
        return opening_command(self.binary, source)

    def map_source(self, source: Path, probed: Outcome, opened: Outcome) -> SourceMap:
        """See `Engine.map_source`."""
        packets = read_opening(opened.stderr)
        if packets is None:
            raise ValueError("the engine does not say how much it reads to open it")
        return map_source(source, packet_lists(probed), opening=packets)

    def map_index(self, source: Path, opened: Outcome) -> SourceMap:
        """See `Engine.map_index`."""
        packets = read_opening(opened.stderr)
        with source.open("rb") as file:
            lists = read_packet_lists(file, source.stat().st_size)
        if packets is None or lists is None:
            raise ValueError("the engine does not say how much it reads to open it")
        return map_index(source, lists, opening=packets)

    def encode(
        self, plan: Plan, source: Path | None, folder: Path, work: Path, *, done: Done = frozenset()
    ) -> tuple[Command, ...]:
        """See `Engine.encode`."""
        if plan.split.is_whole or plan.pictures is None or source is None:
            return encode_commands(self.binary, plan, source, folder, work=work, working=self.working, done=done)
        one = self._encoding(plan, source, folder, work, done)
        return (*sides_commands(one), *chunk_commands(one, plan.pictures))

    def first_pass(self, plan: Plan, source: Path | None, work: Path) -> tuple[Command, ...]:
        """See `Engine.first_pass`."""
        return first_pass_commands(self.binary, plan, source, work, self.working)

    def has_sides(self, plan: Plan) -> bool:
        """See `Engine.has_sides`."""
        return bool(sides_files(plan))

    def encode_part(
        self, plan: Plan, chunk: Chunk | None, source: Path, folder: Path, work: Path, *, done: Done = frozenset()
    ) -> tuple[Command, ...]:
        """See `Engine.encode_part`."""
        one = self._encoding(plan, source, folder, work, done)
        if chunk is None:
            return sides_commands(one)
        return () if plan.pictures is None else chunk_command(one, plan.pictures, chunk)

    def pieces(self, plan: Plan) -> tuple[str, ...]:
        """See `Engine.pieces`."""
        return pieces_to_read(plan)

    def join(self, plan: Plan, pieces: Listing) -> Joined:
        """See `Engine.join`."""
        return join(plan, pieces)

    def joins_from_source(self, plan: Plan) -> bool:
        """See `Engine.joins_from_source`."""
        return muxes_from_source(plan)

    def mux(self, plan: Plan, source: Path | None, folder: Path, work: Path) -> tuple[Command, ...]:
        """See `Engine.mux`."""
        return mux_commands(self._encoding(plan, source, folder, work))

    def _encoding(
        self, plan: Plan, source: Path | None, folder: Path, work: Path, done: Done = frozenset()
    ) -> Encoding:
        return Encoding(
            binary=self.binary, plan=plan, source=source, folder=folder, work=work, working=self.working, done=done
        )

    def progress(self) -> FFmpegProgress:
        """See `Engine.progress`."""
        return FFmpegProgress()

    def failure(self, exit_status: int, log_tail: str, *, signalled: bool) -> Failure:
        """See `Engine.failure`."""
        return failure(exit_status, log_tail, signalled=signalled)

    def suspicion(self, log_tail: str) -> Failure | None:
        """See `Engine.suspicion`."""
        return suspicion(log_tail)

    def inspect(self, plan: Plan, folder: Path) -> tuple[Command, ...]:
        """See `Engine.inspect`."""
        paths = _inspected(plan)
        return tuple(inspection_command(self.binary, path, folder, 1 / len(paths)) for path in paths)

    def compare(
        self, plan: Plan, file: OutputFile, *, source: Path | None, folder: Path, work: Path, cores: int
    ) -> Command:
        """See `Engine.compare`."""
        return compare_command(self.binary, plan, file, path=source, folder=folder, work=work, cores=cores)

    def probe_encode(self, plan: Plan, probe: ProbeEncode, source: Path | None, work: Path) -> tuple[Command, Command]:
        """See `Engine.probe_encode`."""
        return probe_commands(self.binary, plan, probe, path=source, work=work, working=self.working)

    def trial(
        self, plan: Plan, probes: Sequence[ProbeEncode], source: Path | None, work: Path, place: Path
    ) -> Piece | None:
        """See `Engine.trial`."""
        return trial_piece(self.binary, plan, probes, path=source, work=work, place=place, working=self.working)

    def side_by_side(
        self, plan: Plan, file: OutputFile, moment: Chunk, *, source: Path | None, folder: Path, work: Path
    ) -> Illustration:
        """See `Engine.side_by_side`."""
        return side_by_side(self.binary, plan, file, moment, path=source, folder=folder, work=work)

    def scores(self, name: str) -> str:
        """See `Engine.scores`."""
        return log_name(name)

    def probed_file(self, probe: ProbeEncode) -> str:
        """See `Engine.probed_file`."""
        return probe_file(probe)

    def read_scores(self, log: bytes) -> tuple[tuple[int, float], ...]:
        """See `Engine.read_scores`."""
        return read_scores(log)

    def reads(self, plan: Plan) -> tuple[str, ...]:
        """See `Engine.reads`."""
        return files_to_read(plan)

    def fragmented(self, plan: Plan) -> tuple[str, ...]:
        """See `Engine.fragmented`."""
        return fragmented(plan)

    def read_inspection(self, plan: Plan, outcomes: Sequence[Outcome], listing: Listing) -> Produced:
        """See `Engine.read_inspection`."""
        probes = {
            path: probe
            for path, outcome in zip(_inspected(plan), outcomes, strict=True)
            if (probe := read_back(outcome.stdout, outcome.stderr, outcome.exit_status)) is not None
        }
        return Produced(
            probes=probes,
            sizes=listing.sizes,
            segments=segments_of(plan, listing),
            supplies=_supplies(plan, dict(zip(_inspected(plan), outcomes, strict=True))),
        )

    def finish(self, plan: Plan, listing: Listing) -> Mapping[str, bytes]:
        """See `Engine.finish`."""
        return finishing_files(plan, listing)

    def encoder_proof(self, encoder: str) -> Command:
        """See `Engine.encoder_proof`."""
        return encoders.proof(self.binary, encoder)

    def encoders_in(self, plan: Plan) -> frozenset[str]:
        """See `Engine.encoders_in`."""
        return encoders.encoders_in(plan, self.working)

    def encoders_of(self, profile: Profile) -> frozenset[str]:
        """See `Engine.encoders_of`."""
        return encoders.encoders_of(profile, self.working)


def _supplies(plan: Plan, outcomes: Mapping[str, Outcome]) -> Mapping[str, Supply]:
    return {
        file.path: supply(sizes(outcomes[file.path].stdout), file.video.rate, bound)
        for file in plan.files
        if file.video and (bound := bound_of(file.video.settings))
    }


def _inspected(plan: Plan) -> tuple[str, ...]:
    return tuple(file.path for file in plan.files if file.role is not Role.SUBTITLES)
