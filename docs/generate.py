"""Make the pages of docs/reference/ from the code. `--check` writes nothing and fails where a page is stale."""

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent / "reference"
MADE = "<!-- Made from the code by `make docs`; change the code, not this page. -->\n\n"

ELSEWHERE = (
    ("MILLRACE_MASTER", "The master that `jobs`, `nodes` and `keys` speak to; `--master` comes first."),
    ("MILLRACE_OUTPUT", "How `jobs`, `nodes`, `keys` and `profiles` show what they found: `table` or `json`."),
    ("MILLRACE_LOG", "The form of log lines: `text` or `json`; without it, text on a terminal and JSON elsewhere."),
    ("MILLRACE_LOG_LEVEL", "The least level of log lines: `debug`, `info`, `warning` or `error`."),
    ("MILLRACE_CHILD", "Set by Millrace in every engine that it starts, to find strays again. Leave it unset."),
    (
        "MILLRACE_SUPERVISE_GLOBAL_...",
        "One value of a plan's `global`, such as `..._SHUTDOWN_TIMEOUT`; [Plans](plan.md).",
    ),
    ("MILLRACE_SUPERVISE_PROCESS_...", "One value of a plan's process, such as `..._WEB_SCALE`; [Plans](plan.md)."),
    ("MILLRACE_PROCESS", "Set by `supervise` in every process: its name in the plan."),
    ("MILLRACE_INSTANCE", "Set by `supervise` in every process: the name of the instance, such as `web-0`."),
    ("MILLRACE_SUPERVISE_CHANGES", "Where `millrace ctl save` keeps what was changed; `--changes` comes first."),
    (
        "MILLRACE_RUN",
        "Set by `supervise` in every process that runs at its times, and in its hooks: the number of the run.",
    ),
    ("MILLRACE_SUPERVISE_SOCKET", "The unix socket of `supervise` and `ctl`; `--socket` comes first."),
    (
        "MILLRACE_SUPERVISE_KEY",
        "The key that `supervise --listen` asks for, and that `ctl --url` shows. No process inherits it.",
    ),
    ("MILLRACE_HOOK", "Set by `supervise` in every hook: its name, or its place such as `pre-start[0]`."),
    ("AWS_ACCESS_KEY_ID", "Key of the object store, for a master with `--blobs` and a worker with `s3://` jobs."),
    ("AWS_SECRET_ACCESS_KEY", "The secret that belongs to it."),
    ("AWS_SESSION_TOKEN", "The token of a temporary key."),
    ("AWS_ENDPOINT_URL", "Address of an object store that is not Amazon's."),
    ("AWS_REGION", "Region of the bucket; without it, `us-east-1`."),
    (
        "XDG_RUNTIME_DIR",
        "Where the socket of `supervise` stands, in a folder `millrace`; root without it takes `/run`.",
    ),
    ("XDG_CACHE_HOME", "Where `transcode` remembers which encoders work; without it, `~/.cache`."),
    ("XDG_STATE_HOME", "Where `transcode` keeps the log of a job that failed; without it, `~/.local/state`."),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "Where `supervise` sends traces, with `millrace[otel]`; as OpenTelemetry has it, also with `_TRACES`.",
    ),
    ("OTEL_TRACES_EXPORTER", "`otlp`, `console` (to stderr) or `none`."),
    ("OTEL_SDK_DISABLED", "`true`: no traces."),
    ("NOTIFY_SOCKET", "Set by systemd; `up`, `master` and `worker` say there that they are ready, and that they stop."),
    ("WATCHDOG_USEC", "Set by systemd with `WatchdogSec`; they say there twice as often that their event loop turns."),
)
"""Variables that no settings class reads; a test compares the names with those in the code."""


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
    from millrace.cli.transcode.run import HEEDED
    from millrace.config.settings import MasterSettings, WorkerSettings

    heeded = ", ".join(f"`{name}`" for name in HEEDED)
    intro = f"Options of the command line come before these variables. Of a worker's, `transcode` heeds {heeded}.\n"
    parts = [MADE + "# Settings\n", intro]
    for title, kind in (("Master", MasterSettings), ("Worker", WorkerSettings)):
        parts += [f"## {title}\n", "| variable | default | meaning |", "|---|---|---|"]
        for each in dataclasses.fields(kind):
            names = ", ".join(f"`{name}`" for name in (each.metadata["env"], *each.metadata["aliases"]))
            parts.append(f"| {names} | {_default(each.default)} | {each.metadata['meaning']} |")
        parts.append("")
    parts += ["## Beside them\n", "| variable | meaning |", "|---|---|"]
    parts += [f"| `{name}` | {meaning} |" for name, meaning in ELSEWHERE]
    return "\n".join([*parts, ""])


