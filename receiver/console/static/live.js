// Live updates. A page takes part by attributes (docs/console.md):
//   data-live-text="totals.dead"       the element's text is that field of the topic
//   data-live="event-7"  with an id    when the topic changes, the element is replaced by its new self, fetched from the page's own URL
//   data-live-from="/console/…"        … or from there
// Nothing moves under a hand: while rows are ticked, a dialog is open, a form is on its way, text is selected or a key is held, what came waits.
"use strict";

(() => {
  const texts = () => [...document.querySelectorAll("[data-live-text]")];
  const regions = () => [...document.querySelectorAll("[data-live]")];
  const topics = [...new Set([...texts().map((one) => one.dataset.liveText.split(".")[0]), ...regions().flatMap((one) => one.dataset.live.split(" "))])];
  const button = document.querySelector("[data-live-switch]");
  if (!topics.length || !button || !window.EventSource) return;

  const FETCH_EVERY_MS = 2000, STALE_MS = 12000, POLL_MS = 15000;
  const asked = `topics=${encodeURIComponent(topics.join(","))}`;
  const html = window.trustedTypes ? trustedTypes.createPolicy("postroom", { createHTML: (text) => text }) : { createHTML: (text) => text };
  let source = null, timer = 0, wait = 3000, heard = performance.now(), heardAt = new Date(), held = 0, fetching = false, pointer = false;
  const values = new Map(), changed = new Set();

  const off = () => { try { return sessionStorage.getItem("live") === "off"; } catch { return false; } };
  const inHand = () => held > 0 || pointer || document.querySelector("[data-tick]:checked, dialog[open], form[data-sent]") || !getSelection().isCollapsed;
  const show = (word, more) => {
    button.hidden = false;
    button.textContent = more ? `${word}, ${more}` : word;
    button.dataset.state = word.toLowerCase();
    button.setAttribute("aria-pressed", String(!off()));
  };

  function tell(topic, value) {
    const body = JSON.stringify(value);
    if (values.get(topic)?.body === body) return;
    values.set(topic, { body, value });
    changed.add(topic);
    apply();
  }

  function apply() {
    if (off() || !changed.size || document.hidden) return;
    if (inHand()) { show("Paused", "in use"); return; }
    for (const one of texts()) {
      const [topic, field] = one.dataset.liveText.split(".");
      const said = values.get(topic)?.value[field];
      if (said !== undefined && changed.has(topic) && one.textContent !== String(said)) one.textContent = said;
    }
    if (changed.has("needs")) count();
    const due = regions().filter((one) => one.dataset.live.split(" ").some((topic) => changed.has(topic)));
    if (!due.length) changed.clear();
    else if (!fetching) { changed.clear(); renew(due); }
  }

  // Badges of the navigation are absent at zero; their sum stands in the title.
  function count() {
    let sum = 0;
    for (const badge of document.querySelectorAll("[data-live-badge]")) {
      const number = Number(badge.firstElementChild.textContent);
      badge.hidden = !number;
      sum += number;
    }
    document.title = (sum ? `(${sum}) ` : "") + document.title.replace(/^\(\d+\) /, "");
  }

  // Each place is fetched once for all regions that come from it, and not more often than every two seconds.
  async function renew(due) {
    fetching = true;
    try {
      for (const from of new Set(due.map((one) => one.dataset.liveFrom || location.pathname + location.search))) {
        const answer = await fetch(from, { headers: { "x-postroom-live": "1" }, credentials: "same-origin", redirect: "manual" });
        if (!answer.ok) { await check(); break; }
        const fresh = new DOMParser().parseFromString(html.createHTML(await answer.text()), "text/html");
        for (const old of due) if ((old.dataset.liveFrom || location.pathname + location.search) === from) swap(old, fresh.getElementById(old.id));
      }
    } catch { /* the stream will say that the server is away */ }
    setTimeout(() => { fetching = false; apply(); }, FETCH_EVERY_MS);
  }

  function swap(old, fresh) {
    if (!fresh || !old.isConnected || old.contains(document.activeElement?.closest("input, select, textarea"))) return;
    if (inHand()) { for (const topic of old.dataset.live.split(" ")) changed.add(topic); return; }
    const parts = (root, what) => [...root.querySelectorAll(what)];
    const focus = "a[href], button, time, summary, [tabindex]", had = parts(old, focus).indexOf(document.activeElement);
    const open = parts(old, "details").map((one) => one.open);
    parts(fresh, "details").forEach((one, at) => { if (at < open.length) one.open = open[at]; });
    const now = document.importNode(fresh, true);
    old.replaceWith(now);
    if (had >= 0) parts(now, focus)[had]?.focus({ preventScroll: true });
    now.dispatchEvent(new CustomEvent("postroom:renewed", { bubbles: true }));
  }

  function open() {
    close();
    if (document.hidden) return;
    if (off()) { show("Paused"); return; }
    source = new EventSource(`/console/live?${asked}`);
    source.onopen = () => { wait = 3000; };
    source.onerror = () => { if (source?.readyState === EventSource.CLOSED) check(); else show("Reconnecting"); };
    source.addEventListener("beat", (event) => { if (JSON.parse(event.data).fresh) fresh(); });
    for (const topic of topics) source.addEventListener(topic, (event) => { fresh(); tell(topic, JSON.parse(event.data)); });
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function fresh() {
    heard = performance.now(); heardAt = new Date();
    document.body.classList.remove("stale");
    show(changed.size && inHand() ? "Paused" : "Live", changed.size && inHand() ? "in use" : "");
  }

  // The browser gives up for good on some answers: ask why, then come again later; where streams are refused, ask again and again.
  async function check() {
    close();
    let next = wait * (0.75 + Math.random() / 2), again = open;
    try {
      const answer = await fetch(`/console/live/check?${asked}`, { credentials: "same-origin" });
      if (answer.status === 401) { signedOut(); return; }
      if (answer.ok) {
        const said = await answer.json();
        fresh();
        for (const topic of topics) tell(topic, said.topics[topic] || {});
        if (!said.has_room) { next = POLL_MS; again = check; }
      } else show("Reconnecting");
    } catch { show(navigator.onLine ? "Reconnecting" : "Offline"); }
    wait = Math.min(30000, wait * 2);
    if (!document.hidden && !off()) timer = setTimeout(again, next);
  }

  function signedOut() {
    show("Signed out");
    const place = document.createElement("a");
    place.href = `/console/sign-in?back=${encodeURIComponent(location.pathname + location.search)}`;
    place.textContent = "Signed out. Sign in";
    place.dataset.signIn = "";
    if (!document.querySelector("[data-sign-in]")) button.after(place);
  }

  setInterval(() => {
    if (!source || off() || performance.now() - heard < STALE_MS) return;
    document.body.classList.add("stale");
    show("Reconnecting", `as of ${heardAt.toLocaleTimeString()}`);
    if (performance.now() - heard > 3 * STALE_MS) { heard = performance.now(); check(); }
  }, 1000);

  button.addEventListener("click", () => {
    try { sessionStorage.setItem("live", off() ? "on" : "off"); } catch { /* a browser that keeps nothing */ }
    if (off()) close();
    open();
  });
  document.addEventListener("visibilitychange", open);
  addEventListener("online", open);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  addEventListener("keydown", (event) => { if (!event.repeat) held += 1; });
  for (const release of ["keyup", "blur"]) addEventListener(release, () => { held = 0; apply(); });
  addEventListener("pointerdown", () => { pointer = true; });
  for (const release of ["pointerup", "pointercancel"]) addEventListener(release, () => { pointer = false; apply(); });
  for (const done of ["change", "close", "selectionchange"]) document.addEventListener(done, () => setTimeout(apply), true);
  open();
})();
