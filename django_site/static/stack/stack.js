// Shows each reading of the stack while the page is visible. Without this script the page shows the one of its load.
const place = document.getElementById("stack");
let events = null;
let retry = 0;

function watch() {
  events = new EventSource(place.dataset.events);
  events.onmessage = (event) => {
    place.innerHTML = event.data;
    place.classList.remove("stale");
  };
  events.onerror = () => {
    place.classList.add("stale");
    // After a status other than 200 the browser does not connect again by itself.
    if (events.readyState === EventSource.CLOSED) retry = setTimeout(watch, 2000 + 2000 * Math.random());
  };
}

// A hidden page closes its connection, so that nobody reads for it.
function follow() {
  clearTimeout(retry);
  events?.close();
  if (document.visibilityState === "visible") watch();
}

document.addEventListener("visibilitychange", follow);
follow();
