"""The classes a failure can have, and what each one means for the person who asked.

Which classes are worth another attempt is decided in `millrace.domain.retry`; here is only what they mean.
"""

from enum import StrEnum

from msgspec import Struct


class FailureClass(StrEnum):
    """Why an attempt did not end in a checked output. `sentence` tells a user what to do about it."""

    INPUT = "input"
    """The source cannot be read or is damaged: the same bytes fail on every machine."""
    REQUEST = "request"
    """The profile, a parameter or a destination asks for what can never work."""
    CAPABILITY = "capability"
    """This node lacks an encoder, filter or engine that another node may have."""
    RESOURCE = "resource"
    """This node ran out of memory, processes or CPU time for the engine."""
    DISK = "disk"
    """A disk of this node (scratch or output) is full, or does not let itself be written."""
    NETWORK = "network"
    """A connection was refused, reset, cut short, or a name did not resolve."""
    STALLED = "stalled"
    """The engine ran but made no progress."""
    TIMEOUT = "timeout"
    """The job's own time limit passed, or that of reading what the input is."""
    LOST = "lost"
    """The worker or its engine vanished (killed, rebooted, lease expired)."""
    OUTPUT = "output"
    """What was made does not match the plan, so it was not published."""
    ENGINE = "engine"
    """The engine failed, or its output failed the check, for a reason that no rule here knows."""
    OUTPUT_EXISTS = "output_exists"
    """The destination is taken and overwriting was not asked for."""
    CANCELED = "canceled"
    """A person, or the farm on a person's behalf, stopped it."""

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
    FailureClass.STALLED: "The engine stopped making progress and was ended.",
    FailureClass.TIMEOUT: "The job took longer than its time limit; raise timeout_s or use a faster preset.",
    FailureClass.LOST: "The machine that ran the job vanished before the end.",
    FailureClass.OUTPUT: "What was made did not pass its checks and was not published; the job's log says which.",
    FailureClass.ENGINE: "The engine failed for an unknown reason; the job's log has its last words.",
    FailureClass.OUTPUT_EXISTS: "The output exists already; choose another one or allow overwriting.",
    FailureClass.CANCELED: "The job was canceled.",
}


class Failure(Struct, frozen=True, kw_only=True):
    """Why a command, an attempt or a job failed; `message` is one sentence that a user can act on."""

    failure_class: FailureClass
    message: str


class Refused(Exception):  # noqa: N818  # a refusal is an answer, not an error of the program
    """What was asked for cannot be done rightly, so nothing was started."""

    def __init__(self, failure_class: FailureClass, sentence: str) -> None:
        """Keep the class and the sentence that a user reads."""
        super().__init__(sentence)
        self.failure_class = failure_class
        self.sentence = sentence
