"""From bytes to a request's shape; what is wrong is said by field, with what would be right."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from millrace.edge.refusal import RefusalError, invalid
from millrace.wire.v1.problems import FieldError

MAX_DEPTH = 64
"""Nested arrays and objects in one body; nobody's profile is deeper, and a deeper one could not be written back."""

_MAX_INT = 2**63 - 1
_LONG = re.compile(rb"[0-9]{19}")
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_AT = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)
_ENUM = re.compile(r"^Invalid enum value (?P<value>.*)$", re.DOTALL)
_BYTE = re.compile(r"\(byte (?P<position>[0-9]+)\)")


def decoder(shape: Any) -> Callable[[bytes], Any]:
    """A function that decodes JSON into `shape`, or raises a RefusalError that names the field."""
    decode = msgspec.json.Decoder(shape).decode

    def read(body: bytes) -> Any:
        try:
            if (body.count(b"{") + body.count(b"[")) > MAX_DEPTH and _depth(body) > MAX_DEPTH:
                raise invalid(FieldError(field="", message=f"the JSON is nested deeper than {MAX_DEPTH} levels"))
            value = decode(body)
        except msgspec.ValidationError as error:
            raise invalid(field_error(str(error), shape)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _malformed(body, error) from None
        if b"\\u0000" in body or _LONG.search(body):
            _refuse_odd(msgspec.to_builtins(value), "")
        return value

    return read


def _malformed(body: bytes, error: Exception) -> RefusalError:
    if not body.strip():
        return RefusalError(400, "malformed", "cannot read the body: it is empty, and a JSON document was expected")
    try:
        text = body.decode()
    except UnicodeDecodeError as wrong:
        return RefusalError(400, "malformed", f"cannot read the body: it is no UTF-8 at byte {wrong.start}")
    found = _BYTE.search(str(error))
    if found is None:
        return RefusalError(400, "malformed", "cannot read the body: the JSON ends too early or holds a broken escape")
    before = text.encode()[: int(found["position"])].decode(errors="ignore")
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    reason = str(error).removeprefix("JSON is malformed: ").partition(" (byte")[0]
    return RefusalError(400, "malformed", f"cannot read the body: {reason} at line {line}, column {column}")


def field_error(message: str, shape: Any) -> FieldError:
    """What msgspec says of a body, by field: its dotted path, a sentence, and the allowed values."""
    found = _AT.match(message)
    what, path = (found["what"], found["path"] or "") if found else (message, "")
    path = path.replace("[...]", ".*").lstrip(".")
    node = _type_at(shape, path)
    if unknown := _UNKNOWN.match(what):
        return FieldError(
            field=_join(path, unknown["name"][:80]),
            message="there is no such field",
            allowed=[field.encode_name for field in getattr(node, "fields", ())],
        )
    if missing := _MISSING.match(what):
        return FieldError(field=_join(path, missing["name"]), message="is missing")
    allowed = _values(node)
    if found is not None and found["key"]:
        what = f"a key is wrong: {what[0].lower()}{what[1:]}"
    elif enum := _ENUM.match(what):
        what = f"{enum['value'][:80]} is none of the allowed values"
    else:
        what = what[0].lower() + what[1:]
    return FieldError(field=path, message=what, allowed=allowed)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@lru_cache(maxsize=128)
def _type_info(shape: Any) -> Any:
    return msgspec.inspect.type_info(shape)


def _type_at(shape: Any, path: str) -> Any:
    """What msgspec.inspect knows of the type at a dotted path; None where the path leaves the known."""
    node = _bare(_type_info(shape))
    for part in [part for part in re.split(r"[.\[\]]+", path) if part]:
        inner: Any = None
        if isinstance(node, msgspec.inspect.StructType):
            inner = next((field.type for field in node.fields if field.encode_name == part), None)
        elif isinstance(node, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
            inner = node.item_type
        elif isinstance(node, msgspec.inspect.DictType):
            inner = node.value_type
        if inner is None:
            return None
        node = _bare(inner)
    return node


def _bare(node: Any) -> Any:
    """The type without its metadata, and without `| None`."""
    while isinstance(node, msgspec.inspect.Metadata):
        node = node.type
    if isinstance(node, msgspec.inspect.UnionType):
        others = [one for one in node.types if not isinstance(one, msgspec.inspect.NoneType)]
        if len(others) == 1:
            return _bare(others[0])
    return node


def _values(node: Any) -> list[str]:
    if isinstance(node, msgspec.inspect.EnumType):
        return [str(member.value) for member in node.cls]
    if isinstance(node, msgspec.inspect.LiteralType):
        return [str(value) for value in node.values]
    return []


def _depth(body: bytes) -> int:
    depth = deepest = 0
    for found in _NESTING.finditer(body):
        token = found[0]
        if token in (b"{", b"["):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"}", b"]"):
            depth -= 1
    return deepest


def _refuse_odd(value: object, path: str) -> None:
    """Refuse what no database keeps: a NUL in a text, a number beyond 64 bits."""
    if isinstance(value, str) and "\0" in value:
        raise invalid(FieldError(field=path, message="holds a NUL character"))
    if isinstance(value, int) and not -_MAX_INT <= value <= _MAX_INT:
        raise invalid(FieldError(field=path, message="is beyond 64 bits"))
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str) and "\0" in key:
                raise invalid(FieldError(field=path, message="a key holds a NUL character"))
            _refuse_odd(inner, _join(path, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _refuse_odd(inner, f"{path}[{index}]")
