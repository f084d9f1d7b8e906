// Moves the number of waves when live.js has news of it.
document.querySelector("[data-events]").addEventListener("news", ({ detail: news }) => {
  document.getElementById("total").textContent = `${news.total} wave${news.total === 1 ? "" : "s"}`;
});
