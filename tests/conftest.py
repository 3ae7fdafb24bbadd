"""What tests of every ring share: a server that speaks the S3 protocol."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

S3_KEY, S3_SECRET = "test-key", "test-secret-value"


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory):
    """A server that speaks the S3 protocol over a folder with the bucket `media`; gives its URL."""
    root = tmp_path_factory.mktemp("s3")
    (root / "media").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            *(Path(sys.executable).with_name("rclone"), "serve", "s3", root, "--addr", f"127.0.0.1:{port}"),
            *(
                "--auth-key",
                f"{S3_KEY},{S3_SECRET}",
                "--no-cleanup",
            ),  # its clean-up of emptied folders never ends (rclone 1.75.2)
        ],
        env={"PATH": os.defpath, "HOME": str(root), "RCLONE_CONFIG": "/dev/null"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if "Starting s3 server" in line:
                break
        else:
            pytest.fail("the S3 server did not start: " + "".join(said))
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
        server.stderr.close()