def _default(value: object) -> str:
    """A default as its variable would be written; nothing for what is empty."""
    if value in ("", (), None, False):
        return ""
    if value is True:
        return "`1`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


EXIT_CODES = """Every command ends with one of these codes, and says why in one sentence on stderr:

| code | meaning |
|---|---|
| 0 | done |
| 1 | it failed: the job failed, a master refuses or does not answer, the database's server is away, a disk is full |
| 2 | wrong usage: what was named on the command line, in the environment or in a profile cannot be used as it is. Nothing was begun |
| 3 | `supervise` and `up`: all was told to end and not all did in its time, so that processes were killed or hooks passed over |
| 128 + N | `transcode`: ended by signal N, and nothing is left behind (Ctrl-C gives 130) |

So 2 asks a person for something else, and repeating the command will not help: an option or a setting that makes no
sense, a data folder that is no folder or that another master holds, a file that is no database, a taken port, a
program that is no FFmpeg, the URL of a store that there is none of. What stands in a job is judged by the job: a film
that is missing or broken is 1. So is what a command looks for and does not find, such as a job or a node.
"""


def commands() -> str:
    """The help of every command."""
    import click

    from millrace.cli.app import app

    parts = [MADE + "# Commands\n", EXIT_CODES]
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
    parts.append("\n".join(_declarations()))
    for name in built_in.names():
        profile = built_in.named(name)
        text = yaml.safe_dump(to_document(profile), sort_keys=False).rstrip()
        parts.append(f"## {name}\n\n{profile.description}\n\n```yaml\n{text}\n```\n")
    return "\n".join(parts)


def _declarations() -> list[str]:
    """What a profile says of that which a source has beside pictures and sound, and what each built-in one says."""
    from millrace.domain.media.damage import OnDamage
    from millrace.domain.media.profile import Hdr, Keep, Subtitles, Tracks
    from millrace.engines import profiles as built_in

    kinds = {
        "hdr": Hdr, "audio[].tracks": Tracks, "subtitles": Subtitles, "metadata": Keep, "chapters": Keep,
        "attachments": Keep, "on_damage": OnDamage,
    }  # fmt: skip
    profiles = [built_in.named(name) for name in built_in.names()]
    said = {key: {one.name: getattr(one, key, None) for one in profiles} for key in kinds}
    said["audio[].tracks"] = {one.name: ", ".join(str(entry.tracks) for entry in one.audio) or "-" for one in profiles}
    lines = [
        "## What they say of what a source has\n",
        "Every profile says, or leaves at its default, what becomes of these; [media](../explanation/media.md#what-becomes-of-what) says the rest.\n",
        "| key | words | |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{key}` | {', '.join(f'`{word}`' for word in kind)} | {' '.join((kind.__doc__ or '').split())} |"
        for key, kind in kinds.items()
    ]
    lines += ["", f"| profile | {' | '.join(f'`{key}`' for key in kinds)} |", f"|---|{'---|' * len(kinds)}"]
    lines += [f"| {one.name} | {' | '.join(str(said[key][one.name]) for key in kinds)} |" for one in profiles]
    return [*lines, ""]


