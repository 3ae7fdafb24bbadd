"""Kill what is left when we are killed with -9.

PR_SET_PDEATHSIG ends our direct children, and nothing below them. So a shell of half a megabyte, in a session of its own
and deaf to every signal, waits for the end of a pipe that only we hold open; then it kills the control groups of our children, and stops and
kills whatever carries our mark, until nothing is left. As PID 1 none is needed: there the kernel kills everything.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from millrace.process.mark import Mark
from millrace.process.own import claim, release

# Stopped first, until two looks see the same: what is about to fork would get away otherwise.
_SCRIPT = r"""
trap '' HUP INT QUIT TERM USR1 USR2 ALRM PIPE TSTP TTIN TTOU
read -r _
pattern=$1
shift
for base; do
  for group in "$base"/[0-9]*; do echo 1 > "$group/cgroup.kill"; done
done 2>/dev/null
before=none
round=0
while [ $round -lt 400 ]; do
  found=
  pids=$(for base; do cat "$base"/[0-9]*/cgroup.procs; done)
  for file in $(grep -lsaE -e "$pattern" /proc/[0-9]*/limits /proc/[0-9]*/environ); do
    pid=${file#/proc/}
    pids="$pids ${pid%%/*}"
  done
  for pid in $pids; do
    # A zombie keeps its limits, and waits only to be collected.
    read -r line < /proc/$pid/stat || continue
    case ${line##*) } in Z*|X*) continue;; esac
    found="$found $pid"
  done
  [ -n "$found" ] || break
  if [ "$found" = "$before" ]; then kill -KILL $found; else kill -STOP $found; fi
  before=$found
  round=$((round + 1))
done 2>/dev/null
for base; do rmdir "$base"/[0-9]* "$base"; done 2>/dev/null
"""


_posted: list["Warden"] = []


def guarded() -> bool:
    """Whether all that we start is killed when we are: by the kernel, if we are PID 1, or by a warden that lives."""
    return os.getpid() == 1 or any(warden.lives for warden in _posted)


class Warden:
    """One that waits. Made by `post`."""

    def __init__(self, popen: "subprocess.Popen[bytes]", pipe: int) -> None:
        """Use `post`."""
        self._popen = popen
        self._pipe = pipe

    @classmethod
    def post(cls, mark: Mark, bases: Sequence[Path] = ()) -> "Warden | None":
        """Let one wait for our end; None where there is no shell or grep. `bases` hold the control groups of our children.

        It must not carry the mark itself, so it is started before that is in force.
        """
        shell, grep = shutil.which("sh", path=os.defpath), shutil.which("grep", path=os.defpath)
        if shell is None or grep is None:
            return None
        end, pipe = os.pipe()
        try:
            popen = subprocess.Popen(  # noqa: S603  a constant program, and a pattern of our own making
                [shell, "-c", _SCRIPT, "millrace-warden", mark.pattern, *map(str, bases)],
                stdin=end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError:
            os.close(pipe)
            return None
        finally:
            os.close(end)
        claim(popen.pid)
        warden = cls(popen, pipe)
        _posted.append(warden)
        return warden

    @property
    def lives(self) -> bool:
        """Whether it still waits."""
        try:
            return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
        except ChildProcessError:
            return False

    def relieve(self) -> None:
        """It need not wait any longer; for an end at which everything is known to be gone."""
        with suppress(ProcessLookupError):
            self._popen.kill()

    def dismiss(self) -> None:
        """Return when it has gone."""
        _posted.remove(self)
        self.relieve()
        self._popen.wait()
        release(self._popen.pid)
        os.close(self._pipe)
