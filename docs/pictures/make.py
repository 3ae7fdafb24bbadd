"""Make docs/pictures/transcode.svg: a still of a real run, of `make transcode` on the sample that ships with Millrace.

The command runs on a terminal of its own. The still shows two moments of it: the bars in the middle of the encode, and
what stands there at the end. Usage, from the root of the project: .venv/bin/python docs/pictures/make.py
"""

import io
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from fcntl import ioctl
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COLUMNS, ROWS = 96, 40
INPUT = "INPUT=samples/bigbuckbunny.mp4"
REDRAW = re.compile(r"\r|\x1b\[1A|\x1b\[2K|\x1b\[\?25[lh]")


def run(command: list[str]) -> str:
    """Everything that the command wrote on its terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
        os.execvp(command[0], command)  # noqa: S606  the command stands below
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    written = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        written += piece
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit(f"cannot make the picture: the command failed\n{written.decode()}")
    return written.decode()


def moments(written: str) -> tuple[str, str]:
    """The bars in the middle of the encode, and the end."""
    lines = REDRAW.sub("\0", written).split("\0")
    drawn = [line.strip("\n") for line in lines if "━" in line]
    bars = "\n".join(drawn).splitlines()
    pairs = [(first, second) for first, second in pairwise(bars) if "ETA" in second]
    if not pairs:
        sys.exit("cannot make the picture: no bars were drawn")
    end = "\n".join(line for line in written.replace("\r", "").splitlines() if "━" not in line)
    return "\n".join(pairs[len(pairs) // 2]), REDRAW.sub("", end).strip("\n")


def main() -> None:
    """Run, and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        written = run(["make", "transcode", INPUT, f"OUT={folder}/out"])
        bars, end = moments(written.replace(f"{folder}/", ""))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ make transcode {INPUT} OUT=out", style="bold"))
    console.print(Text.from_ansi(bars))
    console.print(Text("  ⋮", style="dim"))
    console.print(Text.from_ansi(end))
    (HERE / "transcode.svg").write_text(console.export_svg(title="millrace", unique_id="millrace"))


if __name__ == "__main__":
    main()
