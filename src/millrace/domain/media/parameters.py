"""The parameters that a job may give beside its profile: settings of every rendition, and how the work is divided."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.damage import OnDamage
from millrace.domain.media.profile import Profile
from millrace.domain.media.profile_document import ProfileError, profile_from, to_document
from millrace.domain.media.split import Chunking

VIDEO = ("codec", "height", "preset", "crf", "bitrate", "maxrate", "fps", "encoder")
"""Parameters that stand for the same key of every rendition's `video`."""
VMAF = "vmaf"
"""The parameter that stands for `quality.vmaf`."""
REPLACED = {
    "crf": ("bitrate", "mode", "passes", "quality"),
    "bitrate": ("crf", "quality"),
    VMAF: ("bitrate", "mode", "passes", "crf"),
}
"""What a parameter takes the place of."""
GENERATED = ("duration_s",)
CHUNKS = "chunks"
ON_DAMAGE = "on_damage"
ALLOWED = (*VIDEO, VMAF, *GENERATED, CHUNKS, ON_DAMAGE)
LONGEST_S = 3600


class ParameterError(Refused):
    """A parameter cannot be used: its name, and what is wrong with it and allowed."""

    def __init__(self, parameter: str, text: str) -> None:
        """The sentence joins the two."""
        super().__init__(FailureClass.REQUEST, f"Parameter {parameter} {text}.")
        self.parameter = parameter
        self.text = text


def with_parameters(profile: Profile, parameters: Mapping[str, Any]) -> tuple[Profile, Fraction | None]:
    """The profile as changed by the parameters, and the length of a generated clip where one is given (seconds).

    Raises:
        ParameterError: names the parameter and what is allowed.
    """
    unknown = sorted(set(parameters) - set(ALLOWED))
    if unknown:
        raise ParameterError(unknown[0], f"is unknown; allowed: {', '.join(ALLOWED)}")
    duration = _duration(parameters.get("duration_s"))
    chunking_of(parameters)
    profile = replace(profile, on_damage=on_damage_of(parameters, profile.on_damage))
    changes = {key: parameters[key] for key in (*VIDEO, VMAF) if key in parameters}
    if not changes:
        return profile, duration
    if not profile.renditions:
        raise ParameterError(next(iter(changes)), "needs a profile that makes video")
    document = to_document(profile)
    for rendition in document["renditions"]:
        video = rendition["video"]
        _change(video, changes)
    try:
        changed = profile_from(document)
    except ProfileError as error:
        path, text = error.findings[0]
        raise ParameterError(path.rsplit(".", 1)[-1], text) from error
    return replace(changed, name=profile.name), duration


def _change(video: dict[str, Any], changes: Mapping[str, Any]) -> None:
    if changes.get("codec", video["codec"]) != video["codec"]:
        # Presets and qualities of one codec mean nothing to another.
        for key in ("preset", "crf", "bit_depth", "level"):
            video.pop(key, None)
        for key in ("min_crf", "max_crf"):
            video.get("quality", {}).pop(key, None)
    for other in (other for key, others in REPLACED.items() if key in changes for other in others):
        video.pop(other, None)
    video.update({key: value for key, value in changes.items() if key != VMAF})
    if VMAF in changes:
        video["quality"] = {**video.get("quality", {}), "vmaf": changes[VMAF]}


def chunking_of(parameters: Mapping[str, Any]) -> Chunking:
    """Whether the job may be encoded in chunks. Raises ParameterError for another word than those of `Chunking`."""
    value = parameters.get(CHUNKS) or Chunking.AUTO
    if value not in tuple(Chunking):
        raise ParameterError(CHUNKS, f"is {value!r}; allowed: {', '.join(Chunking)}")
    return Chunking(value)


def on_damage_of(parameters: Mapping[str, Any], otherwise: OnDamage = OnDamage.FAIL) -> OnDamage:
    """What becomes of a damaged film; `otherwise` where the job does not say. Raises ParameterError for an unknown word."""
    value = parameters.get(ON_DAMAGE) or otherwise
    if value not in tuple(OnDamage):
        raise ParameterError(ON_DAMAGE, f"is {value!r}; allowed: {', '.join(OnDamage)}")
    return OnDamage(value)


def _duration(value: object) -> Fraction | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_S:
        raise ParameterError("duration_s", f"is {value!r}; allowed: a number of seconds from 0 to {LONGEST_S}")
    return Fraction(str(value))
