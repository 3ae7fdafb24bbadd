"""Identifiers: sortable by time, and never mistaken for a sequence number because each begins with a letter.

The layout is that of UUIDv7 (RFC 9562, 5.7), 48 bits of milliseconds and 80 random bits, written as hexadecimal.
"""

import re

_JOB_ID = re.compile(r"j[0-9a-f]{32}")
_TASK_ID = re.compile(r"j[0-9a-f]{32}\.[0-9]{1,6}")
_NODE_ID = re.compile(r"n[0-9a-f]{32}")
_KEY_ID = re.compile(r"k[0-9a-f]{32}")


def _sortable(prefix: str, now_ms: int, random: bytes) -> str:
    return f"{prefix}{now_ms & (1 << 48) - 1:012x}{random[:10].hex()}"


def job_id(now_ms: int, random: bytes) -> str:
    """A job's id from the time in milliseconds and ten random bytes."""
    return _sortable("j", now_ms, random)


def node_id(now_ms: int, random: bytes) -> str:
    """A node's id from the time in milliseconds and ten random bytes."""
    return _sortable("n", now_ms, random)


def key_id(now_ms: int, random: bytes) -> str:
    """An API key's id from the time in milliseconds and ten random bytes."""
    return _sortable("k", now_ms, random)


def webhook_id(now_ms: int, random: bytes) -> str:
    """A webhook's id from the time in milliseconds and ten random bytes."""
    return _sortable("w", now_ms, random)


def master_id(now_ms: int, random: bytes) -> str:
    """A master's id from the time in milliseconds and ten random bytes."""
    return _sortable("m", now_ms, random)


def batch_id(now_ms: int, random: bytes) -> str:
    """A batch's id from the time in milliseconds and ten random bytes."""
    return _sortable("b", now_ms, random)


def schedule_id(now_ms: int, random: bytes) -> str:
    """A schedule's id from the time in milliseconds and ten random bytes."""
    return _sortable("s", now_ms, random)


def task_id(job: str, index: int) -> str:
    """The id of a job's task, counted from 1."""
    return f"{job}.{index}"


def job_of(task: str) -> str:
    """The job that a task belongs to."""
    return task.partition(".")[0]


def position_of(task: str) -> int:
    """The position of a task in its job, from 1."""
    return int(task.partition(".")[2])


def is_lead(task: str) -> bool:
    """Whether it is the id of a job's first task, which stands for the job."""
    return task.partition(".")[2] == "1"


def is_job_id(text: str) -> bool:
    """Whether the text has the form of a job's id."""
    return _JOB_ID.fullmatch(text) is not None


def is_task_id(text: str) -> bool:
    """Whether the text has the form of a task's id."""
    return _TASK_ID.fullmatch(text) is not None


def is_node_id(text: str) -> bool:
    """Whether the text has the form of a node's id."""
    return _NODE_ID.fullmatch(text) is not None


def is_key_id(text: str) -> bool:
    """Whether the text has the form of an API key's id."""
    return _KEY_ID.fullmatch(text) is not None
