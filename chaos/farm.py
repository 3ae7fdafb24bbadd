"""The farm of a run: its database, masters and workers as processes, and the network and the disks between them."""

import asyncio
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random

import imageio_ffmpeg

from bench.postgres_pair import Server
from chaos.grounds import Disk, Grounds, Island
from chaos.plan import Plan
from chaos.postgres import DATABASE, Database
from chaos.processes import ROOT, Machine, command, environment, with_us
from chaos.proxy import Door, Line
from sim.history import History

KEY = "mr_one-key-for-all-of-a-farm-in-chaos"
LOOPBACK = "127.0.0.1"
STARTING_S = 180.0


class Host:
    """Where a worker, a master or people are: doors to the servers that they use, behind one line."""

    def __init__(self, island: Island | None = None) -> None:
        """With an `island`, packets are lost on the cable to it; else bytes are kept back in its doors."""
        self.line = Line()
        self.doors: dict[str, Door] = {}
        self.island = island

    @property
    def address(self) -> str:
        """At which its doors are."""
        return self.island.address if self.island is not None else LOOPBACK

    def cut(self, *, up: bool, down: bool) -> None:
        """Nothing goes from it (`up`), or to it (`down`)."""
        (self.island or self.line).cut(up=up, down=down)

    def heal(self) -> None:
        """All is well."""
        self.line.heal()
        if self.island is not None:
            self.island.heal()

    def url(self, server: str) -> str:
        """Of a master, as it is reached from here."""
        return "http://{}:{}".format(*self.doors[server].address)


