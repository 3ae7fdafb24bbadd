"""What the engine of a worker can do, tried for real."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from millrace.config.settings import WorkerSettings
from millrace.engines.ffmpeg import encoders
from millrace.process.capture import Captured, capture
from millrace.process.sandbox import Able, Demand
from millrace.process.values import CannotStart, Spec
from millrace.programs import ffmpeg
from millrace.programs.doctor.finding import LIMIT_S, Look, failed, skipped, warning
from millrace.runtime.clock import SystemClock
from millrace.worker.engine_run import ENVIRONMENT
from millrace.worker.proofs import prove
from millrace.worker.shut_in import CannotShutIn, record, way_in

NEEDED = ("libx264", "aac")
FILTERS = ("fps", "scale", "setsar", "format", "split", "aresample", "trim", "setpts", "yadif", "transpose")
MUXERS = ("hls", "mp4", "mpegts", "matroska", "webm")
_VERSION = re.compile(r"ffmpeg version \D{0,2}(\d+)\.(\d+)")


class Engine:
    """The FFmpeg that the settings name, asked once for each thing."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Nothing is run yet."""
        self._settings = settings

    def checks(self) -> Mapping[str, Look]:
        """In the order of the report."""
        families = {codec.value: names for codec, names in encoders.VIDEO.items()} | {
            codec.value: names for codec, names in encoders.AUDIO.items()
        }
        return {
            "engine.program": self._program,
            "engine.version": self._version,
            "engine.sandbox": self._sandbox,
            **{f"engine.encoder.{name}": self._encoder(name, some) for name, some in families.items()},
            "engine.encoder.jpeg": self._encoder("jpeg", (encoders.PICTURE,)),
            "engine.filters": self._listed("-filters", FILTERS),
            "engine.muxers": self._listed("-muxers", MUXERS),
        }

    async def _program(self) -> str:
        found = await ffmpeg.identify(self._settings.ffmpeg, self._settings.ffmpeg_sha256)
        return f"{found.path}, SHA-256 {found.sha256}"

    async def _run(self, *arguments: str) -> Captured:
        program = str(ffmpeg.binary(self._settings.ffmpeg))
        spec = Spec(argv=(program, "-hide_banner", *arguments), cwd=Path("/"), env=ENVIRONMENT)
        try:
            return await capture(spec, clock=SystemClock(), timeout_s=LIMIT_S, grace_s=0.0)
        except CannotStart as error:
            raise failed(
                str(error), "name an FFmpeg with MILLRACE_FFMPEG, or none for the one of the package"
            ) from error

    async def _version(self) -> str:
        first = (await self._run("-version")).stdout.partition("\n")[0]
        found = _VERSION.match(first)
        text = first.partition(" Copyright")[0]
        if found is None:
            raise warning(
                text or "it does not say", "its failures may be told as class `engine` instead of what they are"
            )
        if ffmpeg.is_too_old(text):
            raise failed(text, "use FFmpeg 5.1 or newer")
        return text

    async def _able(self) -> Able | None:
        return await way_in(
            Demand(self._settings.sandbox), (ffmpeg.binary(self._settings.ffmpeg),), clock=SystemClock()
        )

    async def _sandbox(self) -> str:
        if self._settings.sandbox == Demand.OFF:
            raise warning("switched off", "engines read what strangers made; MILLRACE_SANDBOX=auto shuts them in")
        try:
            able = await self._able()
        except CannotShutIn as error:
            raise failed(str(error), "") from error
        if able is None or not able.whole:
            raise warning(str(record(able)), "allow user namespaces or install bubblewrap")
        return str(record(able))

    def _encoder(self, family: str, names: Sequence[str]) -> Look:
        async def look() -> str:
            able = await self._able()
            with tempfile.TemporaryDirectory() as folder:
                proven = await prove(
                    ffmpeg.source(ffmpeg.binary(self._settings.ffmpeg), names),
                    cache=Path(folder) / "proofs.json",
                    environment=ENVIRONMENT,
                    able=able,
                    clock=SystemClock(),
                    folder=Path(folder),
                )
            if not proven.working:
                why = "; ".join(f"{name}: {reason}" for name, reason in proven.reasons.items())
                if set(names) & set(NEEDED):
                    raise failed(why, "the built-in profiles need it; use the FFmpeg of the package")
                raise warning(why, f"jobs that ask for {family} go to other nodes, or are rejected")
            return ", ".join(name for name in names if name in proven.working)

        return look

    def _listed(self, option: str, wanted: Sequence[str]) -> Look:
        async def look() -> str:
            said = await self._run(option)
            # Flags, then the name or several with commas between them.
            columns = [line.split() for line in said.stdout.splitlines()]
            words = {name for row in columns if len(row) > 1 for name in row[1].split(",")}
            gone = [name for name in wanted if name not in words]
            if not words:
                raise skipped("it does not tell")
            if gone:
                raise failed(
                    f"missing: {', '.join(gone)}", "use an FFmpeg that was built with them, or that of the package"
                )
            return f"{len(wanted)} of {len(wanted)}: {', '.join(wanted)}"

        return look
