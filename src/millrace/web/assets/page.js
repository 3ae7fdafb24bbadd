// Keeps a page true: the stream of events says that something happened, the server renders what there is now, and
// only what differs is changed, so that selections, focus and moving bars stay as they are.

const part = document.getElementById("part");
const line = document.getElementById("line");
const log = document.getElementById("log");
// The policy of the page lets no text become elements but through this (Trusted Types), and nobody else make such a door.
// What goes through is what this page's own server renders, read into a document in which nothing runs.
const plain = { createHTML: (html) => html };
const door = window.trustedTypes?.createPolicy("page", plain) ?? plain;
const QUICK_MS = 250;
const MOVING_MS = 1500;
const STILL_MS = 15000;

function morph(old, next) {
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName) {
    old.replaceWith(next);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) return;
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  morphChildren(old, next);
}

function morphChildren(old, next) {
  const keyed = new Map();
  for (const child of old.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let at = old.firstChild;
  for (const child of [...next.childNodes]) {
    const key = child.dataset?.key;
    const same = key ? keyed.get(key) : at && !at.dataset?.key && at.nodeName === child.nodeName ? at : null;
    if (!same) {
      old.insertBefore(child, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else old.insertBefore(same, at);
    morph(same, child);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

let asking = false;
let again = false;
async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const response = await fetch(part.dataset.part, { headers: { accept: "text/html" } });
    if (response.status === 401) location.reload();
    if (response.ok) {
      const next = document.createElement("div");
      next.append(...new DOMParser().parseFromString(door.createHTML(await response.text()), "text/html").body.childNodes);
      morphChildren(part, next);
    }
  } catch {
    say("broken", "no connection");
  } finally {
    asking = false;
    if (again) {
      again = false;
      soon();
    }
  }
  if (log) await readLog();
}

let timer = 0;
function soon(delay = QUICK_MS) {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    if (!document.hidden) await refresh();
    soon(part.querySelector("progress.live, .pill.running, [data-shared]") ? MOVING_MS : STILL_MS);
  }, delay);
}

let read = 0;
const decoder = new TextDecoder();
async function readLog() {
  const response = await fetch(`${log.dataset.log}?offset=${read}`).catch(() => null);
  if (!response?.ok) return;
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!bytes.length) return;
  read += bytes.length;
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(decoder.decode(bytes, { stream: true }));
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function say(state, words) {
  line.dataset.line = state;
  line.lastElementChild.textContent = words;
}

if (part && line) {
  const query = part.dataset.job ? `?after=beginning&job=${part.dataset.job}` : "";
  const events = new EventSource(`/v1/events${query}`);
  events.addEventListener("open", () => { say("open", "live"); soon(); });
  events.addEventListener("transition", () => soon());
  events.addEventListener("error", () => say("broken", "reconnecting"));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(0); });
  part.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-verb]");
    if (!button) return;
    button.disabled = true;
    const response = await fetch(button.dataset.verb, { method: "POST" }).catch(() => null);
    if (!response?.ok) say("broken", response ? (await response.json()).detail : "no connection");
    button.disabled = false;
    soon(0);
  });
  if (log) readLog();
  soon(MOVING_MS);
}
