"""What every engine offers: commands as data, and readers of what the commands say. Nothing here starts anything.

The order of a task: `probe` -> `read_probe` -> (the domain plans) -> `encode` -> `inspect` -> `read_inspection` ->
(the domain checks) -> `finish`. Whoever runs the commands feeds stdout lines of `encode` to a `progress()` reader.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field

from millrace.domain.failures import Failure
from millrace.domain.media.check import Produced
from millrace.domain.media.damage import Damage, Place
from millrace.domain.media.outputs import OutputFile, Plan
from millrace.domain.media.probe import Probe
from millrace.domain.media.profile import Profile
from millrace.domain.media.samples import ProbeEncode
from millrace.domain.media.source_map import SourceMap
from millrace.domain.media.split import Chunk
from millrace.engines.fragments import Fragment
from millrace.engines.head_layout import Head


class Piece(Struct, frozen=True, kw_only=True):
    """Something whole in itself that a command makes: a rendition of a chunk, or a file of an output.

    `path` is a folder with all below it, or one file. `arguments` are what its bytes depend on beside the source and the engine's program:
    the list that would make it alone, without places. Where the engine chooses the number of threads (`by_cores`) they depend on the
    machine, too. `chunk` is the number of its chunk.
    """

    name: str
    path: Path
    arguments: tuple[str, ...]
    by_cores: bool = False
    chunk: int | None = None


class Command(Struct, frozen=True, kw_only=True):
    """One child to run: a whole argument list, a label for people, and its share (0..1) of the task's work.

    `cwd` is the working directory to start in (None: any), and `folders` must exist before the start. Output files never
    exist before the start: nothing is overwritten. An encode's counter runs to `frames`, or without pictures to `duration`
    seconds. A `light` one is so little work that it runs beside the others without waiting for its turn.
    `reads` are the files and folders that it reads, and `writes` is the one folder that it changes: a sandbox shows it nothing
    else. Where both are empty it gets the folder of its attempt. `memory_bytes` bounds the memory of one that decodes nothing,
    and `file_bytes` each file that it writes (setrlimit(2): DATA, FSIZE). `pieces` are what of its work may be used again; none where
    the same arguments may give other bytes. `chunk` is what it makes where that is one.
    """

    argv: tuple[str, ...]
    label: str
    share: float = 1.0
    cwd: Path | None = None
    folders: tuple[Path, ...] = ()
    frames: int = 0
    duration: Fraction = Fraction(0)
    light: bool = False
    reads: tuple[Path, ...] = ()
    writes: Path | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    pieces: tuple[Piece, ...] = ()
    chunk: Chunk | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """How a command ended: its exit status as POSIX gives it (negative: the signal), and all it wrote."""

    exit_status: int
    stdout: str
    stderr: str


class Progress(Struct, frozen=True, kw_only=True):
    """How far an encode is. `speed` is media seconds per second; None where the engine does not know yet."""

    frame: int
    fps: float | None
    speed: float | None
    out_time_s: float | None
    bitrate_bps: float | None
    ended: bool


class EngineFailure(Exception):  # noqa: N818  # it carries a Failure, as its name says
    """What an engine said is a failure."""

    def __init__(self, failure: Failure) -> None:
        """Keep the failure; its sentence is the message."""
        super().__init__(failure.message)
        self.failure = failure


class ShortOfMemory(EngineFailure):
    """A command did not get by with the memory that it may have; one that spares it may."""


class DamagedInput(EngineFailure):
    """An input is damaged or cut short. `probe` is what is known of the rest, `damage` what is known of where it ends."""

    def __init__(self, failure: Failure, probe: Probe, damage: Damage) -> None:
        """Keep what is known; the sentence of the failure is the message."""
        super().__init__(failure)
        self.probe = probe
        self.damage = damage


class Listing(Struct, frozen=True, kw_only=True):
    """The output folder: the size in bytes of every file by relative path with slashes, the bytes of those that
    `Engine.reads` named, and the fragments of the segments in the folders that `Engine.fragmented` named (missing files are
    left out).
    """

    sizes: Mapping[str, int]
    contents: Mapping[str, bytes] = field(default_factory=dict)
    fragments: Mapping[str, tuple[Fragment, ...]] = field(default_factory=dict)


class Joined(Struct, frozen=True, kw_only=True):
    """How pieces become one: `moves` from a path among the pieces to one below the target, and `files` to be written there.

    The target is the output folder, or `folder` among the pieces where a mux command makes the output of it. `headers` is
    the SHA-256 of each rendition's initialisation segment, equal in all chunks.
    """

    folder: str | None
    moves: tuple[tuple[str, str], ...]
    files: Mapping[str, bytes]
    headers: Mapping[str, str]


Done = frozenset[Path]
"""The paths of pieces that are there already."""


class Brief(Struct, frozen=True, kw_only=True):
    """The commands that describe the streams of a file, and what the engine has read of the packets in them, which is its own."""

    commands: tuple[Command, ...]
    index: object


class Illustration(Struct, frozen=True, kw_only=True):
    """A picture to be made: the command, the files that it needs in the folder of its work, and the picture's name there."""

    command: Command
    files: Mapping[str, bytes]
    picture: str


