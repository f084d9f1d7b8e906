// Follows the channel that a page's element names in data-events, while one looks: each news is an event "news" of the
// element, heard by whoever shows it, from a script before this one. The page works without: it is only older then.
const place = document.querySelector("[data-events]");
const total = document.getElementById("total");
const state = document.getElementById("state");
const announcement = document.getElementById("announcement");

let version = Number(place.dataset.version);
let events = null;
let failures = 0;
let retry = 0;

function tell(news) {
  if (news.version < version) return; // an older answer that came late
  version = news.version;
  place.dispatchEvent(new CustomEvent("news", { detail: news }));
  announce();
}

// A screen reader hears the newest count, at most every ten seconds, and nothing when the count is what it was.
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
    state.textContent = "live";
    state.className = "live";
  };
  events.onmessage = (event) => tell(JSON.parse(event.data));
  events.onerror = () => {
    state.textContent = "reconnecting";
    state.className = "";
    // After a lost connection the browser reconnects by itself. After an answer other than 200, from a server that is
    // restarting, say, it gives up: then it is for us, later each time, and not at the same moment as everybody else.
    if (events.readyState === EventSource.CLOSED) {
      failures += 1;
      retry = setTimeout(watch, Math.min(30_000, 1000 * 2 ** failures) * (0.5 + Math.random() / 2));
    }
  };
}

// A hidden page holds no connection: a browser has six to a host, and this is one of them.
function follow() {
  clearTimeout(retry);
  events?.close();
  if (document.visibilityState === "visible") watch();
}
document.addEventListener("visibilitychange", follow);
follow();
