"""Make the pages of docs/reference/ from the code. `--check` writes nothing and fails where a page is stale."""

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent / "reference"
MADE = "<!-- Made from the code by `make docs`; change the code, not this page. -->\n\n"


def states() -> str:
    """The diagram of states, as Mermaid, and the table behind it."""
    from millrace.domain.states import FINAL, TRANSITIONS, State

    arrows = [
        f"    {source.value} --> {target.value}"
        for source in State
        for target in State
        if target in TRANSITIONS[source]
    ]
    rows = [
        f"| `{state}` | {'yes' if state in FINAL else ''} | {', '.join(f'`{t}`' for t in State if t in TRANSITIONS[state]) or 'nothing'} |"
        for state in State
    ]
    return "\n".join(
        [
            MADE + "# States\n",
            "Jobs and tasks share these states. Final ones are left only by the `retry` verb, `completed` by nothing.\n",
            "```mermaid",
            "stateDiagram-v2",
            "    [*] --> pending",
            "    [*] --> queued",
            *arrows,
            "```\n",
            "| state | final | may be followed by |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def settings() -> str:
    """Every environment variable of the programs."""
    from millrace.config.settings import MasterSettings, WorkerSettings

    parts = [MADE + "# Settings\n", "Options of the command line come before these variables.\n"]
    for title, kind in (("Master", MasterSettings), ("Worker", WorkerSettings)):
        parts += [f"## {title}\n", "| variable | default | meaning |", "|---|---|---|"]
        for each in dataclasses.fields(kind):
            names = ", ".join(f"`{name}`" for name in (each.metadata["env"], *each.metadata["aliases"]))
            default = "" if each.default in ("", (), None) or isinstance(each.default, dict) else str(each.default)
            shown = f"`{default}`" if default and default != "{}" else ""
            parts.append(f"| {names} | {shown} | {each.metadata['meaning']} |")
        parts.append("")
    return "\n".join(parts)


def commands() -> str:
    """The help of every command."""
    import click

    from millrace.cli.main import app

    parts = [MADE + "# Commands\n"]
    for path, command in _walk(app, ("millrace",)):
        context = click.Context(
            command, info_name=" ".join(path), terminal_width=100, help_option_names=["-h", "--help"]
        )
        parts.append(
            f"{'#' * min(len(path) + 1, 4)} {' '.join(path)}\n\n```\n{command.get_help(context).rstrip()}\n```\n"
        )
    return "\n".join(parts)


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from _walk(command.get_command(None, name), (*path, name))


def profiles() -> str:
    """Every built-in profile, whole."""
    import yaml

    from millrace.domain.media.profile_document import to_document
    from millrace.domain.media.scenario import FORM
    from millrace.engines import profiles as built_in

    parts = [MADE + "# Profiles\n", f"Besides these, scenarios are profiles by their parts: {FORM}\n"]
    for name in built_in.names():
        profile = built_in.named(name)
        text = yaml.safe_dump(to_document(profile), sort_keys=False).rstrip()
        parts.append(f"## {name}\n\n{profile.description}\n\n```yaml\n{text}\n```\n")
    return "\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "states.md": states,
    "settings.md": settings,
    "commands.md": commands,
    "profiles.md": profiles,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them."""
    os.environ["COLUMNS"] = "100"
    os.environ["TERM"] = "dumb"
    stale = []
    for name, make in PAGES.items():
        page, text = HERE / name, make()
        if "--check" in arguments:
            if not page.exists() or page.read_text() != text:
                stale.append(name)
        else:
            page.write_text(text)
    if stale:
        print(f"stale: {', '.join(stale)}; run `make docs`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
