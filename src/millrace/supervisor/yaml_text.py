"""From YAML text to plain data: variables filled in, the line of every value known."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import yaml
from msgspec import Struct, field

from millrace.supervisor.plans.text_file import MAX_CHARS

Findings = list[tuple[str, str]]

_WORDS = (
    ("null", r"(?:~|null|Null|NULL|)\Z", ("~", "n", "N", "")),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", tuple("tTfF")),
    ("int", r"[-+]?[0-9]+\Z", tuple("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", tuple("-+.0123456789")),
)
"""The core schema of YAML 1.2.2, 10.3.2, without octal and hexadecimal numbers and infinities."""

_TEXTS = re.compile(r"\.command\[\d+\]\Z|\.env\.[^.]+\Z|\Aprocesses\.[^.]+\.(?:umask|user|group)\Z")
"""Paths of what is a text however it looks: an argument `010` stays what it is, and so does a umask."""
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:-|:\?)(?P<word>[^}]*))?\})")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain words: `off` is a text, `010` is ten, `22:22` is no number. No aliases: nested ones grow without end."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]  # as PyYAML has it

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError) as error:  # what its own constructors raise for `!!bool maybe`
            problem = f"holds what is no {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error


for _tag, _form, _first in _WORDS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_form), _first)


def _plain_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _plain_int)


class Text(Struct):
    """What a text holds: the document (None where it is none), the line (from 1) of each path such as
    `processes.web.command[0]`, the paths of values that hold variables, and what is wrong.
    """

    document: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)
    findings: Findings = field(default_factory=list)


class _Foreign(_Loader):
    """Other programs' YAML, in which anchors, aliases and `<<` are usual."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        return yaml.SafeLoader.compose_node(self, parent, index)


_Foreign.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])


def foreign(text: str) -> Any:
    """Another program's YAML as data, its variables as they stand.

    Raises:
        ValueError: it is no YAML; says where.
    """
    try:
        return yaml.load(text, _Foreign)  # noqa: S506  a safe loader
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise ValueError(f"it is no valid YAML{line}: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it {_why(error)}") from error


class _Writer(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  PyYAML's signature
        return True


for _tag, _form, _first in _WORDS:
    _Writer.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_form), _first)


def written(document: Any) -> str:
    """A document as YAML, its innermost lists and mappings in one line each; what looks like a number is quoted."""
    return yaml.dump(document, Dumper=_Writer, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def written_open(document: Any) -> str:
    """As :func:`written`, a value a line, so that a text that is one `${VARIABLE}` stands without quotes and may become a number."""
    return yaml.dump(document, Dumper=_Writer, sort_keys=False, default_flow_style=False, width=120, allow_unicode=True)


def _loader(text: str) -> _Loader:
    try:
        return _Loader(text)
    except yaml.reader.ReaderError as error:  # it looks at the whole text at once
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"is no valid YAML in line {line}: it holds a control character") from None


def _why(error: Exception) -> str:
    too_deep = isinstance(error, RecursionError)
    return "is nested too deeply; a plan needs no more than ten levels" if too_deep else f"is no valid YAML: {error}"


def node_in(text: str) -> yaml.Node:
    """The nodes of a text, its variables as they stand and its scalars in the style in which they are written.

    Raises:
        ValueError: it is no YAML, or empty; a phrase that says where.
    """
    loader = _loader(text)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise ValueError(f"is no valid YAML{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(_why(error)) from None
    finally:
        loader.dispose()
    if node is None:
        raise ValueError("is empty")
    return node


def spelled(node: yaml.Node) -> str:
    """Nodes as a text that reads as the same again; comments are lost.

    Raises:
        ValueError: they are nested too deeply to be written.
    """
    try:
        return str(yaml.serialize(node, Dumper=_Writer, width=120, allow_unicode=True))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"cannot be written again: {error}") from None


def document_of(node: yaml.Node) -> Any:
    """Nodes as data, their variables as they stand.

    Raises:
        ValueError: something in them is no plain data.
    """
    try:
        return _Loader("").construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"is no plain data: {error}") from None


def read(text: str, environ: Mapping[str, str]) -> Text:
    """The document in a YAML text.

    `${NAME}` in a value stands for a variable (empty where it is not set), `${NAME:-word}` gives a word for one that is
    unset or empty, `${NAME:?word}` refuses that with the word, `$$` is a dollar. They are filled in after the text was
    parsed, so no variable can change what the document is made of; an unquoted one still becomes a number where it is one.
    """
    if len(text) > MAX_CHARS:
        return Text(findings=[("", f"the plan is longer than {MAX_CHARS} characters")])
    try:
        loader = _loader(text)
    except ValueError as error:
        return Text(findings=[("", str(error))])
    found = Text()
    try:
        root = loader.get_single_node()
        if root is None:
            return Text(findings=[("", "the plan is empty")])
        _Walk(loader, found, environ).visit(root, "")
        found.document = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" in line {mark.line + 1}" if mark is not None else ""
        return Text(findings=[("", f"is no valid YAML{line}: {error.problem}")])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Text(findings=[("", _why(error))])
    finally:
        loader.dispose()
    return found


class _Walk(Struct, frozen=True):
    """Goes through a document's nodes before they become data."""

    loader: _Loader
    found: Text
    environ: Mapping[str, str]

    def visit(self, node: yaml.Node, path: str) -> None:
        self.found.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            self._fill(node, path)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, f"{path}[{index}]")
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                name, line = str(key.value), key.start_mark.line + 1
                inner = f"{path}.{name}" if path else name
                self.found.lines.setdefault(inner, line)
                if name in seen:
                    self.found.findings.append((inner, f"stands twice, again in line {line}; keep one"))
                seen.add(name)
                self.visit(value, inner)

    def _fill(self, node: yaml.ScalarNode, path: str) -> None:
        def value(found: re.Match[str]) -> str:
            if found["name"] is None:
                return "$"
            self.found.filled.add(path)
            known = self.environ.get(found["name"], "")
            if known or not found["how"]:
                return known
            if found["how"] == ":?":
                self.found.findings.append(
                    (path, f"needs the variable {found['name']}: {found['word'] or 'it is not set'}")
                )
            return found["word"]

        filled = _VARIABLE.sub(value, node.value)
        if _TEXTS.search(path):
            node.tag = "tag:yaml.org,2002:str"
        elif filled != node.value and node.style is None:
            node.tag = self.loader.resolve(yaml.ScalarNode, filled, (True, False))  # type: ignore[no-untyped-call]  # see above
        node.value = filled
