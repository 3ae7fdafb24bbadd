"""From an exit status and a log tail to a failure class and a sentence."""

import re

from millrace.domain.failures import Failure, FailureClass
from millrace.engines.ffmpeg.signatures import SHORT_OF_MEMORY, SIGNATURES

ASKED_TO_END = (255, 0, -15, -2, -9)
"""FFmpeg ends with 255 after SIGINT or SIGTERM (but also when an encoder does not open), and may end with 0."""
SIGNALS = {
    -9: (FailureClass.LOST, "The engine was killed, by a person or for want of memory."),
    -25: (FailureClass.OUTPUT, "A file of the output grew larger than what was planned could be without compression."),
    -24: (FailureClass.RESOURCE, "The engine used up the CPU time that it was allowed."),
    -11: (FailureClass.ENGINE, "The engine crashed."),
    -6: (FailureClass.ENGINE, "The engine crashed."),
    -4: (FailureClass.CAPABILITY, "The engine uses instructions that this machine's processor does not have."),
}
ERRNO = {
    # FFmpeg 6 and later end with (-errno) & 255; older versions end with 1 for everything.
    228: (FailureClass.DISK, "The disk is full; free space on this machine."),
    244: (FailureClass.RESOURCE, SHORT_OF_MEMORY),
    145: (FailureClass.NETWORK, "A connection was refused; check that the server runs."),
    146: (FailureClass.NETWORK, "A connection was silent for too long."),
    152: (FailureClass.NETWORK, "A connection broke before the end."),
    254: (FailureClass.INPUT, "The input does not exist; check its path."),
    243: (FailureClass.INPUT, "The input does not let itself be read; check its permissions."),
    183: (FailureClass.INPUT, "The input is damaged or no media file."),
}
CONFESSIONS = re.compile(
    r"corrupt (?:decoded frame|input packet)|Packet corrupt|partial file|File ended prematurely|Stream ends prematurely"
    r"|Error during demuxing|error while decoding|No space left on device|misdetection possible|Decoding error|already exists\. Exiting"
)
"""Lines after which an exit status of 0 is a lie (reference: truncated and rotten inputs, reset connections)."""


def failure(exit_status: int, log_tail: str, *, signalled: bool) -> Failure:
    """Class an ending. What the log says comes before the exit status: statuses differ between versions and often lie."""
    if signalled and exit_status in ASKED_TO_END:
        return _failure(FailureClass.CANCELED, "The engine was asked to end.")
    if exit_status in SIGNALS:
        # The log of a killed child ends anywhere; nothing in it tells why.
        return _failure(*SIGNALS[exit_status])
    log = _undescribed(log_tail.splitlines())
    # Before version 7, encoders complain between the description and the mapping, and the status is 1 whatever happens.
    by_number = _failure(*ERRNO[exit_status]) if exit_status in ERRNO else None
    return _known(messages(log_tail)) or by_number or _known(log) or _by_status(exit_status, log)


def messages(log: str) -> str:
    """The log without the descriptions of inputs and outputs: titles and names in them must not look like messages.

    What stands between the first input and the mapping of streams describes: a tag's name may hold a line end, so there lines that
    look like messages may be the file's.
    """
    lines = log.splitlines()
    begin = next((at for at, line in enumerate(lines) if line.startswith("Input #")), len(lines))
    end = max((at for at, line in enumerate(lines) if line.startswith("Stream mapping:")), default=begin)
    return _undescribed([*lines[:begin], *lines[max(begin, end) :]])


def _undescribed(lines: list[str]) -> str:
    return "\n".join(line for line in lines if not line.startswith((" ", "Input #", "Output #")))


def _by_status(exit_status: int, log_tail: str) -> Failure:
    if exit_status < 0 or exit_status == ASKED_TO_END[0] or "received signal" in log_tail:
        return _failure(FailureClass.LOST, f"The engine was ended by a signal (status {exit_status}).")
    last = _last_words(log_tail)
    return _failure(
        FailureClass.ENGINE,
        f"The engine failed with status {exit_status}" + (f": {last}." if last else " and said nothing."),
    )


def suspicion(log_tail: str) -> Failure | None:
    """What a log confesses although the engine ended with 0."""
    log = messages(log_tail)
    if not CONFESSIONS.search(log):
        return None
    return _known(log) or _failure(FailureClass.INPUT, "The input could not be read to its end.")


def _known(log: str) -> Failure | None:
    for signature in SIGNATURES:
        if signature.is_in(log):
            return _failure(signature.failure_class, signature.sentence)
    return None


def _failure(failure_class: FailureClass, sentence: str) -> Failure:
    return Failure(failure_class=failure_class, message=sentence)


def _last_words(log: str) -> str:
    """The last line that says something, without FFmpeg's `[part @ 0x...]` marks and at most 200 characters."""
    for line in reversed(log.splitlines()):
        text = re.sub(r"^(\[[^\]]*\]\s*)+", "", line).strip().rstrip(".")
        if text and text != "Conversion failed!":
            return text[:200]
    return ""
