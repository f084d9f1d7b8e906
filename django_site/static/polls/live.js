// Watches the live channel whose URL an element has in data-events, while the page is visible. Each new state becomes a
// "news" event of that element, and polls.js shows it. Without this script the page shows the results as of its load.
const place = document.querySelector("[data-events]");
const total = document.getElementById("total");
const state = document.getElementById("state");
const announcement = document.getElementById("announcement");

let version = Number(place.dataset.version);
let events = null;
let failures = 0;
let retry = 0;

function show(news) {
  if (news.version < version) return; // an older state that arrived late
  version = news.version;
  place.dispatchEvent(new CustomEvent("news", { detail: news }));
  announce();
}

// A screen reader reads out the newest count at most every ten seconds, and only if it changed.
let pause = 0;
let said = total.textContent;
function announce() {
  if (pause) return;
  if (total.textContent !== said) {
    said = total.textContent;
    announcement.textContent = said;
    pause = setTimeout(() => {
      pause = 0;
      announce();
    }, 10_000);
  }
}

function watch() {
  events = new EventSource(place.dataset.events);
  events.onopen = () => {
    failures = 0;
    state.textContent = place.dataset.live ?? "live";
    state.className = "live";
  };
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.onerror = () => {
    state.textContent = place.dataset.reconnecting ?? "reconnecting";
    state.className = "";
    // After a lost connection the browser reconnects by itself. After a status other than 200, for example while the
    // api restarts, it does not. Then retry here, with growing random delays so that browsers do not retry all at once.
    if (events.readyState === EventSource.CLOSED) {
      failures += 1;
      retry = setTimeout(watch, Math.min(30_000, 1000 * 2 ** failures) * (0.5 + Math.random() / 2));
    }
  };
}

// A hidden page closes its connection, because a browser opens at most six to a host.
function follow() {
  clearTimeout(retry);
  events?.close();
  if (document.visibilityState === "visible") watch();
}
document.addEventListener("visibilitychange", follow);
follow();
