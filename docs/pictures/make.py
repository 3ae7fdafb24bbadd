"""Make docs/pictures/transcode.svg: a still of a real run, of `make transcode` on the sample that ships with Millrace.

The command runs on a terminal of its own. The still shows two moments of it: the bar in the middle of the encode, and
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
    """The bar in the middle of the encode with the line below it, and the end."""
    pieces = REDRAW.sub("\0", written.replace("\r\n", "\n")).split("\0")
    drawn = [piece.strip("\n") for piece in pieces if "━" in piece and "ETA" in piece]
    if not drawn:
        sys.exit("cannot make the picture: no bars were drawn")
    return drawn[len(drawn) // 2], pieces[-1].strip("\n")


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