class ProgressReader(Protocol):
    """Turns lines of an encode's stdout into progress."""

    def feed(self, line: str) -> Progress | None:
        """A whole report when `line` completes one."""
        ...


class Engine(Protocol):
    """One engine, bound to one binary and the encoders that work with it."""

    def probe(self, source: Path, *, sparing: bool = False) -> Command:
        """The command that tells everything about a local file, `sparing` memory in the place of time."""
        ...

    def read_probe(self, stdout: str, stderr: str, exit_status: int) -> Probe:
        """The facts.

        Raises:
            DamagedInput: the file is damaged or truncated, and something is left of it.
            ShortOfMemory: it cannot be described within the memory of a probe.
            EngineFailure: it is missing, or of a kind that is not accepted.
        """
        ...

    def first_picture(self, source: Path, probe: Probe) -> Command | None:
        """The command that decodes one picture, for a film of which the pictures may say more than a probe has read; None for another."""
        ...

    def with_first_picture(self, probe: Probe, outcome: Outcome) -> Probe:
        """The facts with what that picture says."""
        ...

    def damage(self, source: Path, probe: Probe) -> tuple[Command, ...]:
        """The commands that find out where a source is damaged; their outcomes go to `read_damage` in this order."""
        ...

    def read_damage(self, probe: Probe, outcomes: Sequence[Outcome]) -> tuple[Place, ...]:
        """The damaged places in order of time; none where none was found."""
        ...

    def head(self, source: Path, have: int) -> Head:
        """How much of a film's beginning it takes to plan it, by the first `have` bytes of the file; behind these it may have a hole.
        Blocking.

        Raises:
            OSError: the file cannot be read.
        """
        ...

    def brief(self, source: Path, *, fewest: int | None = None) -> Brief | None:
        """A shorter way to the same facts, where the file is long (`fewest` packets; None: so long that it pays) and has an index that
        says them; None for none. Blocking.

        Raises:
            OSError: the file cannot be read.
        """
        ...

    def read_brief(self, brief: Brief, outcomes: Sequence[Outcome]) -> Probe | None:
        """The facts, with the outcomes of its commands in their order; None where what was read contradicts itself, so that `probe` has to
        tell them.

        Raises:
            EngineFailure: as `read_probe`.
        """
        ...

    def opening(self, source: Path) -> Command:
        """The command that opens a local file and does nothing with it."""
        ...

    def map_source(self, source: Path, probed: Outcome, opened: Outcome) -> SourceMap:
        """Where the packets lie that `probe` has read, and how many are read to open the file. Blocking: reads all of it.

        Raises:
            ValueError: that cannot be known; the message says why, of the film as `its`.
            OSError: the file cannot be read.
        """
        ...

    def map_index(self, source: Path, opened: Outcome) -> SourceMap:
        """The same by the index alone, of a film of which the beginning is here, as far as `head` says. It reads nothing behind that.

        Raises:
            ValueError, OSError: as `map_source`.
        """
        ...

    def encode(
        self, plan: Plan, source: Path | None, folder: Path, work: Path, *, done: Done = frozenset()
    ) -> tuple[Command, ...]:
        """The commands that make the plan's files in `folder`, or their pieces in `work` where the plan is split.

        They run in any order and side by side: `plan.split.at_once` of them, and the light ones beside. Both folders exist and
        hold nothing but the pieces that are `done`, which nobody makes again.
        """
        ...

    def first_pass(self, plan: Plan, source: Path | None, work: Path) -> tuple[Command, ...]:
        """The commands that must end before those of `encode` begin, where a plan is made in two passes; none elsewhere."""
        ...

    def has_sides(self, plan: Plan) -> bool:
        """Whether sound or text is made beside the chunks of a split plan."""
        ...

    def encode_part(
        self, plan: Plan, chunk: Chunk | None, source: Path, folder: Path, work: Path, *, done: Done = frozenset()
    ) -> tuple[Command, ...]:
        """Of the commands that `encode` gives for a split plan those of one chunk, or (None) those of sound and text."""
        ...

    def pieces(self, plan: Plan) -> tuple[str, ...]:
        """Relative paths of the small files in `work` whose bytes `join` needs in its listing; none where nothing is split."""
        ...

    def join(self, plan: Plan, pieces: Listing) -> Joined:
        """How the pieces in `work` become one.

        Raises:
            EngineFailure: class output; they do not fit together.
        """
        ...

    def joins_from_source(self, plan: Plan) -> bool:
        """Whether `mux` reads the source, for what describes it."""
        ...

    def mux(self, plan: Plan, source: Path | None, folder: Path, work: Path) -> tuple[Command, ...]:
        """The commands, one after another, that make the output of what was joined in `work`. `source` may be None where it is not
        read.
        """
        ...

    def progress(self) -> ProgressReader:
        """A fresh reader for one encode command."""
        ...

    def failure(self, exit_status: int, log_tail: str, *, signalled: bool) -> Failure:
        """Why a command failed. `signalled`: whoever ran it had asked it to end, or it died of a signal."""
        ...

    def suspicion(self, log_tail: str) -> Failure | None:
        """A failure that the log confesses although the exit status was 0; None when there is none."""
        ...

    def inspect(self, plan: Plan, folder: Path) -> tuple[Command, ...]:
        """The commands that read back what was made; their outcomes go to `read_inspection` in this order."""
        ...

    def compare(
        self, plan: Plan, file: OutputFile, *, source: Path | None, folder: Path, work: Path, cores: int
    ) -> Command:
        """The command that compares a rendition in `folder` with the source; `scores` tells where its log is in `work`."""
        ...

    def probe_encode(self, plan: Plan, probe: ProbeEncode, source: Path | None, work: Path) -> tuple[Command, Command]:
        """The commands, one after the other, that encode a piece of the film and compare it. What they make lies in `work`."""
        ...

    def trial(
        self, plan: Plan, probes: Sequence[ProbeEncode], source: Path | None, work: Path, place: Path
    ) -> Piece | None:
        """What is found by the probes of one rendition with one CRF, as a piece that may be kept at `place`; None where the same commands
        may find something else.
        """
        ...

    def side_by_side(
        self, plan: Plan, file: OutputFile, moment: Chunk, *, source: Path | None, folder: Path, work: Path
    ) -> Illustration:
        """How one frame of a rendition in `folder` is shown beside that of the source. What is made lies in `work`."""
        ...

    def scores(self, name: str) -> str:
        """The file in `work` that holds the scores of a rendition, or of a probe, by its name."""
        ...

    def probed_file(self, probe: ProbeEncode) -> str:
        """The file in `work` that holds an encoded piece."""
        ...

    def read_scores(self, log: bytes) -> tuple[tuple[int, float], ...]:
        """Pairs of a frame, counted from 0, and its VMAF.

        Raises:
            EngineFailure: class engine; the log cannot be read.
        """
        ...

    def reads(self, plan: Plan) -> tuple[str, ...]:
        """Relative paths of the small files whose bytes `read_inspection` and `finish` need in the listing."""
        ...

    def fragmented(self, plan: Plan) -> tuple[str, ...]:
        """Relative folders of segments (`*.m4s`) whose fragments `finish` needs in the listing."""
        ...

    def read_inspection(self, plan: Plan, outcomes: Sequence[Outcome], listing: Listing) -> Produced:
        """What was made, for `millrace.domain.media.check`."""
        ...

    def finish(self, plan: Plan, listing: Listing) -> Mapping[str, bytes]:
        """Files still to be written, by relative path: playlists, cue files. Call it once the check has passed."""
        ...

    def encoder_proof(self, encoder: str) -> Command:
        """A tiny real encode: exit status 0 proves that the encoder works here."""
        ...

    def encoders_in(self, plan: Plan) -> frozenset[str]:
        """Names of the encoders that the plan's pictures and sound would be made with."""
        ...

    def encoders_of(self, profile: Profile) -> frozenset[str]:
        """Names of the encoders that would be used; each must be among the proven ones."""
        ...


def share_done(progress: Progress, command: Command) -> float:
    """The part (0..1) of one encode that a progress report stands for, by frames where there are pictures."""
    if progress.ended:
        return 1.0
    if command.frames:
        return min(1.0, progress.frame / command.frames)
    if progress.out_time_s is None or not command.duration:
        return 0.0
    return min(1.0, max(0.0, float(Fraction(progress.out_time_s) / command.duration)))
