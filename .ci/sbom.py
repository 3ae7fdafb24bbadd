"""Print what Millrace is made of, as a CycloneDX 1.6 document (https://cyclonedx.org/docs/1.6/json/): `make sbom`.

The libraries are those that the installed ones ask for, by their own metadata; versions and hashes are those that requirements.txt
pins. Native programs and libraries inside a wheel are listed where the wheel tells their version. The same tree gives the same
document, bit for bit.
"""

import json
import re
import sys
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"
NAME = "millrace"
_SPACE = uuid.UUID("6d1c3a52-53a1-5e6c-8a9d-3c9d9f0f6d6e")


def locked(path: Path = LOCK) -> dict[str, str]:
    """Each requirement of a lock file by its name, with all that stands to it."""
    entries = re.split(r"^(?=[a-z0-9])", path.read_text(), flags=re.MULTILINE)[1:]
    return {re.split(r"[=\[ ]", entry, maxsplit=1)[0]: entry for entry in entries}


def needed(*extras: str) -> dict[str, list[str]]:
    """Every library that Millrace needs on this machine with these extras, each with those that it needs itself."""
    found: dict[str, list[str]] = {}
    todo = [(NAME, frozenset(extras))]
    while todo:
        name, wanted = todo.pop()
        below = []
        for text in metadata.requires(name) or ():
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in wanted or {""}):
                below.append(_canonical(one.name))
                if below[-1] not in found:
                    found[below[-1]] = []
                    todo.append((below[-1], frozenset(one.extras)))
        found[name] = sorted({*found.get(name, ()), *below})
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def _licenses(name: str) -> list[dict[str, Any]]:
    said = metadata.metadata(name)
    if expression := said.get("License-Expression"):
        return [{"expression": expression}]
    names = [line.rpartition(" :: ")[2] for line in said.get_all("Classifier") or () if line.startswith("License :: ")]
    return [{"license": {"name": one}} for one in names or (said.get("License", "").splitlines() or ["unknown"])[:1]]


def _inside() -> Mapping[str, tuple[str, str, str]]:
    """Native parts of wheels: by the wheel the name, the version and the kind of what is inside."""
    import apsw
    import imageio_ffmpeg
    from cryptography.hazmat.backends.openssl import backend

    return {
        "apsw": ("sqlite", apsw.sqlite_lib_version(), "library"),
        "cryptography": ("openssl", backend.openssl_version_text().split()[1], "library"),
        "imageio-ffmpeg": ("ffmpeg", imageio_ffmpeg.get_ffmpeg_version(), "application"),
    }


def _component(name: str, entry: str, *, required: bool) -> dict[str, Any]:
    version = re.search(r"==([^\s;\\]+)", entry)
    if version is None:
        raise SystemExit(f"cannot list {name}: requirements.txt does not pin it; run `make lock`")
    purl = _purl(name, version[1])
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version[1],
        "scope": "required" if required else "optional",
        "licenses": _licenses(name),
        "purl": purl,
        "externalReferences": [
            {
                "type": "distribution",
                "url": purl,
                "hashes": [{"alg": "SHA-256", "content": one} for one in re.findall(r"sha256:([0-9a-f]{64})", entry)],
            }
        ],
    }
    if name in (inside := _inside()):
        part, its_version, kind = inside[name]
        generic = f"pkg:generic/{part}@{its_version}"
        made["components"] = [{"type": kind, "bom-ref": generic, "name": part, "version": its_version, "purl": generic}]
    return made


def document() -> dict[str, Any]:
    """The whole of it."""
    required, everything, entries = needed(), needed("otel"), locked()
    if missing := sorted(everything.keys() - entries.keys() - {NAME}):
        raise SystemExit(f"cannot list {', '.join(missing)}: requirements.txt does not pin them; run `make lock`")
    components = [
        _component(name, entries[name], required=name in required) for name in sorted(everything) if name != NAME
    ]
    refs = {one["name"]: one["bom-ref"] for one in components} | {NAME: _purl(NAME, metadata.version(NAME))}
    made = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": refs[NAME],
                "name": NAME,
                "version": metadata.version(NAME),
                "licenses": _licenses(NAME),
                "purl": refs[NAME],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": refs[name], "dependsOn": [refs[one] for one in below]} for name, below in sorted(everything.items())
        ],
    }
    number = uuid.uuid5(_SPACE, json.dumps(made, sort_keys=True))
    return {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "serialNumber": number.urn, **made}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=1, ensure_ascii=False) + "\n")
