"""The plan by which `millrace up` keeps a farm on one machine: a master, and workers that depend on it. Pure."""

import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from millrace.supervisor.execution import Execution
from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.logs.settings import LogForm, Logging, Redaction
from millrace.supervisor.plan import (
    Condition,
    Plan,
    ProcessPlan,
    Recipient,
    Restart,
    Shutdown,
)

MASTER = "master"
MARGIN_S = 10.0
"""What a program gets beyond its drain to hand back and to tidy up."""
START_TIMEOUT_S = 300.0
"""A worker's first start tries every encoder; on a loaded machine that takes long."""
HUNG_AFTER_S = 60.0
"""A program whose event loop has stood still for so long is ended and started again."""


class Farm(Struct, frozen=True, kw_only=True):
    """What `up` was told, as far as its processes must know it; the rest they read from the environment themselves."""

    data: Path
    blobs: Path | None  # the folder of the master's blobs; None where they lie elsewhere
    url: str
    descriptor: int  # the socket on which the master serves; it outlives the master
    ca: Path | None  # by which to know the master; None where it needs none
    key_file: Path | None  # None where the key is in the environment
    names: tuple[str, ...]  # of the workers
    cores: int  # that all workers may keep busy together
    media_roots: tuple[Path, ...]
    input_allow_networks: tuple[str, ...]
    sandbox: str
    drain_timeout_s: float
    log_form: str
    cache: Path | None = None  # that all workers share; None for one in `data`


def farm_plan(farm: Farm) -> Plan:
    """One master, and each worker as a process of its own, because each has a folder of its own."""
    workers = [_worker(farm, number, name) for number, name in enumerate(farm.names, 1)]
    return Plan(
        processes={process.name: process for process in (_master(farm), *workers)},
        # Workers stop first, then the master.
        shutdown_timeout_s=farm.drain_timeout_s + 3 * MARGIN_S,
        log_format=LogForm.PLAIN,
    )


def _master(farm: Farm) -> ProcessPlan:
    options = ("--data", str(farm.data), "--fd", str(farm.descriptor))
    return _program(
        MASTER,
        *(MASTER, *options),
        env={"MILLRACE_LOG": farm.log_form, "MILLRACE_CACHE_MB": "0"},  # the workers share a folder
        stop_s=MARGIN_S,
        execution=Execution(pass_fds=(farm.descriptor,)),
    )


def _worker(farm: Farm, number: int, name: str) -> ProcessPlan:
    options = [
        *("--master", farm.url),
        *("--state", str(farm.data / f"worker-{number}")),
        *("--name", name),
        *("--drain-timeout", str(farm.drain_timeout_s)),
        *("--sandbox", farm.sandbox),
    ]
    for root in farm.media_roots:
        options += ["--media-root", str(root)]
    for one in farm.input_allow_networks:
        options += ["--input-allow-network", one]
    if farm.ca is not None:
        options += ["--ca", str(farm.ca)]
    if farm.key_file is not None:
        options += ["--api-key-file", str(farm.key_file)]
    return _program(
        f"worker-{number}",
        *("worker", *options),
        env={
            "MILLRACE_LOG": farm.log_form,
            "MILLRACE_PROOFS": str(farm.data / "proofs.json"),
            "MILLRACE_CACHE": str(farm.cache or farm.data / "cache"),
            "MILLRACE_CORES": str(max(1, farm.cores // len(farm.names))),
            **({} if farm.blobs is None else {"MILLRACE_BLOBS": str(farm.blobs)}),
        },
        stop_s=farm.drain_timeout_s + MARGIN_S,
        depends_on={MASTER: Condition.READY},
    )


def _program(
    name: str,
    *arguments: str,
    env: Mapping[str, str],
    stop_s: float,
    execution: Execution | None = None,
    depends_on: Mapping[str, Condition] | None = None,
) -> ProcessPlan:
    return ProcessPlan(
        name=name,
        # -P: no folder called millrace, where `up` happens to be started, may stand in for the package.
        command=(sys.executable, "-P", "-m", "millrace", *arguments),
        env=env,
        depends_on=depends_on or {},
        restart=Restart(backoff_initial_s=0.5, backoff_max_s=15.0),
        # A worker's engines go on while it drains.
        shutdown=Shutdown(timeout_s=stop_s, to=Recipient.MAIN),
        health_check=HealthCheck(kind=ProbeKind.NOTIFY, start_timeout_s=START_TIMEOUT_S, watchdog_s=HUNG_AFTER_S),
        execution=execution or Execution(),
        # Its stdout says that it is ready, which we say ourselves; its own log hides secrets already.
        logging=Logging(stdout=False, redaction=Redaction(known_shapes=False)),
    )
