// The console's own script: comfort only. Every page and every act works without it.
"use strict";

const here = document.documentElement;
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const follow = (name) => one(`[data-${name}]`)?.click();
const keep = (name, value, ends = "; max-age=31536000") => { document.cookie = `postroom-${name}=${encodeURIComponent(value)}; path=/; samesite=lax${ends}`; };
const kept = (name, value) => document.cookie.split("; ").includes(`postroom-${name}=${value}`);

keep("zone", Intl.DateTimeFormat().resolvedOptions().timeZone);

// Ages go on by the database's clock, whatever ours says; in the words of words.ago().
const ahead = Date.parse(document.body.dataset.now) - performance.now();
function rough(s) {
  const [size, unit, small, more] = s < 60 ? [1, "s"] : s < 3600 ? [60, "m"] : s < 86400 ? [3600, "h", 60, "m"] : [86400, "d", 3600, "h"];
  const rest = s % size / small | 0;
  return `${s / size | 0} ${unit}` + (rest ? ` ${rest} ${more}` : "");
}
setInterval(() => {
  for (const time of all("time[data-ago]")) {
    const s = Math.trunc((ahead + performance.now() - Date.parse(time.dateTime)) / 1000);
    if (Math.abs(s) <= 604800) time.textContent = s ? (s > 0 ? `${rough(s)} ago` : `in ${rough(-s)}`) : "now";
  }
}, 5000);

const clicks = {
  "[data-row]": (each) => history.replaceState(link(each), ""),
  "[data-theme-switch]": () => {
    const now = here.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    keep("theme", here.dataset.theme = now === "dark" ? "light" : "dark");
  },
  "[data-density-switch]": (button) => {
    keep("density", here.dataset.density = here.dataset.density ? "" : "compact");
    button.ariaPressed = !!here.dataset.density;
  },
  "[data-show]": (button) => {
    const field = one(`#${button.dataset.show}`), hidden = field.type === "password";
    field.type = hidden ? "text" : "password";
    button.textContent = hidden ? "Hide" : "Show";
  },
  "[data-copy]": (button) => copy(button.dataset.copy),
  "[data-copy-link]": () => keys.y(),
};
if (!("command" in HTMLButtonElement.prototype)) {
  clicks["button[commandfor]"] = (button) => {
    const act = button.getAttribute("command") === "close" ? "close" : "showModal";
    one(`#${button.getAttribute("commandfor")}`)[act]();
  };
}
addEventListener("click", (event) => {
  for (const selector in clicks) {
    const clicked = event.target.closest(selector);
    if (clicked) clicks[selector](clicked);
  }
});

// A form under way is not sent again: the server would refuse it.
addEventListener("submit", (event) => {
  const { dataset, method } = event.target;
  if (dataset.sent) event.preventDefault();
  else if (method === "post") dataset.sent = "1";
});
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
  const at = rows().findIndex((each) => link(each) === history.state);
  if (at >= 0) move(at - row); // back: to the row that was opened, wherever it stands
});

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // plain HTTP has no clipboard
    const field = document.createElement("textarea");
    field.value = text; field.className = "sr"; document.body.append(field); field.select(); document.execCommand("copy"); field.remove();
  }
  one("#said").textContent = "Copied.";
}

// Keys: never in a field, with Ctrl, Alt or Meta, or in an open dialog; off when somebody says so.
const off = one("[data-keys-off]");
if (off) {
  off.checked = kept("keys", "off");
  off.addEventListener("change", () => keep("keys", off.checked ? "off" : "on"));
}
const rows = () => all("[data-row]"), link = (each) => one("a", each)?.href;
let row = -1, first = "", ticked = -1;

function move(step) {
  const there = rows();
  there[row]?.classList.remove("here");
  row = Math.max(0, Math.min(there.length - 1, row + step));
  there[row]?.classList.add("here");
  there[row]?.scrollIntoView({ block: "nearest" });
}

function tick(from) {
  const boxes = rows().map((each) => one("[type=checkbox]", each)), on = !boxes[row]?.checked;
  for (const box of boxes.slice(Math.min(from, row), Math.max(from, row) + 1)) if (box && box.checked !== on) box.click();
  ticked = row;
}

const keys = {
  "?": () => one("#help")?.showModal(),
  "/": () => one("[type=search]")?.focus(),
  j: () => move(1), k: () => move(-1),
  Enter: () => rows()[row]?.querySelector("a")?.click(),
  x: () => tick(row), X: () => tick(ticked < 0 ? row : ticked),
  "[": () => follow("newer"), "]": () => follow("older"), u: () => follow("up"), r: () => follow("retry"), ".": () => follow("live-switch"),
  y: () => copy(new URL(document.body.dataset.pinned || "", location.href).href),
};

addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.altKey || event.metaKey || kept("keys", "off")) return;
  if (target.closest("input, select, textarea") || one("dialog[open]")) return;
  if (key === "Enter" && target.closest("a, button, summary")) return;
  const tab = first === "g" && all("[data-key]").find((each) => each.dataset.key === key);
  const act = tab ? () => tab.click() : keys[key];
  first = tab ? "" : key;
  if (act) { event.preventDefault(); act(); }
});