class Farm:
    """All of it."""

    def __init__(
        self, plan: Plan, folder: Path, grounds: Grounds, history: History, *, marker: str, bug: str | None,
        settings: Mapping[str, str],
    ) -> None:  # fmt: skip
        """`settings` are further variables for all programs."""
        self.plan, self.folder, self.grounds, self.history = plan, folder, grounds, history
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.media = folder / "films" / "out"
        self.blobs = folder / "blobs"
        # Of a server that fails over, the first: its standby has a disk to itself.
        postgres = plan.store == "postgres"
        self.data = Disk(folder / ("postgres/a" if postgres else "data"), grounds, megabytes=320 if postgres else 64)
        self.outputs = Disk(self.media, grounds, megabytes=64)
        self.scratches = [Disk(folder / f"worker{n}" / "scratch", grounds, megabytes=64) for n in range(plan.workers)]
        islands = [Island(n + 1) if grounds.network else None for n in range(plan.workers)]
        self.worker_hosts = [Host(island) for island in islands]
        self.people_host = Host()
        self.master_hosts = [Host() for _ in range(plan.masters)]
        self.database: Database | None = None
        self.masters: list[Machine] = []
        self.workers: list[Machine] = []
        self.ports = _free_ports(plan.masters)
        self._chance = Random(f"network:{plan.seed}")
        self._marker, self._bug = marker, bug
        self._settings = {
            "HOME": str(folder),
            "MILLRACE_API_KEY": KEY,
            "MILLRACE_LEASE_TTL": str(plan.rules.ttl_s),
            "MILLRACE_HEARTBEAT": str(plan.rules.heartbeat_s),
            "MILLRACE_MIN_FREE_MB": "4",
            "MILLRACE_CORES": "1",
            "MILLRACE_PROOFS": str(folder / "proofs.json"),
            **settings,
        }

    @property
    def direct(self) -> dict[str, str]:
        """The masters' own URLs, without any door."""
        return {f"master{n}": f"http://{LOOPBACK}:{self.ports[n]}" for n in range(self.plan.masters)}

    def machine(self, name: str) -> Machine:
        """By its name."""
        return next(one for one in (*self.masters, *self.workers) if one.name == name)

    def pids(self) -> set[int]:
        """Of all masters and workers that were ever started."""
        return {pid for machine in (*self.masters, *self.workers) for pid in machine.pids}

    async def start(self) -> None:
        """Return when all of it is ready."""
        self.blobs.mkdir()
        await asyncio.to_thread(_cut_clip, self.folder / "films" / "input")
        for number in range(self.plan.masters):
            for host in (*self.worker_hosts, self.people_host):
                server = LOOPBACK, self.ports[number]
                door = host.doors[f"master{number}"] = Door(host.line, server, self._chance, self.statuses)
                await door.open(host.address)
        if self.plan.store == "postgres":
            await self._start_postgres()
        self.masters = [self._master(number) for number in range(self.plan.masters)]
        self.workers = [self._worker(number) for number in range(self.plan.workers)]
        # The first master makes the schema, and the first worker tries the encoders, for all others.
        for group in (self.masters[:1], self.masters[1:], self.workers[:1], self.workers[1:]):
            for machine in group:
                machine.start()
            async with asyncio.timeout(STARTING_S):
                for machine in group:
                    await machine.ready.wait()

    async def _start_postgres(self) -> None:
        fails_over = any(fault.kind == "fail-over" for fault in self.plan.faults)
        folder = self.folder / "postgres"
        folder.chmod(0o755)  # the servers run as somebody else
        self.database = Database(folder, self.history, self._database_changed, fails_over=fails_over)
        for host in self.master_hosts:
            for server in self.database.servers:
                host.doors[server.name] = Door(host.line, (LOOPBACK, server.port), self._chance, self.statuses)
        await self.database.make()

    async def _database_changed(self, server: Server, there: bool) -> None:
        for host in self.master_hosts:
            door = host.doors[server.name]
            await (door.open(LOOPBACK) if there else door.close())

    def _master(self, number: int) -> Machine:
        name = f"master{number}"
        data = (self.folder / "masters" if self.database is not None else self.data.path) / name
        data.mkdir(mode=0o700, parents=True)
        (data / "blobs").symlink_to(self.blobs)
        env = dict(self._settings)
        if self.database is not None:
            doors = [self.master_hosts[number].doors[server.name] for server in self.database.servers]
            hosts = ",".join("{}:{}".format(*door.address) for door in doors)
            env["MILLRACE_STORE"] = f"postgresql://postgres@{hosts}/{DATABASE}?target_session_attrs=read-write"
        argv = command(self._bug, "master", "--data", data, "--port", self.ports[number], "--json")
        return Machine(
            name,
            (*with_us(), *argv),
            environment(self._marker, **env),
            self.folder,
            self.history,
            changed=self._master_changed,
        )

    async def _master_changed(self, machine: Machine) -> None:
        """Whoever knocks at a master that is not there is refused."""
        for host in (*self.worker_hosts, self.people_host):
            door = host.doors[machine.name]
            await (door.open(host.address) if machine.ready.is_set() and machine.pid is not None else door.close())

    def _worker(self, number: int) -> Machine:
        name, host = f"worker{number}", self.worker_hosts[number]
        urls = [host.url(f"master{n}") for n in range(self.plan.masters)]
        self._chance.shuffle(urls)
        argv = command(
            self._bug, "worker", "--master", ",".join(urls), "--state", self.folder / name, "--name", name,
            "--media-root", self.folder / "films", "--json",
        )  # fmt: skip
        prefix = host.island.prefix if host.island is not None else ()
        env = environment(self._marker, **self._settings)
        return Machine(name, (*with_us(), *prefix, *argv), env, self.folder, self.history)

    async def end_programs(self) -> dict[str, int | None]:
        """Workers first, then masters: each in good order; how each ended that did not end well."""
        codes: dict[str, int | None] = {}
        for group in (self.workers, self.masters):
            ended = await asyncio.gather(*(machine.end() for machine in group))
            codes.update({machine.name: code for machine, code in zip(group, ended, strict=True) if code != 0})
        return codes

    async def end(self) -> None:
        """Take the rest down. May be called twice."""
        if self.database is not None:
            await self.database.end()
        for machine in (*self.masters, *self.workers):
            machine.kill(stay_away=True)
        for host in (*self.worker_hosts, *self.master_hosts, self.people_host):
            for door in host.doors.values():
                await door.end()
            if host.island is not None:
                host.island.end()

    def unmount(self) -> None:
        """Let go of the disks, with all that is on them."""
        for disk in (self.data, self.outputs, *self.scratches):
            disk.end()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _cut_clip(folder: Path) -> None:
    """A second of the sample, small: real film through the real path of inputs."""
    folder.mkdir(parents=True)
    ffmpeg = shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", ROOT / "samples" / "bigbuckbunny.mp4", "-t", "1", "-vf", "scale=128:72", "-an",
         "-c:v", "libx264", "-preset", "ultrafast", folder / "clip.mp4"],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