def failures() -> str:
    """Every failure class, what follows it, and the sentence for the user."""
    import inspect

    from millrace.domain.failures import FailureClass
    from millrace.domain.retry import BACKOFF_BASE_S, BACKOFF_CAP_S, MAX_LOSSES, TRANSIENT

    meanings = _member_docs(inspect.getsource(FailureClass))
    rows = [
        f"| `{one}` | {meanings[one.name]} | {'yes' if one in TRANSIENT else ''} | {one.sentence} |"
        for one in FailureClass
    ]
    return "\n".join(
        [
            MADE + "# Failure classes\n",
            "An attempt that ends without a checked output has one of these classes. It stands in `failure.class` of the",
            "job, with `failure.message`: the sentence below, or a more exact one where more is known.\n",
            "Tried again means: up to `max_retries` further attempts, each after a random wait that grows from at most",
            f"{BACKOFF_BASE_S:g} to at most {BACKOFF_CAP_S:g} seconds. `{FailureClass.LOST}` spends none of them, and is final at the",
            f"{MAX_LOSSES}th lost worker.\n",
            "| class | meaning | tried again | what a user reads |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _member_docs(source: str) -> dict[str, str]:
    """The text below each member of an enumeration."""
    import ast
    from itertools import pairwise

    (found,) = ast.parse(source).body
    lines = found.body if isinstance(found, ast.ClassDef) else []
    return {
        name.targets[0].id: " ".join(ast.literal_eval(text.value).split())
        for name, text in pairwise(lines)
        if isinstance(name, ast.Assign) and isinstance(name.targets[0], ast.Name) and isinstance(text, ast.Expr)
    }


def metrics() -> str:
    """Every metric of the one table."""
    from millrace.telemetry.metrics import METRICS, SUPERVISOR_METRICS, Metric

    def table(metrics: Iterable[Metric]) -> list[str]:
        rows = [
            f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.help} |"
            for one in metrics
        ]
        return ["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows, ""]

    return "\n".join(
        [
            MADE + "# Metrics\n",
            "A master serves these at `/metrics`, in the text format of Prometheus, to whoever shows the API key.",
            "`millrace_jobs` is counted anew at most every five seconds.\n",
            *table(METRICS),
            "## A supervisor\n",
            "`millrace supervise` serves these at `/metrics` of its unix socket, and of `--listen` to whoever shows its key.",
            "The series of an instance that was scaled away, and of a process that left the plan, are gone.\n",
            *table(SUPERVISOR_METRICS),
        ]
    )


def api() -> str:
    """Every route with its access rule."""
    from millrace.api.table import TABLE
    from millrace.domain.roles import OF_TENANTS, Role
    from millrace.edge.access import grants
    from millrace.edge.keys import Key, Keys
    from millrace.edge.route import Access, Route
    from millrace.supervisor.control.table import TABLE as CONTROL
    from millrace.web import pages

    opens = {
        Access.OPEN: "anybody, without a key",
        Access.READ: "see jobs, their logs, events and outputs; of a supervisor, everything",
        Access.INSPECT: "see what tenants share: nodes, counts, metrics, the status page",
        Access.SUBMIT: "submit and steer jobs, upload",
        Access.OPERATE: "drain and remove nodes; steer a supervisor",
        Access.ADMIN: "keep the API keys; end a supervisor, read its audit trail",
        Access.WORK: "be a worker: claim, report, deliver",
        Access.FETCH: "fetch an upload, as people and workers do",
    }
    words = [access for access in Access if access is not Access.OPEN]
    roles = [
        f"| `{name}` | {' | '.join('x' if access in opened else '' for access in words)} |"
        for role in Role
        for name, opened in (
            (role, grants(role)),
            *([(f"{role}, bound to a tenant", grants(role, "any"))] if role in OF_TENANTS else ()),
        )
    ]

    def table(routes: Iterable[Route[Any]]) -> list[str]:
        rows = [f"| `{one.method} {one.path.replace('*}', '}')}` | {one.access} | {one.summary} |" for one in routes]
        return ["| route | access | what it does |", "|---|---|---|", *rows, ""]

    shown = pages.routes(Keys([Key(secret="of no server")], now_s=lambda: 0.0))  # noqa: S106  it opens nothing
    return "\n".join(
        [
            MADE + "# HTTP API\n",
            "A caller shows the API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`. A refusal is",
            "`application/problem+json` (RFC 9457): the last part of `type` is for programs, `detail` for people, and `errors`",
            "names the fields at fault with what is allowed. [openapi.json](openapi.json) has every shape, with examples; a",
            "master serves it at `/v1/openapi.json`.\n",
            "| access | opens |",
            "|---|---|",
            *(f"| {access} | {opens[access]} |" for access in Access),
            "",
            "A key opens what its role does; [how to make keys](../how-to/keys.md). The key that a master is started with opens",
            "everything.\n",
            f"| role | {' | '.join(words)} |",
            f"|---{'|---' * len(words)}|",
            *roles,
            "",
            *table(one for one in TABLE if not one.alias),
            "## The status page\n",
            "For browsers. `/login` takes the API key and gives a cookie that stands for it.\n",
            *table(shown),
            "## The paths of FFmpeg-RTMP\n",
            "They answer for its clients; new ones take those above.\n",
            *table(one for one in TABLE if one.alias),
            "## A supervisor\n",
            "What `millrace supervise` answers on its unix socket, to its own user and to root without a key, and on TCP to",
            "whoever shows the key. [Others](../how-to/supervise.md#who-may-do-what) may do what their role opens.",
            "[supervise-openapi.json](supervise-openapi.json) has every shape.\n",
            *table(CONTROL),
        ]
    )


PLAN = """A plan is a YAML file; [how to write one](../how-to/supervise.md). `millrace supervise check FILE` names every fault.
[plan.schema.json](plan.schema.json) is its JSON Schema: an editor with YAML's language server heeds a first line such as
`# yaml-language-server: $schema=plan.schema.json`, and `millrace supervise schema` prints it.

`NAME` is a name that you choose. A duration is a number of seconds or a text such as `1m30s` or `250ms`.

Each key can come from the environment, which is stronger than the file: `MILLRACE_SUPERVISE_GLOBAL_SHUTDOWN_TIMEOUT=1m`,
`MILLRACE_SUPERVISE_PROCESS_WEB_SCALE=3`, `MILLRACE_SUPERVISE_PROCESS_WEB_ENV_COLOUR=red`. Names are in capitals with `_` for `-`
and `.`; lists and mappings are JSON. A variable that names no process or no key is refused.

| key | what may stand there | default | meaning |
|---|---|---|---|
"""


def plan() -> str:
    """Every key of a plan of the supervisor."""
    from millrace.supervisor.plan_document import keys
    from millrace.supervisor.plans.sentences import SENTENCES

    rows = [
        f"| `{one.path}` | {' or '.join(_forms(one)).replace('|', ' ')} | {_usual(one.values)} | {SENTENCES.get(one.path, '')} |"
        for one in keys().walk()
    ]
    return "\n".join([MADE + "# Plans\n", PLAN + "\n".join(rows), ""])


def _forms(key: Any) -> Iterator[str]:
    for one in key.values:
        if "anyOf" in one:
            low, high = one["anyOf"][0]["minimum"], one["anyOf"][0]["maximum"]
            is_amount = one["anyOf"][0]["type"] == "integer"
            yield f"{low} to {high}, or as `512M`" if is_amount else f"a duration from {low:g} to {high:g} s"
        elif "enum" in one:
            yield ", ".join(
                f"`{word}`" for word in one["enum"] if word.removeprefix("SIG") not in one["enum"] or word[:3] != "SIG"
            )
        elif one["type"] in ("integer", "number"):
            yield f"{'a whole number' if one['type'] == 'integer' else 'a number'} from {one['minimum']} to {one['maximum']}"
        else:
            yield {"string": "a text", "boolean": "`true`, `false`", "array": "a list"}[one["type"]]
    if key.children or key.entries:
        yield "a mapping"
    elif key.item or not key.values:
        yield "a list" if key.item else "a text"


def _usual(values: list[dict[str, Any]]) -> str:
    import json

    found = [one["default"] for one in values if one.get("default") not in (None, "", [])]
    if not found:
        return ""
    return (
        f"`{found[0]:g}`"
        if isinstance(found[0], float)
        else f"`{found[0] if isinstance(found[0], str) else json.dumps(found[0])}`"
    )


def plan_schema() -> str:
    """What `millrace supervise schema` prints."""
    import json

    from millrace.supervisor.plan_document import keys
    from millrace.supervisor.plans.schema import schema

    return json.dumps(schema(keys()), indent=2, ensure_ascii=False) + "\n"


def openapi() -> str:
    """The description that a master serves."""
    import millrace
    from millrace.api.openapi import document

    return document(millrace.__version__).decode()


def supervise_openapi() -> str:
    """The description that a supervisor serves."""
    import millrace
    from millrace.supervisor.control.description import document

    return document(millrace.__version__).decode()


PAGES: dict[str, Callable[[], str]] = {
    "states.md": states,
    "settings.md": settings,
    "commands.md": commands,
    "profiles.md": profiles,
    "failures.md": failures,
    "metrics.md": metrics,
    "api.md": api,
    "openapi.json": openapi,
    "supervise-openapi.json": supervise_openapi,
    "plan.md": plan,
    "plan.schema.json": plan_schema,
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
            HERE.mkdir(exist_ok=True)
            page.write_text(text)
    if stale:
        print(f"stale: {', '.join(stale)}; run `make docs`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
