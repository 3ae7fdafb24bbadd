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
    CANCELED = "canceled"  # a person, or the farm on a person's behalf, stopped it

    @property
    def sentence(self) -> str:
        """One sentence for a user, for when nothing more exact is known."""
        return _SENTENCES[self]


_SENTENCES = {
    FailureClass.INPUT: "The input cannot be read as a complete video or audio file; check that it plays from start to end.",
    FailureClass.REQUEST: "What was asked for cannot be done; correct the profile or the parameters.",
    FailureClass.CAPABILITY: "This machine lacks something that the job needs; run it on a machine that has it.",
    FailureClass.RESOURCE: "The machine ran out of memory or processes; run fewer jobs on it or use a smaller profile.",
    FailureClass.DISK: "The machine cannot write its output; free space on the disk or correct its permissions.",
    FailureClass.NETWORK: "A connection failed on the way; check that the address answers.",
    FailureClass.OUTPUT: "What was made does not match the plan; the job's log has the details.",
    FailureClass.STALLED: "The engine stopped making progress and was ended.",
    FailureClass.TIMEOUT: "The job took longer than its time limit; raise timeout_s or use a faster preset.",
    FailureClass.LOST: "The machine that ran the job vanished before the end.",
    FailureClass.ENGINE: "The engine failed for an unknown reason; the job's log has its last words.",
    FailureClass.OUTPUT_EXISTS: "The output exists already; choose another one or allow overwriting.",
    FailureClass.CANCELED: "The job was canceled.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt or a job failed; `message` is one sentence that a user can act on."""

    failure_class: FailureClass
    message: str


class Refused(Exception):  # noqa: N818  # a refusal is an answer, not an error of the program
    """What was asked for cannot be done rightly, so nothing was started."""

    def __init__(self, failure_class: FailureClass, sentence: str) -> None:
        """Keep the class and the sentence that a user reads."""
        super().__init__(sentence)
        self.failure_class = failure_class
        self.sentence = sentence
