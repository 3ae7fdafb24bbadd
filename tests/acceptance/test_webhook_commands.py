"""Webhooks as a user has them: by commands alone, with a receiver that checks signatures as the how-to says."""

import base64
import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from outside import PATIENCE_S, SHORT, Farm, Shell, running


class Receiver:
    """Where messages go: what came, and whether it answers 204 or 503."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.news = threading.Condition()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def until(self, count: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: len(self.got) >= count, PATIENCE_S), f"{len(self.got)} came"

    def signed_by(self, secret: str, index: int) -> bool:
        headers, body = self.got[index]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        good = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        return good in headers["webhook-signature"].split()


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(receiver.status)
            self.end_headers()
            with receiver.news:
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                receiver.news.notify_all()

        def log_message(self, *_: object) -> None:
            """Nothing is said."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def ends(farm: Farm) -> None:
    """A job comes to its end."""
    farm.do("cancel", farm.submit(**SHORT)["id"])


def test_a_webhook_is_added_heard_replayed_rotated_and_removed(shell: Shell) -> None:
    allowed = ("--webhook-allow-network", "127.0.0.1/32")
    with receiving() as receiver, running(shell, "master", "--data", "farm", "--port", 0, *allowed) as farm:
        secret = farm.cli("webhooks", "add", receiver.url).out.strip()
        (webhook,) = farm.cli("webhooks", "list", "-o", "json").json()["webhooks"]
        ends(farm)
        receiver.until(1)
        assert receiver.signed_by(secret, 0)
        (told,) = farm.cli("webhooks", "deliveries", webhook["id"], "-o", "json").json()["deliveries"]
        assert told["id"] == receiver.got[0][0]["webhook-id"]
        # Again, under the same id; then with another secret beside the one before.
        again = farm.cli("webhooks", "replay", webhook["id"], told["id"])
        assert (again.code, again.out) == (0, "1 message is sent again\n"), again.err
        receiver.until(2)
        assert receiver.got[1][0]["webhook-id"] == told["id"]
        second = farm.cli("webhooks", "rotate", webhook["id"]).out.strip()
        receiver.status = 503
        ends(farm)
        receiver.until(3)
        assert (receiver.signed_by(secret, 2), receiver.signed_by(second, 2)) == (True, True)
        assert farm.cli("webhooks", "replay", webhook["id"], "--dead").out == "0 messages are sent again\n"
        removed = farm.cli("webhooks", "remove", webhook["id"])
        assert removed.code == 0, removed.err
        assert "Nobody is told of jobs" in farm.cli("webhooks", "list").out


def test_wrong_words_about_webhooks_get_a_sentence(shell: Shell) -> None:
    with running(shell, "master", "--data", "farm", "--port", 0) as farm:
        for words, code, told in (
            (("replay", "nothing"), 2, "name a message, or give --dead"),
            (("replay", "nothing", "--dead"), 1, "there is no webhook 'nothing'"),
            (("deliveries", "nothing", "--state", "eaten"), 2, "eaten"),
            (("add", "https://8.8.8.8/x", "--events", "job.eaten"), 1, "events"),
            (("add", "http://127.0.0.1:9999/hook"), 1, "--webhook-allow-network"),
        ):
            done = farm.cli("webhooks", *words)
            assert (done.code, told in done.err) == (code, True), done
        assert "there is no node 'nobody'" in farm.cli("nodes", "release", "nobody").err
        assert "No job is dead." in farm.cli("jobs", "dead").out
