"""Whether a place (a folder, a bucket's prefix, a part of a web site) holds a location. Pure, and by name alone.

Of a path below a folder it is not known here whether a link on the way leads out of it: that is for the worker that opens it.
"""

from urllib.parse import unquote, urlsplit

_PORTS = {"http": 80, "https": 443}
_DECODED = 4
"""So often a percent sign may be encoded again before a location counts as one that nobody would write in good faith."""


def holds(place: str, location: str) -> bool:
    """Whether the location is the place, or lies below it.

    Segments are compared whole, so that `/media/acme` does not hold `/media/acme-2`. A location that could mean another one to
    who opens it (`..`, however it is spelled; a user before the host) is held by nothing.
    """
    outer, inner = _parts(place), _parts(location)
    if outer is None or inner is None:
        return False
    return outer[:2] == inner[:2] and inner[2][: len(outer[2])] == outer[2]


def _parts(location: str) -> tuple[str, str, tuple[str, ...]] | None:
    """The scheme (empty for a path), the host with its port or the bucket, and the segments below; None for what is not clear."""
    if location.startswith("/"):
        return _with_segments("", "", location)
    try:
        parts = urlsplit(location)
        port = parts.port
    except ValueError:
        return None
    if "@" in parts.netloc or "\\" in location:
        return None
    if parts.scheme not in _PORTS:
        return _with_segments(parts.scheme, parts.netloc, parts.path)
    host = f"{parts.hostname or ''}:{port or _PORTS[parts.scheme]}"
    return _with_segments(parts.scheme, host, _decoded(parts.path))


def _decoded(path: str) -> str:
    for _ in range(_DECODED):
        path, before = unquote(path), path
        if path == before:
            return path
    return "/.."


def _with_segments(scheme: str, host: str, path: str) -> tuple[str, str, tuple[str, ...]] | None:
    segments = tuple(part for part in path.split("/") if part not in {"", "."})
    return None if ".." in segments or "\\" in path else (scheme, host, segments)
