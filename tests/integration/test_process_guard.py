"""What stands guard over all that a supervisor starts, and goes with the last of it."""

import os
import subprocess
import sys

import pytest

from millrace.process.cgroup import tracking
from millrace.process.grounds import Grounds

SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from millrace.process.cgroup import tracking
from millrace.process.grounds import grounds
from millrace.process.guard import Guard
from millrace.process.warden import guarded

outer = tracking(grounds()._found).folder
inner = outer / f"millrace-{os.getpid()}" / "0"

def inside():
    return {int(pid) for pid in (inner / "cgroup.procs").read_text().split()}

guard = Guard()
assert guarded(), "the warden waits"
assert os.getpid() in inside()
child = subprocess.Popen(["sleep", "1000"])
assert child.pid in inside(), "what is started is born there"
guard.leave()
guard.leave()
guard._leaving.join()
assert inside() == {child.pid}, "we have left, and alone"
assert guarded(), "and it still waits"
child.kill()
child.wait()
warden = guard._warden._popen.pid
guard.stand_down()
guard.close()
guard.close()
assert not inner.parent.exists()
assert not guarded()
assert not Path(f"/proc/{warden}").exists(), "nothing is left, also no zombie"
print("well")
"""


def test_it_leaves_its_control_group_while_children_are_there_and_everything_at_the_end() -> None:
    followed = tracking(Grounds.here()._found)
    if followed is None or not os.access(followed.folder, os.W_OK):
        pytest.skip("this user has no control group to make others in")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("well\n", "")
