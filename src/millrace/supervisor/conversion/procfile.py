"""A Procfile, as Heroku, foreman and honcho read it."""

import re
import shlex

from millrace.supervisor.conversion.converted import Conversion, literal

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*?)\s*\Z")
_SHELL = re.compile(r"[;&|<>()$`*?\[\]{}~!#\\]|\A\s*[A-Za-z_][A-Za-z0-9_]*=")
_LIST = re.compile(r"[;&|\n]|\A\s*(?:exec|cd|if|for|while|[A-Za-z_][A-Za-z0-9_]*=)\b")
_FIRST_PORT, _PORT_STEP = 5000, 100


def convert(text: str) -> Conversion:
    """The plan of a Procfile.

    Raises:
        ValueError: it holds no process.
    """
    found = Conversion()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            found.left_out(f"line {number}", "is not of the form `name: command`")
            continue
        _process(found, match[1], match[2])
    if not found.processes:
        raise ValueError("it holds no line of the form `name: command`")
    if "release" in found.processes:
        found.processes["release"] |= {"type": "oneshot"}
        found.processes["release"].pop("env", None)
        for name, process in found.processes.items():
            if name != "release":
                process["depends_on"] = {"release": "completed"}
        found.changed("processes.release", "is a oneshot, and the others wait for it to complete, as on Heroku")
    return found


def _process(found: Conversion, other: str, command: str) -> None:
    name = found.name(other)
    process: dict[str, object] = {"command": _argv(found, name, command)}
    if re.search(r"\$\{?PORT\b", command):
        port = _FIRST_PORT + _PORT_STEP * len(found.processes)
        process["env"] = {"PORT": f"${{PORT:-{port}}}"}
        found.changed(f"processes.{name}.env.PORT", f"is that of the supervisor, or {port}")
    found.processes[name] = process


def _argv(found: Conversion, name: str, command: str) -> list[str]:
    if not _SHELL.search(command):
        try:
            return shlex.split(command)
        except ValueError:
            pass  # an unclosed quote: the shell shall say so
    found.changed(f"processes.{name}.command", "needs a shell, so one runs it")
    whole = command if _LIST.search(command) else f"exec {command}"
    return ["sh", "-c", literal(whole)]
