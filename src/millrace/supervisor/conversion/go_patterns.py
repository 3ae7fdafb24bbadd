"""Regular expressions of Go (RE2 syntax, https://golang.org/s/re2syntax) as those of Python, where they differ."""

import re

_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7F", "blank": r"\t ", "cntrl": r"\x00-\x1F\x7F", "digit": "0-9",
    "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r"\t\n\v\f\r ", "upper": "A-Z",
    "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_CLASS = re.compile(r"\[:(\w+):\]")
_QUOTED = re.compile(r"\\Q(.*?)(?:\\E|\Z)", re.DOTALL)
_FLAGS = re.compile(r"\(\?([ims]+)\)")
_GROUP = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))", re.ASCII)


def pattern_of(go: str) -> str:
    r"""The same pattern for Python: `\Q...\E`, `\z`, `[[:alpha:]]`, and flags that begin in the middle."""
    text = _QUOTED.sub(lambda found: re.escape(found[1]), go)
    text = re.sub(r"(?<!\\)((?:\\\\)*)\\z", r"\1\\Z", text)
    text = _CLASS.sub(lambda found: _POSIX.get(found[1], found[0]), text)
    return _scoped(text)


def _scoped(text: str) -> str:
    """Flags in the middle hold until their group ends; Python wants them as a group of its own: `a(?i)b` is `a(?i:b)`."""
    found = next((one for one in _FLAGS.finditer(text) if one.start() and not _is_escaped(text, one.start())), None)
    if found is None:
        return text
    end = _end_of_group(text, found.end())
    inside = _scoped(f"_{text[found.end() : end]}")[1:]  # the sign keeps flags at its beginning in the middle
    return f"{text[: found.start()]}(?{found[1]}:{inside}){_scoped(f'_{text[end:]}')[1:]}"


def _end_of_group(text: str, start: int) -> int:
    depth, index, in_class = 0, start, False
    while index < len(text):
        sign = text[index]
        if sign == "\\":
            index += 2
            continue
        if in_class:
            in_class = sign != "]"
        elif sign == "[":
            in_class = True
            index += text[index + 1 : index + 2] == "^"
            index += text[index + 1 : index + 2] == "]"
        elif sign == "(":
            depth += 1
        elif sign == ")":
            if not depth:
                return index
            depth -= 1
        index += 1
    return len(text)


def _is_escaped(text: str, index: int) -> bool:
    return (index - len(text[:index].rstrip("\\"))) % 2 == 1


def replacement_of(go: str, pattern: str) -> str:
    """The same replacement here. In Go `$1x` is the group named 1x, and a group that is not there is the empty text."""
    try:
        compiled = re.compile(pattern)
    except re.error:
        return go
    names = {*compiled.groupindex, *map(str, range(1, compiled.groups + 1))}

    def one(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name is None:
            return "$$"
        return f"${{{name}}}" if name in names else ""

    return _GROUP.sub(one, go)
