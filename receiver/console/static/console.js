// The console's own script: comfort only. Every page and every act works without it.
"use strict";

const year = 31536000;
const here = document.documentElement;
const say = (text) => { const place = document.getElementById("said"); if (place) place.textContent = text; };
const cookie = (name, value) => { document.cookie = `${name}=${encodeURIComponent(value)}; path=/; max-age=${year}; samesite=lax`; };
const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* a browser that keeps nothing */ } };

cookie("postroom-zone", Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC");

document.querySelector("[data-theme-switch]")?.addEventListener("click", () => {
  const dark = here.dataset.theme ? here.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  here.dataset.theme = dark ? "light" : "dark";
  cookie("postroom-theme", here.dataset.theme);
});

document.querySelector("[data-density-switch]")?.addEventListener("click", (event) => {
  const dense = here.dataset.density !== "compact";
  if (dense) here.dataset.density = "compact"; else delete here.dataset.density;
  event.currentTarget.setAttribute("aria-pressed", String(dense));
  cookie("postroom-density", dense ? "compact" : "");
});

// Ages go on counting, by the database's clock: a wrong clock here does no harm. The words are those of words.ago().
const ahead = Date.parse(document.body.dataset.now) - performance.now();
const two = (s, big, a, small, b) => `${s / big | 0} ${a}` + (s % big / small | 0 ? ` ${s % big / small | 0} ${b}` : "");
const rough = (s) => s < 60 ? `${s} s` : s < 3600 ? `${s / 60 | 0} m` : s < 86400 ? two(s, 3600, "h", 60, "m") : two(s, 86400, "d", 3600, "h");
function age() {
  if (document.hidden) return;
  for (const one of document.querySelectorAll("time[data-ago]")) {
    const s = Math.trunc((ahead + performance.now() - Date.parse(one.dateTime)) / 1000);
    if (Math.abs(s) <= 604800) one.textContent = s ? (s > 0 ? `${rough(s)} ago` : `in ${rough(-s)}`) : "now";
  }
}
setInterval(age, 5000);
document.addEventListener("visibilitychange", age);

// Browsers without command/commandfor open and close dialogs here.
if (!("command" in HTMLButtonElement.prototype)) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[commandfor]");
    const dialog = button && document.getElementById(button.getAttribute("commandfor"));
    if (dialog) button.getAttribute("command") === "close" ? dialog.close() : dialog.showModal();
  });
}

// A second click while the first is under way does nothing; the server would refuse it anyway.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "1";
});
addEventListener("pageshow", () => { for (const form of document.forms) delete form.dataset.sent; });

document.addEventListener("click", (event) => {
  const show = event.target.closest("[data-show]");
  if (show) {
    const field = document.getElementById(show.dataset.show);
    field.type = field.type === "password" ? "text" : "password";
    show.textContent = field.type === "password" ? "Show" : "Hide";
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) copyText(copy.dataset.copy);
  if (event.target.closest("[data-copy-link]")) acts.y();
});

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // plain HTTP has no clipboard
    const field = document.createElement("textarea");
    field.value = text; field.className = "sr"; document.body.append(field); field.select(); document.execCommand("copy"); field.remove();
  }
  say("Copied.");
}

// Keys: never in a field, never with Ctrl, Alt or Meta, never in an open dialog, and off when somebody says so.
const keysOff = document.querySelector("[data-keys-off]");
if (keysOff) {
  keysOff.checked = kept("keys") === "off";
  keysOff.addEventListener("change", () => keep("keys", keysOff.checked ? "off" : "on"));
}
const pages = new Map(JSON.parse(document.body.dataset.keys || "[]").map(([key, , path]) => [key, path]));
const rows = () => [...document.querySelectorAll("[data-row]")];
let row = -1, first = "", ticked = -1;

function move(step) {
  const all = rows();
  if (!all.length) return;
  all[row]?.classList.remove("here");
  row = Math.max(0, Math.min(all.length - 1, row + step));
  all[row].classList.add("here");
  all[row].scrollIntoView({ block: "nearest" });
}

function tick(range) {
  const boxes = rows().map((one) => one.querySelector("input[type=checkbox]"));
  if (!boxes[row]) return;
  const on = !boxes[row].checked;
  const from = range && ticked >= 0 ? Math.min(ticked, row) : row, to = range && ticked >= 0 ? Math.max(ticked, row) : row;
  for (let at = from; at <= to; at++) if (boxes[at]) { boxes[at].checked = on; boxes[at].dispatchEvent(new Event("change", { bubbles: true })); }
  ticked = row;
}

const follow = (selector) => document.querySelector(selector)?.click();
const acts = {
  "?": () => document.getElementById("help")?.showModal(),
  "/": () => document.querySelector("[data-find], .filters input, .filters select")?.focus(),
  j: () => move(1), k: () => move(-1),
  Enter: () => rows()[row]?.querySelector("a")?.click(),
  x: () => tick(false), X: () => tick(true),
  "[": () => follow("[data-newer]"), "]": () => follow("[data-older]"),
  u: () => follow("[data-up]"), r: () => follow("[data-retry]"), ".": () => follow("[data-live-switch]"),
  y: () => copyText(document.body.dataset.pinned ? new URL(document.body.dataset.pinned, location.href).href : location.href),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || kept("keys") === "off") return;
  if (event.target.closest("input, select, textarea, [contenteditable]") || document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  if (first === "g" && pages.has(event.key)) { first = ""; location.assign(pages.get(event.key)); event.preventDefault(); return; }
  first = event.key === "g" ? "g" : "";
  const act = acts[event.key];
  if (act) { event.preventDefault(); act(); }
});
