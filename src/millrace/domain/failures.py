"""Why work fails: one class for each reaction, each with a sentence for the person who asked for the work."""

from dataclasses import dataclass
from enum import StrEnum


class FailureClass(StrEnum):
    """What went wrong, named by who can mend it."""

    INPUT = "input"  # the input is missing, empty, damaged or no video
    REQUEST = "request"  # the profile or a parameter asks for what cannot be
    CAPABILITY = "capability"  # no machine has what the job needs
    OUTPUT_EXISTS = "output_exists"  # the destination is taken and overwriting was not asked for
    OUTPUT = "output"  # what was produced does not match the plan
    ENGINE = "engine"  # the engine failed for no known reason
    NETWORK = "network"  # a peer refused, timed out or broke off
    RESOURCE = "resource"  # memory, an encoder session or a device was not to be had
    DISK = "disk"  # no space in scratch or at the destination
    STALLED = "stalled"  # the engine made no progress
    TIMEOUT = "timeout"  # the job's own time limit passed
    LOST = "lost"  # the worker fell silent or was killed


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt or a job failed; `message` is one sentence that a user can act on."""

    failure_class: FailureClass
    message: str
