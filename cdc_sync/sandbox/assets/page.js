// Keeps the page's tables fresh: what the server renders replaces what is shown, as nodes.
"use strict";

const EVERY = 2000; // milliseconds

async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
  } catch {
    // The sandbox is away; what was seen last stays until it is back.
  }
  setTimeout(refresh, EVERY);
}

setTimeout(refresh, EVERY);
