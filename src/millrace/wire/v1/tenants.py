"""Tenants: their quotas, and the places that their jobs may name."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from millrace.wire.v1.base import Reply, Request

Limit = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Weight = Annotated[int, msgspec.Meta(ge=1, le=100)]
Place = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Places = Annotated[list[Place], msgspec.Meta(max_length=64)]


class TenantRequest(Request):
    """What is said of a tenant. What is left out stays as it is; a limit that is null is none."""

    concurrent: Annotated[Limit | None, msgspec.Meta(description="Tasks that run at the same time; further ones wait.")] | UnsetType = UNSET  # fmt: skip
    queued: Annotated[Limit | None, msgspec.Meta(description="Jobs that have not ended.")] | UnsetType = UNSET
    per_day: Annotated[Limit | None, msgspec.Meta(description="Jobs accepted since midnight UTC.")] | UnsetType = UNSET
    storage_bytes: Annotated[Limit | None, msgspec.Meta(description="Bytes of uploads and of outputs that the master keeps.")] | UnsetType = UNSET  # fmt: skip
    weight: Annotated[Weight, msgspec.Meta(description="How many of its jobs run for one of another tenant, where both wait.")] | UnsetType = UNSET  # fmt: skip
    inputs: Annotated[Places, msgspec.Meta(description="Folders and URL prefixes that jobs may name as inputs; none for any.", examples=[["/media/acme", "s3://films/acme"]])] | UnsetType = UNSET  # fmt: skip
    outputs: Annotated[Places, msgspec.Meta(description="The same for outputs.")] | UnsetType = UNSET


class QuotaView(Reply):
    """A limit (null: none) and how much of it is used."""

    limit: int | None
    used: int


class QuotasView(Reply):
    """What is limited: tasks that run, jobs that have not ended, jobs accepted since midnight UTC, bytes that are kept."""

    concurrent: QuotaView
    queued: QuotaView
    per_day: QuotaView
    storage_bytes: QuotaView


class TenantView(Reply):
    """A tenant as it stands. `by_default`: nobody said anything of it, and it has the limits of the settings."""

    tenant: str
    quotas: QuotasView
    inputs: list[str]
    outputs: list[str]
    by_default: bool
    changed: datetime
    weight: int = 1


class TenantList(Reply):
    """Tenants of which there is a record, by name."""

    tenants: list[TenantView]
