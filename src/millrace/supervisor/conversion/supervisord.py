"""supervisord's ini files: programs and groups.

Their keys: https://supervisord.org/configuration.html
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from configparser import Error, RawConfigParser
from typing import Any

from millrace.supervisor.conversion.converted import Conversion, knows, literal
from millrace.supervisor.plan_document import SIGNALS, keys

_EXPRESSION = re.compile(r"%(?:%|\((\w+)\)(\d*)([sd]))")
_RESTARTS = {"true": "always", "1": "always", "yes": "always", "on": "always", "unexpected": "on-failure"}
_TRUE = ("true", "1", "yes", "on")
_LATE = 999
"""The priority of what names none."""
_HANDLED = (
    "command", "numprocs", "numprocs_start", "process_name", "autostart", "autorestart", "exitcodes", "startsecs", "startretries",
    "stopsignal", "stopwaitsecs", "user", "environment", "directory", "priority", "umask", "stopasgroup",
)  # fmt: skip
_ALWAYS_SO = ("killasgroup", "redirect_stderr", "stdout_capture_maxbytes", "stderr_capture_maxbytes")
_OWN_OUTPUT = ("/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2", "/proc/self/fd/1", "/proc/self/fd/2", "none")
_LOG_FILES = ("stdout_logfile", "stderr_logfile")
_NOT_NEEDED = ("unix_http_server", "inet_http_server", "supervisorctl")


def convert(text: str) -> Conversion:
    """The plan of a supervisord configuration.

    Raises:
        ValueError: it is no such file, or holds no program.
    """
    parser = RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    try:
        parser.read_string(text.removeprefix("\ufeff"))
    except Error as error:
        raise ValueError(f"it is no ini file: {' '.join(str(error).split())}") from error
    found = Conversion()
    priorities: dict[int, list[str]] = {}
    grouped = _groups(found, parser)
    common = _environment(found, "supervisord", parser["supervisord"].get("environment", "")) if parser.has_section(
        "supervisord"
    ) else {}  # fmt: skip
    for section in parser.sections():
        kind, _, other = section.partition(":")
        if kind == "program" and other:
            names = _program(found, other.strip(), parser[section], common)
            priority = grouped.get(other.strip(), _whole(parser[section].get("priority"), _LATE))
            priorities.setdefault(priority, []).extend(names)
        elif kind == "include":
            found.left_out("[include]", "names other files; convert each by itself and name the plans in `include`")
        elif kind in ("eventlistener", "fcgi-program"):
            found.left_out(f"[{section}]", "has no counterpart")
        elif kind not in (*_NOT_NEEDED, "supervisord", "group") and not kind.startswith("rpcinterface"):
            found.left_out(f"[{section}]", "is unknown")
    if not found.processes:
        raise ValueError("it holds no section [program:...] with a command")
    _order(found, priorities)
    found.give_time_to_stop()
    return found


def _groups(found: Conversion, parser: RawConfigParser) -> dict[str, int]:
    """The priority of each program that a group names."""
    grouped: dict[str, int] = {}
    for section in parser.sections():
        kind, _, _group = section.partition(":")
        if kind == "group":
            programs = [one.strip() for one in parser[section].get("programs", "").split(",") if one.strip()]
            found.changed(f"[{section}]", f"is no more: {', '.join(programs)} stand for themselves")
            if "priority" in parser[section]:
                grouped |= dict.fromkeys(programs, _whole(parser[section]["priority"], _LATE))
    return grouped


def _program(found: Conversion, other: str, section: Mapping[str, str], common: dict[str, str]) -> list[str]:
    count, first = max(0, _whole(section.get("numprocs"), 1)), _whole(section.get("numprocs_start"), 0)
    if "command" not in section or count == 0:
        found.left_out(f"[program:{other}]", "has no command" if count else "has numprocs=0")
        return []
    numbered = any("process_num" in section.get(key, "") for key in ("command", "environment", "directory", "user"))
    if count == 1 or not numbered:
        words = {"process_num": str(first)}
        words |= {"program_name": other, "group_name": other}
        return _entry(found, other, section, common=common, words=words, count=count)
    found.changed(
        f"processes.{found.name(f'{other}-{first}')}", f"and {count - 1} more: each number is a process by itself"
    )
    names = []
    for number in range(first, first + min(count, 100)):
        words = {"process_num": str(number), "program_name": other, "group_name": other}
        names += _entry(found, f"{other}-{number}", section, common=common, words=words, count=1)
    return names


def _entry(
    found: Conversion,
    other: str,
    section: Mapping[str, str],
    *,
    common: dict[str, str],
    words: Mapping[str, str],
    count: int,
) -> list[str]:
    name = found.name(other)
    where = f"processes.{name}"
    try:
        command = [_expanded(found, where, word, words) for word in shlex.split(section["command"])]
    except ValueError as error:
        found.left_out(f"[program:{other}]", f"has a command that cannot be read: {error}")
        return []
    process: dict[str, Any] = {"command": command}
    if count > 1:
        process["scale"] = count
    if section.get("autostart", "true").lower() not in _TRUE:
        process["initial_state"] = "stopped"
    if "directory" in section:
        process["working_dir"] = _expanded(found, where, section["directory"], words)
    own = _environment(found, where, section.get("environment", ""))
    if env := {key: _expanded(found, where, value, words) for key, value in (common | own).items()}:
        process["env"] = env
    process["restart"] = _restart(section)
    process["shutdown"] = _shutdown(found, where, section)
    _who(found, where, section, process)
    if count == 1:
        _log_file(found, where, section, process, words)
    else:
        _no_log_file(found, where, section, _LOG_FILES)
    found.processes[name] = process
    return [name]


def _restart(section: Mapping[str, str]) -> dict[str, Any]:
    codes = [int(code) for code in re.findall(r"\d+", section.get("exitcodes", "0"))]
    return {
        "policy": _RESTARTS.get(section.get("autorestart", "unexpected").lower(), "never"),
        "max_attempts": _whole(section.get("startretries"), 3),
        "stable_after": _whole(section.get("startsecs"), 1),
        **({"success_codes": codes} if codes != [0] else {}),
    }


def _shutdown(found: Conversion, where: str, section: Mapping[str, str]) -> dict[str, Any]:
    # supervisord takes numbers, too, and since 4.3 a list of names, of which the first counts.
    word = section.get("stopsignal", "TERM").split(",")[0].strip().upper().removeprefix("SIG")
    if word not in SIGNALS:
        found.left_out(f"{where}.shutdown.signal", f"was {word}, which is none that can be given; it is TERM")
        word = "TERM"
    alone = section.get("stopasgroup", "false").lower() not in _TRUE
    return {"signal": word, "timeout": _whole(section.get("stopwaitsecs"), 10), **({"to": "main"} if alone else {})}


def _who(found: Conversion, where: str, section: Mapping[str, str], process: dict[str, Any]) -> None:
    """What plans know by now, and what they do not."""
    for key in ("user", "umask"):
        if key in section and knows(keys(), ("processes", "NAME", key)):
            process[key] = section[key]
        elif key in section:
            found.left_out(f"{where}.{key}", f"was {section[key]}; it runs as the supervisor does")
    called = section.get("process_name", "%(program_name)s")
    if "process_num" not in called and called != "%(program_name)s":
        found.left_out(f"{where}.process_name", "has no counterpart; instances are called by name and number")
    for key in section:
        if key not in (*_HANDLED, *_ALWAYS_SO) and "logfile" not in key:
            found.left_out(f"{where}.{key}", "has no counterpart")


def _log_file(
    found: Conversion, where: str, section: Mapping[str, str], process: dict[str, Any], words: Mapping[str, str]
) -> None:
    """One file takes both streams; everything is on the supervisor's own output, too."""
    named = [key for key in _LOG_FILES if _is_file(section.get(key, ""))]
    if not named:
        return
    key = named[0]
    size = _bytes(section.get(f"{key}_maxbytes"), 50 << 20)
    process["logging"] = {
        "file": {
            "path": (path := _expanded(found, where, section[key], words)),
            "max_bytes": max(size, 4096) if size else 1 << 50,  # 0 is no limit there
            "keep": _whole(section.get(f"{key}_backups"), 10),
        }
    }
    found.changed(
        f"{where}.logging.file",
        f"is {path}, with stdout and stderr; both are on the supervisor's own output, too",
    )
    _no_log_file(found, where, section, named[1:])


