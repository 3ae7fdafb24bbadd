"""What a master keeps, and where it listens."""

import ctypes
import os
import shutil
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millrace.blobs.location import open_blobs
from millrace.config.errors import SettingError
from millrace.config.settings import MasterSettings
from millrace.programs import api_key
from millrace.programs.doctor.finding import Look, failed, skipped, warning
from millrace.programs.doctor.places import nearest
from millrace.programs.http.listen import ListenError, check_certificate, is_loopback, listen
from millrace.programs.http.tls import end_of
from millrace.programs.master import BLOBS

LOW_MB = 1000
SLOW_FSYNC_S = 0.05
SOON_S = 14 * 86_400
_SHARED = {0x6969: "NFS", 0x517B: "SMB", 0xFF534D42: "CIFS", 0xFE534D42: "SMB2", 0x01021997: "9p", 0x65735546: "FUSE"}
"""File systems whose locks or syncs SQLite should not rely on, by the number that statfs(2) gives."""


class MasterLook:
    """The folder, the key, the address and the files of a master."""

    def __init__(self, settings: MasterSettings) -> None:
        """Nothing is looked at yet."""
        self._settings = settings
        self._data = settings.data.absolute()

    def checks(self) -> Mapping[str, Look]:
        """In the order of the report."""
        return {
            "master.data-folder": self._folder,
            "master.space": self._space,
            "master.file-system": self._file_system,
            "master.sync": self._sync,
            "master.key": self._key,
            "master.address": self._address,
            "master.port": self._port,
            "master.certificate": self._certificate,
            "master.certificate-end": self._certificate_end,
            "master.leases": self._leases,
            "files.place": self._files_place,
            "files.round-trip": self._round_trip,
        }

    async def _folder(self) -> str:
        if not self._data.exists():
            raise skipped(f"{self._data} is made at the first start")
        if not self._data.is_dir():
            raise failed(f"{self._data} is no folder", "name another with --data")
        if not os.access(self._data, os.W_OK | os.X_OK):
            raise failed(
                f"{self._data} cannot be written to", f"let this user write there: chown {os.getuid()} {self._data}"
            )
        if stat.S_IMODE(self._data.stat().st_mode) & 0o077:
            raise warning(f"{self._data} is open to others", f"chmod 700 {self._data}")
        return f"{self._data} is private and can be written to"

    async def _space(self) -> str:
        folder = nearest(self._data)
        usage = shutil.disk_usage(folder)
        text = f"{usage.free / 1e9:.1f} GB free at {folder}"
        if usage.free < LOW_MB * 1e6:
            raise warning(text, "free some, or move the data folder: a full disk refuses jobs with 507")
        return text

    async def _file_system(self) -> str:
        if self._settings.store:
            raise skipped("jobs are kept in PostgreSQL")
        name = _SHARED.get(_kind_of(nearest(self._data)))
        if name is not None:
            raise failed(
                f"the data folder lies on {name}", "SQLite needs a disk of this machine; move it, or use PostgreSQL"
            )
        return "a disk of this machine"

    async def _sync(self) -> str:
        path = nearest(self._data) / f".millrace-doctor-{os.getpid()}"
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            times = []
            for _ in range(5):
                began = time.perf_counter()
                os.write(descriptor, b"x" * 4096)
                os.fsync(descriptor)
                times.append(time.perf_counter() - began)
        finally:
            os.close(descriptor)
            path.unlink()
        text = f"{sorted(times)[2] * 1000:.1f} ms for what is written to be on the disk"
        if sorted(times)[2] > SLOW_FSYNC_S:
            raise warning(text, "each batch of jobs waits for it; a faster disk accepts more")
        return text

    async def _key(self) -> str:
        if self._settings.api_key:
            api_key.check(self._settings.api_key, None)
            return "given by MILLRACE_API_KEY"
        path = self._data / api_key.FILE
        if not path.exists():
            raise skipped("made at the first start")
        api_key.check(path.read_text(errors="replace").strip(), path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise failed(f"{path} is open to others", f"chmod 600 {path}, and make a new key if others could read it")
        return f"{path} is private"

    async def _address(self) -> str:
        host = self._settings.host
        if is_loopback(host):
            return f"{host}: this machine only"
        if self._settings.tls_certificate is not None:
            return f"{host}, with TLS"
        if self._settings.plain_http:
            raise warning(f"{host}, in the clear", "keys cross the network; let a proxy in front end TLS")
        return f"{host}, with TLS of the farm's own authority"

    async def _port(self) -> str:
        port = self._settings.port
        if not port:
            return "any free one"
        try:
            listen(self._settings.host, port).close()
        except ListenError as error:
            raise skipped(f"{port} is taken: {error}") from error
        return f"{port} is free"

    async def _certificate(self) -> str:
        certificate, key = self._settings.tls_certificate, self._settings.tls_key
        if certificate is None and key is None:
            raise skipped("none is named")
        if certificate is None or key is None:
            raise failed("a certificate or its key is not named", "name both: MILLRACE_TLS_CERT and MILLRACE_TLS_KEY")
        try:
            check_certificate(certificate, key)
        except SettingError as error:
            raise failed(str(error), "") from error
        return f"{certificate} belongs to its key"

    async def _certificate_end(self) -> str:
        if self._settings.tls_certificate is None or self._settings.tls_key is None:
            raise skipped("none is named with its key")
        end = end_of(self._settings.tls_certificate)
        left = end.timestamp() - time.time()
        text = f"it holds until {end:%Y-%m-%d %H:%M} UTC"
        if left < 0:
            raise failed(f"it ended on {end:%Y-%m-%d}", "get a new one: no client trusts this any more")
        if left < SOON_S:
            raise warning(text, "get a new one soon")
        return text

    async def _leases(self) -> str:
        ttl, beat = self._settings.lease_ttl_s, self._settings.heartbeat_s
        text = f"a worker beats every {beat:g} s and is lost after {ttl:g} s"
        if beat * 2 > ttl:
            raise failed(text, "let a lease last at least two heartbeats")
        return text

    async def _files_place(self) -> str:
        return "S3" if self._settings.blobs.startswith("s3:") else f"{self._settings.blobs or self._data / BLOBS}"

    async def _round_trip(self) -> str:
        if not self._settings.blobs and not self._data.is_dir():
            raise skipped("there is no data folder yet")
        blobs = open_blobs(self._settings.blobs or self._data / BLOBS, environ=os.environ)
        key, text = f"doctor/{os.getpid()}", b"millrace doctor"

        async def content() -> Any:
            yield text

        await blobs.put(key, content(), size_bytes=len(text))
        try:
            back = b"".join([piece async for piece in blobs.get(key)])
        finally:
            await blobs.delete(key)
        if back != text:
            raise failed("what was written is not what is read", "look at the place where files are kept")
        return "written, read back and deleted"


def _kind_of(folder: Path) -> int:
    """The type of its file system, as statfs(2) numbers it."""
    buffer = (ctypes.c_long * 32)()
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(folder), ctypes.byref(buffer)) != 0:
        return 0
    return int(buffer[0]) & 0xFFFFFFFF
