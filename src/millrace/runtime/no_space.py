"""Which errors of the system say that a disk, or somebody's share of it, is full."""

import errno

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
