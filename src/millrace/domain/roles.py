"""What somebody is to a server: the words. What each opens stands in `edge.access`."""

from enum import StrEnum


class Role(StrEnum):
    """What somebody is to a server."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    OPERATOR = "operator"
    ADMIN = "admin"
    WORKER = "worker"


OF_TENANTS = frozenset({Role.VIEWER, Role.SUBMITTER})
"""Roles that may be bound to one tenant. The others steer machines, which tenants share."""
