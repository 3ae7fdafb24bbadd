"""What the machine gives to any of the programs."""

import ctypes
import os
import platform
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from millrace.process.cgroup import Resources
from millrace.process.grounds import Grounds
from millrace.programs.cores import MEMORY_OF_A_CORE, cores
from millrace.programs.doctor.finding import Look, failed, skipped, warning

PYTHON, KERNEL = (3, 11), (5, 3)
FILES, PROCESSES = 4096, 1024
_NAME = re.compile(r"[\w.-]+")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108  asked for, not used
_TIME_ERROR = 5
"""What adjtimex(2) returns while nothing keeps the clock right."""


def checks() -> Mapping[str, Look]:
    """In the order of the report."""
    return {
        "machine.python": _python,
        "machine.kernel": _kernel,
        "machine.libraries": _libraries,
        "machine.cores": _cores,
        "machine.memory": _memory,
        "machine.open-files": _open_files,
        "machine.processes": _processes,
        "machine.temporary-folder": _temporary_folder,
        "machine.shared-memory": _shared_memory,
        "machine.clock": _clock,
        "machine.file-names": _file_names,
        "machine.control-groups": _control_groups,
    }


async def _python() -> str:
    text = f"Python {platform.python_version()}"
    if sys.version_info[:2] < PYTHON:
        raise failed(text, "use Python 3.11 or newer")
    return text


async def _kernel() -> str:
    text = f"{platform.system()} {platform.release()}"
    if platform.system() != "Linux":
        raise failed(text, "Millrace runs on Linux")
    numbers = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    if numbers < KERNEL:
        raise failed(text, "Linux 5.3 or newer is needed, for pidfd_open(2)")
    return text


async def _libraries() -> str:
    wanted = [line.partition(";")[0] for line in metadata.requires("millrace") or () if "extra ==" not in line]
    gone = []
    for line in wanted:
        name = _NAME.match(line)
        try:
            metadata.version(name[0] if name else line)
        except metadata.PackageNotFoundError:
            gone.append(line)
    if gone:
        raise failed(f"missing: {', '.join(gone)}", "install them with `make install`")
    return f"{len(wanted)} of {len(wanted)} are installed"


async def _cores() -> str:
    return f"{cores()} usable of {os.cpu_count()}"


async def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    text = f"{total / 1e9:.1f} GB"
    if total < MEMORY_OF_A_CORE * cores():
        raise warning(
            text, "a core without a gigabyte of its own stays idle in 1080p; give it more, or set MILLRACE_CORES"
        )
    return text


async def _open_files() -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} at once, at most {hard}"
    if soft < FILES:
        raise warning(
            text, f"a master takes no more connections than that; raise it to {FILES} (ulimit -n, LimitNOFILE)"
        )
    return text


async def _processes() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY and soft < PROCESSES:
        raise warning(
            f"{soft} at most", f"an encoder has a thread for each core and more; raise it to {PROCESSES} (ulimit -u)"
        )
    return "unlimited" if soft == resource.RLIM_INFINITY else f"{soft} at most"


async def _temporary_folder() -> str:
    folder = Path(tempfile.gettempdir())
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"millrace")
    free = shutil.disk_usage(folder).free
    if free < 100e6:
        raise warning(f"{folder}, {free / 1e6:.0f} MB free", "free some space, or set TMPDIR")
    return f"{folder}, {free / 1e9:.1f} GB free"


async def _shared_memory() -> str:
    if not os.access(_SHARED_MEMORY, os.W_OK):
        raise warning(f"{_SHARED_MEMORY} cannot be written to", "mount a tmpfs there; encoders may need it")
    return f"{_SHARED_MEMORY} can be written to"


async def _clock() -> str:
    # The fields of struct timex do not matter, only what the call returns; 208 bytes hold it on every architecture.
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    if state < 0:
        raise skipped("the kernel does not tell")
    if state == _TIME_ERROR:
        raise warning("nothing keeps it right", "run chrony, systemd-timesyncd or ntpd; logs and certificates go by it")
    return "it is kept right"


async def _file_names() -> str:
    coding = sys.getfilesystemencoding()
    if coding.lower() != "utf-8":
        raise warning(f"names of files are taken as {coding}", "set LC_ALL=C.UTF-8")
    return "UTF-8"


async def _control_groups() -> str:
    grounds = Grounds.here()
    try:
        place = grounds.place(Resources(memory_bytes=1 << 30, cpus=1.0, pids=100))
        record = place.record
        grounds.forget(place)
    finally:
        grounds.close()
    if record.missing:
        raise warning(
            f"limits of whole trees cannot be set: {'; '.join(record.missing)}",
            "delegate a control group to it (Delegate=yes in systemd), or let the container write to its own",
        )
    return f"limits of whole trees can be set: {', '.join(record.applied)}"
