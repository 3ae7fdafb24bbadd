"""What a start may import. Each of these took milliseconds of every `transcode` before (docs/decisions/0030-start.md)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_WATCHED = """
import atexit, json, sys, threading
first, begun = [], threading.Event()
def heard(event, arguments):
    if event == "subprocess.Popen" and not first:
        first.extend(sys.modules)
        begun.set()
    elif event == "import" and threading.current_thread() is not threading.main_thread():
        begun.wait(60) or begun.set()
def tell():
    with open(sys.argv.pop(), "w") as file:
        json.dump({"before the first child": first, "in all": list(sys.modules)}, file)
where = sys.argv.pop()
atexit.register(lambda: (sys.argv.append(where), tell()))
sys.addaudithook(heard)
from millrace.cli.main import main
main()
"""
"""A thread that imports while the first child starts goes on when that has started: how far it would have come by then is a matter
of the machine's speed. Where the child waits for the thread instead, the thread goes on after a minute, and too much is there.
"""

LIBRARIES = {
    "asyncpg", "cronsim", "cryptography", "jinja2", "obstore", "opentelemetry",
    "psutil", "pydantic", "rich", "textual", "watchfiles", "yaml",
}  # fmt: skip
"""What `transcode --json` has no use for."""
PARTS = {
    "millrace.engines.profile_text", "millrace.programs.backup", "millrace.programs.doctor", "millrace.programs.supervise",
    "millrace.store.postgres", "millrace.supervisor", "millrace.tui",
}  # fmt: skip
LATER = {
    "apsw", "millrace.api", "millrace.client.client", "millrace.client.async_client", "millrace.edge", "millrace.programs.master", "millrace.scheduler", "millrace.store",
    "millrace.web", "millrace.worker.worker", "httpx2", "httpcore2", "h11", "anyio", "email", "http.client", "truststore", "urllib.request",
}  # fmt: skip
"""What is imported while the first child runs: until then the second core of a machine has nothing to do."""


def imported(folder: Path, *arguments: str) -> dict[str, set[str]]:
    """The modules of one run of the command line."""
    found = folder / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, *arguments, str(found)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {when: set(names) for when, names in json.loads(found.read_text()).items()}


def among(names: set[str], unwanted: set[str]) -> set[str]:
    """Those of `unwanted` that are there, or of which a part is."""
    return {one for one in unwanted if one in names or any(name.startswith(f"{one}.") for name in names)}


def test_a_transcode_imports_nothing_that_it_has_no_use_for(tmp_path: Path) -> None:
    found = imported(tmp_path, "transcode", "--json", "--duration", "1", "-p", "144p10-h264")
    assert among(found["in all"], LIBRARIES | PARTS) == set()
    assert "millrace.programs.master" in found["in all"]
    assert among(found["before the first child"], LATER) == set()


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("transcode", "--help")])
def test_what_only_prints_needs_next_to_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    found = imported(tmp_path, *arguments)["in all"]
    assert among(found, LIBRARIES | PARTS | LATER | {"asyncio", "millrace.process", "millrace.wire"}) == set()
