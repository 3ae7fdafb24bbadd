"""What all shapes share."""

from typing import Annotated

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Labels = Annotated[
    dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9._/-]+$(?!\n)")],
        Annotated[str, msgspec.Meta(max_length=200)],
    ],
    msgspec.Meta(max_length=64),
]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
MOST_ATTEMPTS = 2**31 - 1
"""What an `integer` of PostgreSQL holds."""
MOST_TASKS = 999_999
"""Of a job, more than any was ever divided into."""
Attempt = Annotated[int, msgspec.Meta(ge=1, le=MOST_ATTEMPTS)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Document = dict[str, object]


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What comes in: an unknown field is an error that names it."""


class Reply(msgspec.Struct, kw_only=True):
    """What goes out: a reader ignores fields that it does not know."""
