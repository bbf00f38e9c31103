// Live updates; docs/console.md says how a page takes part. While rows are ticked, a dialog is open, a form is on its way,
// text is selected, a key or the pointer is down, what came waits.
const FETCH_EVERY_MS = 2000, STALE_MS = 12000, POLL_MS = 15000;
const texts = () => all("[data-live-text]"), regions = () => all("[data-live]");
const topicsOf = (region) => region.dataset.live.split(" ");
const placeOf = (region) => region.dataset.liveFrom || location.pathname + location.search;
const topics = [...new Set([...texts().map((each) => each.dataset.liveText.split(".")[0]), ...regions().flatMap(topicsOf)])];
const button = one("[data-live-switch]");
const plain = { createHTML: (text) => text }, html = window.trustedTypes?.createPolicy("postroom", plain) || plain;
const values = {}, changed = new Set();
let source, timer, wait = 3000, heard = performance.now(), held = false, fetching = false;

const off = () => kept("live", "off");
const inHand = () => held || one("[data-tick]:checked, dialog[open], form[data-sent]") || !getSelection().isCollapsed;

function show(said) {
  button.hidden = false;
  button.textContent = said;
  button.dataset.state = said.toLowerCase();
  button.ariaPressed = !off();
}

function tell(topic, value) {
  if (JSON.stringify(values[topic]) === JSON.stringify(value)) return;
  values[topic] = value;
  changed.add(topic);
  apply();
}

function apply() {
  if (off() || !changed.size || document.hidden) return;
  if (inHand()) { show("Paused, in use"); return; }
  for (const text of texts()) {
    const [topic, field] = text.dataset.liveText.split(".");
    if (changed.has(topic) && field in values[topic]) text.textContent = values[topic][field];
  }
  if (changed.has("needs")) count();
  const due = regions().filter((region) => topicsOf(region).some((topic) => changed.has(topic)));
  if (due.length && fetching) return;
  changed.clear();
  if (due.length) renew(due);
}

// Badges are absent at zero; their sum stands in the title.
function count() {
  let sum = 0;
  for (const badge of all("[data-live-badge]")) {
    const number = +one("[data-live-text]", badge).textContent;
    badge.hidden = !number;
    sum += number;
  }
  document.title = (sum ? `(${sum}) ` : "") + document.title.replace(/^\(\d+\) /, "");
}

// Each place is fetched once for all its regions, at most every two seconds.
async function renew(due) {
  fetching = true;
  try {
    for (const place of new Set(due.map(placeOf))) {
      const answer = await fetch(place, { headers: { "x-postroom-live": "1" }, redirect: "manual" });
      if (answer.status === 404) location.reload(); // what the page was about is gone
      if (!answer.ok) { await check(); break; }
      const fresh = new DOMParser().parseFromString(html.createHTML(await answer.text()), "text/html");
      for (const old of due) if (placeOf(old) === place) swap(old, fresh.getElementById(old.id));
    }
  } catch { /* the stream says that the server is away */ }
  setTimeout(() => { fetching = false; apply(); }, FETCH_EVERY_MS);
}

function swap(old, fresh) {
  if (!fresh || old.contains(document.activeElement?.closest("input, select, textarea"))) return;
  if (inHand()) { for (const topic of topicsOf(old)) changed.add(topic); return; }
  const rows = all("[data-row]", old);
  if (!rows.length || !("liveRows" in old.dataset)) { replace(old, fresh); return; }
  const now = new Map(all("[data-row]", fresh).map((row) => [row.id, row]));
  for (const row of rows) {
    const next = now.get(row.id);
    row.classList.toggle("gone", !next);
    if (next) replace(row, next);
    now.delete(row.id);
  }
  const moved = one("[data-live-moved]"), gone = all(".gone", old).length;
  const said = [now.size && `${now.size} newer`, gone && `${gone} gone`].filter(Boolean).join(", ");
  moved.hidden = !said;
  moved.firstElementChild.textContent = said;
}

// What is open stays open, and the focus stays where it is.
function replace(old, fresh) {
  const parts = "a[href], button, time, summary, [tabindex]", had = all(parts, old).indexOf(document.activeElement);
  const open = all("details", old).map((each) => each.open);
  all("details", fresh).forEach((each, at) => { each.open = open[at] ?? each.open; });
  fresh.classList.toggle("here", old.classList.contains("here"));
  old.replaceWith(fresh);
  all(parts, fresh)[had]?.focus({ preventScroll: true });
}

function begin() {
  end();
  if (document.hidden) return;
  if (off()) { show("Paused"); return; }
  source = new EventSource(`/console/live?topics=${topics}`);
  source.onopen = () => { wait = 3000; };
  source.onerror = () => { if (source?.readyState === EventSource.CLOSED) check(); else show("Reconnecting"); };
  source.addEventListener("beat", (event) => { if (JSON.parse(event.data).fresh) fresh(); });
  for (const topic of topics) source.addEventListener(topic, (event) => { fresh(); tell(topic, JSON.parse(event.data)); });
}

function end() {
  clearTimeout(timer);
  source?.close();
  source = null;
}

function fresh() {
  heard = performance.now();
  document.body.classList.remove("stale");
  show(changed.size && inHand() ? "Paused, in use" : "Live");
}

// The browser gives up for good on some answers: ask why, then come again; without room for a stream, ask again and again.
async function check() {
  end();
  let next = begin, after = wait * (0.75 + Math.random() / 2);
  try {
    const answer = await fetch(`/console/live/check?topics=${topics}`);
    if (answer.status === 401) {
      show("Signed out");
      one("[data-sign-in]").hidden = false;
      return;
    }
    if (!answer.ok) throw answer;
    const said = await answer.json();
    fresh();
    for (const topic of topics) tell(topic, said.topics[topic]);
    if (!said.has_room) { next = check; after = POLL_MS; }
  } catch { show(navigator.onLine ? "Reconnecting" : "Offline"); }
  wait = Math.min(30000, wait * 2);
  if (!document.hidden && !off()) timer = setTimeout(next, after);
}

if (topics.length) {
  setInterval(() => {
    const silent = performance.now() - heard;
    if (!source || silent < STALE_MS) return;
    document.body.classList.add("stale");
    show(`Reconnecting, as of ${new Date(Date.now() - silent).toLocaleTimeString()}`);
    if (silent > 3 * STALE_MS) { heard += silent; check(); }
  }, 1000);
  button.addEventListener("click", () => {
    keep("live", off() ? "on" : "off", "");
    begin();
  });
  for (const type of ["keydown", "pointerdown"]) addEventListener(type, () => { held = true; });
  for (const type of ["keyup", "blur", "pointerup", "pointercancel"]) addEventListener(type, () => { held = false; apply(); });
  for (const type of ["change", "close", "selectionchange"]) document.addEventListener(type, () => setTimeout(apply), true);
  addEventListener("pagehide", end);
  for (const type of ["online", "pageshow", "visibilitychange"]) addEventListener(type, begin, true);
}
