"""`millrace up`: the supervisor keeps a master and workers on this machine, each a process that may be killed."""

import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from millrace.api.master import WorkerAuth
from millrace.config.errors import SettingError
from millrace.config.settings import MasterSettings, WorkerSettings
from millrace.programs import api_key, data_folder, ffmpeg
from millrace.programs.control_settings import ControlSettings
from millrace.programs.cores import usable_cores
from millrace.programs.farm_plan import MASTER, Farm, farm_plan
from millrace.programs.http.listen import listen, url_of
from millrace.programs.master import BLOBS, own_ca, serves_tls
from millrace.programs.supervise import Watcher, supervise
from millrace.runtime.hold import HeldError, Hold
from millrace.supervisor.keeper import Keeper
from millrace.supervisor.plan import Plan
from millrace.supervisor.state import Id, Instance, Phase
from millrace.telemetry.logs import logger

log = logger("up")
SOCKET = "supervise.sock"
HOLD = "up.pid"
_LONGEST_PATH = 107
"""Bytes that the name of a unix socket may have (unix(7))."""


async def up(
    master: MasterSettings,
    worker: WorkerSettings,
    *,
    count: int,
    drain_timeout_s: float,
    log_form: str,
    environ: Mapping[str, str],
    ready: Callable[[str, str, Path | None], None],
) -> int:
    """Keep a master and `count` workers until a signal ends it; returns the exit code.

    `ready` is called once, with the master's address, its key and the file of that, when every worker is known to the
    master. What ends before that will not come right by itself: then everything ends with its exit code, and it has said
    why on stderr.

    Raises:
        SettingError: the folder is another farm's, the address is taken, FFmpeg is none, or the required sandbox
            cannot be had; nothing was started.
        ExhaustedError: the folder's disk is full.
    """
    if master.worker_auth == WorkerAuth.MTLS:
        raise SettingError("cannot run a farm here with MILLRACE_WORKER_AUTH=mtls: its workers show a key; unset it")
    await ffmpeg.check(worker.ffmpeg)
    await ffmpeg.check_sandbox(worker.sandbox, worker.ffmpeg)
    data = master.data  # as it was named, because the programs start here too, and speak of it
    with ExitStack() as held:
        # A farm that runs here is worth more words than its port. Where none ever did, a taken port leaves no folder.
        known = (data / HOLD).exists()
        if known:
            held.callback(_hold(data).release)
        with listen(master.host, master.port) as listening:
            if not known:
                held.callback(_hold(data).release)
            farm = Farm(
                data=data,
                blobs=None if master.blobs else data / BLOBS,
                url=url_of(listening, tls=serves_tls(master)),
                descriptor=listening.fileno(),
                ca=own_ca(master),
                key_file=None if master.api_key else data / api_key.FILE,
                names=_names(worker.name or socket.gethostname(), count),
                cores=usable_cores(worker.cores),
                media_roots=worker.media_roots,
                input_allow_networks=worker.input_allow_networks,
                sandbox=worker.sandbox,
                drain_timeout_s=drain_timeout_s,
                log_form=log_form,
                cache=worker.cache and worker.cache.absolute(),
            )
            plan = farm_plan(farm)

            def tell() -> None:
                ready(farm.url, api_key.find_or_make(master.api_key, data)[0], farm.key_file)

            watcher = FarmWatcher(plan, tell)
            code = await supervise(plan, environ=environ, cwd=Path.cwd(), control=_control(data), watcher=watcher)
            return watcher.code or code


def _hold(data: Path) -> Hold:
    data_folder.make(data)
    try:
        return Hold.take(data / HOLD)
    except HeldError as error:
        raise SettingError(
            f"cannot run a farm on {data}: the one with pid {error.holder} does; stop that one, or name another folder"
        ) from error
    except OSError as error:
        raise data_folder.unusable(data, error) from error


def _names(base: str, count: int) -> tuple[str, ...]:
    return tuple(f"{base}-{number}" if count > 1 else base for number in range(1, count + 1))


def _control(data: Path) -> ControlSettings:
    place = data / SOCKET
    return ControlSettings(enabled=len(os.fsencode(place)) <= _LONGEST_PATH, socket=place)


class FarmWatcher(Watcher):
    """Says once that everything is ready, tells of what had to be started again, and hands signals on to the workers."""

    def __init__(self, plan: Plan, ready: Callable[[], None]) -> None:
        """`ready` is called when every process of the plan is ready for the first time."""
        self.code = 0
        """Not 0: a process ended before everything was ready, with this exit code."""
        self._plan = plan
        self._ready = ready
        self._was_ready = False
        self._signals = 0

    def changed(self, keeper: Keeper, each: Id, instance: Instance | None) -> None:
        """Hear of a change."""
        if instance is None or self._signals:
            return
        if instance.phase in (Phase.BACKING_OFF, Phase.FAILED):
            self._ended(keeper, each, instance)
        elif not self._was_ready and self._all_ready(keeper):
            self._was_ready = True
            self._ready()

    def told_to_end(self, keeper: Keeper) -> None:
        """The first signal drains, the second hands back what is left, the third kills."""
        self._signals += 1
        if self._signals == 2:
            for process in self._plan.processes:
                if process != MASTER:
                    keeper.signal(process, signal.SIGTERM)
        else:
            keeper.end()

    def _ended(self, keeper: Keeper, each: Id, instance: Instance) -> None:
        if self._was_ready:
            log.warning("up.restarts", process=each.process, why=instance.reason)
            return
        last = keeper.facts[each].last_end if each in keeper.facts else None
        self.code = (last.code if last is not None else None) or 1
        if last is None or last.code is None:
            log.error("up.cannot_start", process=each.process, why=instance.reason)
        keeper.end()

    def _all_ready(self, keeper: Keeper) -> bool:
        instances = keeper.state.instances.values()
        return len(instances) == len(self._plan.processes) and all(one.ready for one in instances)
