// Times in the viewer's zone, and regions of the page that follow what happens. Nothing needs it:
// without it the page shows the same in UTC, as of when it was asked for.
"use strict";

const REFETCH_EVERY = 2000; // milliseconds
const RECONNECT_AFTER = 3000;
const AGAIN_WHEN_FULL = 30_000;

function localise(root) {
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const isToday = at.toDateString() === today;
    time.textContent = isToday ? at.toLocaleTimeString() : at.toLocaleString();
  }
}

// What is being typed into or selected stays: its news wait until that is over.
function isBusy(region) {
  const selection = getSelection();
  if (!selection.isCollapsed && selection.containsNode(region, true)) return true;
  return [...region.querySelectorAll("input")].some(
    (input) => input === document.activeElement || input.value !== input.defaultValue,
  );
}

const served = new WeakMap(); // a region's HTML as it came, with the times as it has them
const waiting = new Map(); // by its id, what a busy region is to become

function scrolled(region) {
  return [...region.querySelectorAll(".wide")];
}

// What had the focus keeps it, and what was scrolled stays so: a region that follows what happens
// must not take anything away.
function replace(region, fresh) {
  if (!region || !fresh) return;
  const html = fresh.outerHTML;
  waiting.delete(region.id);
  if (html === served.get(region)) return;
  if (isBusy(region)) {
    waiting.set(region.id, fresh);
    return;
  }
  served.set(fresh, html);
  const focusable = "a, button, [tabindex]";
  const place = [...region.querySelectorAll(focusable)].indexOf(document.activeElement);
  const places = scrolled(region).map((element) => element.scrollLeft);
  localise(fresh);
  region.replaceWith(fresh);
  scrolled(fresh).forEach((element, at) => (element.scrollLeft = places[at] ?? 0));
  if (place >= 0) fresh.querySelectorAll(focusable)[place]?.focus({ preventScroll: true });
}

function catchUp() {
  for (const [id, fresh] of [...waiting]) replace(document.getElementById(id), fresh);
}

function parsed(html) {
  return new DOMParser().parseFromString(html, "text/html");
}

function replaceAll(regions) {
  for (const [id, html] of Object.entries(regions)) {
    replace(document.getElementById(id), parsed(html).getElementById(id));
  }
}

let asking = false;
let isStale = false;

async function refetch() {
  isStale = document.querySelector("[data-live][id]") !== null;
  if (asking || document.hidden) return;
  asking = true;
  while (isStale && !document.hidden) {
    isStale = false;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (answer.ok && !answer.redirected) {
        const fresh = parsed(await answer.text());
        for (const region of document.querySelectorAll("[data-live][id]")) {
          replace(region, fresh.getElementById(region.id));
        }
      }
    } catch {
      // The daemon is away; the stream says so, and that it is back.
    }
    await new Promise((resolve) => setTimeout(resolve, REFETCH_EVERY));
  }
  asking = false;
}

let stream = null;
let hasMissed = false; // what happened while no stream told of it

// A browser has six connections to a place: a tab that nobody sees must not hold one of them.
function follow() {
  if (stream || document.hidden) return;
  const [away, full] = ["away", "full"].map((id) => document.getElementById(id));
  stream = new EventSource(document.body.dataset.live);
  stream.addEventListener("open", () => {
    if (hasMissed) refetch();
    hasMissed = false;
    away.hidden = full.hidden = true;
  });
  stream.addEventListener("changed", (event) => {
    const changed = JSON.parse(event.data);
    if ("page" in changed) refetch();
    else replaceAll(changed);
  });
  stream.addEventListener("full", () => {
    full.hidden = false;
    unfollow();
    setTimeout(follow, AGAIN_WHEN_FULL);
  });
  stream.addEventListener("error", (event) => {
    if (event.target !== stream) return;
    hasMissed = true;
    away.hidden = false;
    if (stream.readyState === EventSource.CLOSED) {
      unfollow();
      setTimeout(follow, RECONNECT_AFTER);
    }
  });
}

function unfollow() {
  hasMissed = true;
  stream?.close();
  stream = null;
}

// Where nothing can point at a time, a tap has it in UTC, and the next one as it was.
function swap(event) {
  const time = event.target.closest("time[title]");
  if (!time || time.closest("a")) return;
  [time.textContent, time.title] = [time.title, time.textContent];
}

for (const region of document.querySelectorAll("section[id]")) {
  served.set(region, region.outerHTML);
}
localise(document);
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
document.getElementById("zone").textContent = `in your zone (${zone}); point at one, or tap it, for UTC`;
document.addEventListener("click", swap);
document.addEventListener("selectionchange", catchUp);
document.addEventListener("focusout", () => setTimeout(catchUp));
if (document.body.dataset.live) {
  follow();
  document.addEventListener("visibilitychange", () => (document.hidden ? unfollow() : follow()));
  addEventListener("pagehide", unfollow);
  addEventListener("pageshow", follow);
}
