"""What the master says is to be done, and what is known of its source."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.domain.media.damage import Damage, OnDamage
from millrace.domain.media.parameters import ON_DAMAGE
from millrace.domain.media.probe import Probe
from millrace.worker.failure import TaskFailedError


class Job(Struct, frozen=True, kw_only=True):
    """What the master says is to be done."""

    input: str | None
    output: str | None
    overwrite: bool
    engine: str
    profile: Mapping[str, object]
    parameters: Mapping[str, object]

    @property
    def on_damage(self) -> OnDamage:
        """What becomes of a damaged film, by the job or else by its profile; a word that is none is for the plan to refuse."""
        word = self.parameters.get(ON_DAMAGE) or self.profile.get(ON_DAMAGE)
        return OnDamage(str(word)) if word in tuple(OnDamage) else OnDamage.FAIL


class Film(Struct, frozen=True, kw_only=True):
    """What is known of a job's source: where it lies, what it is, and what damage was found in it. Nothing of a generated clip."""

    source: Path | None = None
    probe: Probe | None = None
    damage: Damage | None = None


def job_of(spec: Mapping[str, object]) -> Job:
    """Read a task's spec. Raises TaskFailedError, class `request`, for one that makes no sense."""
    profile, parameters = spec.get("profile"), spec.get("parameters") or {}
    if not isinstance(profile, Mapping) or not isinstance(parameters, Mapping):
        raise TaskFailedError(
            FailureClass.REQUEST, "cannot run the job: it names no profile, or its parameters are none"
        )
    engine = _text(spec, "engine") or "auto"
    return Job(
        input=_text(spec, "input"),
        output=_text(spec, "output"),
        overwrite=spec.get("overwrite") is True,
        engine="ffmpeg" if engine == "auto" else engine,
        profile=profile,
        parameters=parameters,
    )


def _text(spec: Mapping[str, object], name: str) -> str | None:
    value = spec.get(name)
    if value is not None and not isinstance(value, str):
        raise TaskFailedError(FailureClass.REQUEST, f"cannot run the job: its {name} is no text")
    return value
