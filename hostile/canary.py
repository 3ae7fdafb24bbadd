"""What must not be touched: a server that counts its callers, and files that tell who opens them."""

import ctypes
import os
import secrets
import socket
import threading
from pathlib import Path
from typing import Self

_OPENED, _NONBLOCK = 0x20, 0o4000  # IN_OPEN, IN_NONBLOCK (inotify(7))


class Canary:
    """Use it as a context; `hits` are connections, `opened` how often a secret was opened by anybody, in whatever namespace."""

    def __init__(self, folder: Path) -> None:
        """The secrets are made in `folder`."""
        self.folder = folder
        self.word = f"canary{secrets.token_hex(8)}"
        self.secret = folder / "secret.txt"
        self.film = folder / "secret.mp4"
        self.hits = 0

    def __enter__(self) -> Self:
        self.secret.write_text(f"{self.word}\n" * 20)
        self.film.touch()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(_NONBLOCK)
        for path in (self.secret, self.film):
            if libc.inotify_add_watch(self._watch, os.fsencode(path), _OPENED) < 0:
                raise OSError(ctypes.get_errno(), f"cannot watch {path}")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()
        os.close(self._watch)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.word}.ts"

    @property
    def opened(self) -> int:
        """Since it was last asked."""
        try:
            return len(os.read(self._watch, 1 << 16)) // 16
        except BlockingIOError:
            return 0

    def untouched(self) -> bool:
        """Whether nobody came, since it was last asked."""
        hits, self.hits = self.hits, 0
        return self.opened == 0 and hits == 0

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            self.hits += 1
            caller.close()
