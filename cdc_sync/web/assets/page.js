// Times in the viewer's zone, and regions of the page that follow what happens. Nothing needs it:
// without it the page shows the same in UTC, as of when it was asked for.
"use strict";

const REFETCH_EVERY = 2000; // milliseconds
const RECONNECT_AFTER = 3000;

function localise(root) {
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const isToday = at.toDateString() === today;
    time.textContent = isToday ? at.toLocaleTimeString() : at.toLocaleString();
  }
}

function isBusy(region) {
  const focused = document.activeElement;
  return region.contains(focused) && focused.matches("input, select, textarea");
}

// What had the focus keeps it: a region that follows what happens must not take it away.
function replace(region, fresh) {
  if (!region || !fresh || isBusy(region)) return;
  const focusable = "a, button, [tabindex]";
  const place = [...region.querySelectorAll(focusable)].indexOf(document.activeElement);
  localise(fresh);
  region.replaceWith(fresh);
  if (place >= 0) fresh.querySelectorAll(focusable)[place]?.focus();
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
  isStale = true;
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

function follow(address) {
  const away = document.getElementById("away");
  const stream = new EventSource(address);
  stream.addEventListener("open", () => {
    if (!away.hidden) refetch();
    away.hidden = true;
  });
  stream.addEventListener("changed", (event) => {
    const changed = JSON.parse(event.data);
    if ("page" in changed) refetch();
    else replaceAll(changed);
  });
  stream.addEventListener("error", () => {
    away.hidden = false;
    if (stream.readyState === EventSource.CLOSED) {
      setTimeout(() => follow(address), RECONNECT_AFTER);
    }
  });
  addEventListener("pagehide", () => stream.close());
}

localise(document);
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
document.getElementById("zone").textContent = `in your zone (${zone}); point at one for UTC`;
document.addEventListener("visibilitychange", () => isStale && refetch());
if (document.body.dataset.live) follow(document.body.dataset.live);
