"""The profiles that come with Millrace: one YAML file for each kind of pool, with its variants."""

import functools
import importlib.resources
from collections.abc import Mapping

import msgspec
import yaml

from millrace.supervisor.tuning.values import Profile


@functools.cache
def profiles() -> Mapping[str, Profile]:
    """Every profile by its name: `php-fpm/medium`, or `generic` where a kind has one variant, `usual`."""
    found = {}
    for file in sorted((importlib.resources.files(__package__) / "profiles").iterdir(), key=lambda each: each.name):
        kind, dot, form = file.name.partition(".")
        if not dot or form != "yaml":
            continue
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        for variant, values in document["variants"].items():
            name = kind if variant == "usual" else f"{kind}/{variant}"
            found[name] = msgspec.convert({"variables": document["variables"], **values}, Profile)
    return found
