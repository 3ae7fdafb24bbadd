"""From the words of a setting to a blob store."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from millrace.blobs.local import LocalBlobs
from millrace.blobs.values import Blobs, BlobsRefused, check_prefix


def open_blobs(location: str | Path, *, environ: Mapping[str, str]) -> Blobs:
    """`s3://bucket/prefix?endpoint=http://host:port&region=...`, `file:///folder`, or a path.

    Keys for S3 are never part of a location, because locations are shown and logged: they come from AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of `environ`, as do AWS_ENDPOINT_URL and AWS_REGION where the location
    is silent. Raises BlobsRefused for anything that it does not understand.
    """
    if isinstance(location, Path) or "://" not in location:
        return LocalBlobs(Path(location))
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return LocalBlobs(Path(unquote(parts.path)))
    if parts.scheme != "s3" or not parts.hostname:
        raise BlobsRefused(f"cannot open {_shown(location)}: use a folder, or s3://bucket/prefix?endpoint=URL")
    if "@" in parts.netloc:
        raise BlobsRefused(
            f"cannot open {_shown(location)}: put the keys into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = sorted(set(options) - {"endpoint", "region", "virtual_hosted"})
    if unknown:
        raise BlobsRefused(
            f"cannot open {_shown(location)}: unknown option {unknown[0]}; use endpoint, region, virtual_hosted"
        )
    from millrace.blobs.s3 import S3Blobs, S3Config  # noqa: PLC0415  loads the S3 library

    return S3Blobs(
        S3Config(
            bucket=parts.netloc,
            prefix=check_prefix(unquote(parts.path).strip("/")),
            endpoint=options.get("endpoint") or environ.get("AWS_ENDPOINT_URL"),
            region=options.get("region") or environ.get("AWS_REGION") or "us-east-1",
            access_key_id=environ.get("AWS_ACCESS_KEY_ID"),
            secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY"),
            session_token=environ.get("AWS_SESSION_TOKEN"),
            virtual_hosted=options.get("virtual_hosted", "").lower() in ("1", "true", "yes"),
        )
    )


def _shown(location: str) -> str:
    """The location without what may be a secret."""
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
