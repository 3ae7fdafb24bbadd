"""Find the route of a path: a tree of segments, so that the cost does not grow with the number of routes."""

from typing import Generic, TypeVar
from urllib.parse import unquote

from millrace.edge.refusal import not_found

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("methods", "named", "parameter", "rest", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.named = ""
        self.rest: _Node[T] | None = None
        self.methods: dict[str, T] = {}


class Tree(Generic[T]):
    """What stands at each path, by method. A literal segment goes before a parameter, a parameter before a rest."""

    def __init__(self) -> None:
        """Nothing stands anywhere yet."""
        self._root: _Node[T] = _Node()

    def add(self, method: str, path: str, value: T) -> None:
        """Put `value` at a path such as `/v1/jobs/{ref}` or `/v1/jobs/{ref}/outputs/{name*}`.

        Raises:
            ValueError: something stands there already, or two paths name the same parameter differently.
        """
        node = self._root
        for segment in path.split("/")[1:]:
            if segment.endswith("*}"):
                node.rest = node.rest or _Node()
                node = _named(node.rest, segment[1:-2], path)
            elif segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = _named(node.parameter, segment[1:-1], path)
            else:
                node = node.words.setdefault(segment, _Node())
        if method in node.methods:
            raise ValueError(f"cannot add {method} {path}: it is there already")
        node.methods[method] = value

    def find(self, path: str) -> tuple[dict[str, T], dict[str, str]] | None:
        """What stands at a (still percent-encoded) path, by method, and the parameters; None where nothing does."""
        node, parameters = self._root, {}
        segments = path.split("/")
        for index in range(1, len(segments)):
            segment = segments[index]
            if (word := node.words.get(segment)) is not None:
                node = word
            elif node.parameter is not None and segment:
                node = node.parameter
                parameters[node.named] = _plain(segment)
            elif node.rest is not None and segment:
                node = node.rest
                parameters[node.named] = "/".join(_plain(part) for part in segments[index:])
                break
            else:
                return None
        return (node.methods, parameters) if node.methods else None


def _named(node: _Node[T], name: str, path: str) -> _Node[T]:
    if node.named not in ("", name):
        raise ValueError(f"cannot add {path}: this segment is called {node.named} elsewhere")
    node.named = name
    return node


def _plain(segment: str) -> str:
    if "%" not in segment:
        if segment.isascii() and segment.isprintable():
            return segment
        raise not_found("there is nothing at this path: it holds what no name here holds")
    try:
        text = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        text = "\0"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise not_found("there is nothing at this path: it holds what no name here holds")
    return text