def _no_log_file(found: Conversion, where: str, section: Mapping[str, str], named: Iterable[str]) -> None:
    for key in named:
        if _is_file(section.get(key, "")):
            found.left_out(f"{where}.{key}", f"was {section[key]}; what it prints is on the supervisor's own output")


def _is_file(value: str) -> bool:
    return value.lower() not in (*_OWN_OUTPUT, "auto", "")


def _bytes(text: str | None, default: int) -> int:
    match = re.fullmatch(r"(\d{1,12})\s*([kmg]b)?", (text or "").strip().lower())
    return int(match[1]) * {None: 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}[match[2]] if match else default


def _order(found: Conversion, priorities: Mapping[int, list[str]]) -> None:
    """What has a higher priority starts after all that has the next lower one."""
    before: list[str] = []
    for priority in sorted(priorities):
        here = priorities[priority]
        for name in here:
            if before:
                found.processes[name]["depends_on"] = dict.fromkeys(before, "started")
        awake = [name for name in here if "initial_state" not in found.processes[name]]
        before = awake or before
    if len(priorities) > 1:
        found.changed("priority", "is depends_on now: each process starts after those of the next lower number")


def _environment(found: Conversion, where: str, text: str) -> dict[str, str]:
    """`A="x",B=y` as a mapping."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = ",\n", True, ""
    try:
        pairs = [word.strip().partition("=") for word in lexer if word.strip()]
    except ValueError as error:
        found.left_out(f"{where}.env", f"cannot be read: {error}")
        return {}
    return {key.strip(): value for key, _, value in pairs}


def _expanded(found: Conversion, where: str, text: str, words: Mapping[str, str]) -> str:
    """The text with supervisord's `%(...)s` filled in; its variables become those of a plan."""
    parts, last = [], 0
    for match in _EXPRESSION.finditer(text):
        parts.append(literal(text[last : match.start()]))
        last = match.end()
        name, width, _ = match.groups()
        if name is None:
            parts.append("%")
        elif name.startswith("ENV_"):
            parts.append(f"${{{name.removeprefix('ENV_')}}}")
        elif name in words:
            parts.append(words[name].zfill(int(width or 0)))
        elif name == "here":
            parts.append(".")
            found.changed(
                where, "had %(here)s, the folder of its file; it is the folder that the supervisor runs in now"
            )
        else:
            parts.append(literal(match[0]))
            found.left_out(where, f"has {match[0]}, which has no counterpart")
    return "".join([*parts, literal(text[last:])])


def _whole(text: str | None, default: int) -> int:
    try:
        return int(text) if text is not None else default
    except ValueError:
        return default
