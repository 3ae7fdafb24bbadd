"""Log in with the API key; a signed cookie that scripts cannot read stands for it afterwards."""

from urllib.parse import quote

from millrace.api.master import Master
from millrace.edge.call import Answer, Call, fields_of
from millrace.edge.keys import SESSION_COOKIE, SESSION_S, Keys, is_foreign
from millrace.edge.refusal import RefusalError
from millrace.edge.route import Access
from millrace.web.astray import for_people
from millrace.web.render import page

_NOT_THESE = "These pages show the whole farm. This key is for a worker, or for one tenant: use it with the commands and the API."
_FLAGS = "; Path=/; HttpOnly; SameSite=Strict"


class Session:
    """The form, and what it does."""

    def __init__(self, keys: Keys) -> None:
        """`keys` are those of the API."""
        self._keys = keys

    async def form(self, master: Master, call: Call[None]) -> Answer:
        """Ask for the key."""
        return _form(master, _within(call.one("next")), wrong="")

    async def log_in(self, master: Master, call: Call[None]) -> Answer:
        """Begin a session, or ask again."""
        _refuse_foreign(call)
        fields = fields_of(b"".join([piece async for piece in call.pieces()]))
        key = await self._keys.find((fields.get("key") or [""])[0].strip())
        target = _within((fields.get("next") or [""])[0])
        if key is None:
            return _form(master, target, wrong="This key opens nothing here. Copy it again, without spaces.")
        if Access.INSPECT not in key.grants:
            # The pages show the whole farm, so they would show it nothing but refusals.
            return _form(master, target, wrong=_NOT_THESE)
        cookie = f"{SESSION_COOKIE}={self._keys.session(key)}; Max-Age={SESSION_S}{_FLAGS}{_secure(call)}"
        return Answer(status=303, headers=(("location", target), ("set-cookie", cookie)))

    async def log_out(self, _: Master, call: Call[None]) -> Answer:
        """End the session in this browser."""
        _refuse_foreign(call)
        cookie = f"{SESSION_COOKIE}=; Max-Age=0{_FLAGS}{_secure(call)}"
        return Answer(status=303, headers=(("location", "/login"), ("set-cookie", cookie)))


def lost(call: Call[None]) -> Answer | None:
    """Show a person without a session the way to the form; programs get their bare 401."""
    if not for_people(call.scope):
        return None
    query = call.scope.get("query_string", b"").decode("latin-1")
    target = call.scope["path"] + (f"?{query}" if query else "")
    return Answer(status=303, headers=(("location", f"/login?next={quote(target)}"),))


def _form(master: Master, target: str, *, wrong: str) -> Answer:
    values = {"next": target, "wrong": wrong, "version": master.version}
    return page("login.html", values, status=401 if wrong else 200)


def _within(target: str | None) -> str:
    # Browsers take both `//host` and a slash with a backslash behind it for the address of another server.
    if (
        target
        and target.startswith("/")
        and target[1:2] not in ("/", "\\")
        and target.isprintable()
        and target.isascii()
    ):
        return target
    return "/"


def _refuse_foreign(call: Call[None]) -> None:
    if is_foreign(call.headers):
        raise RefusalError(403, "forbidden", "cannot answer: the request comes from another site")


def _secure(call: Call[None]) -> str:
    return "; Secure" if call.scope.get("scheme") == "https" else ""
