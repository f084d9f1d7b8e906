// Updates the results of a question when live.js receives them.
const tally = document.getElementById("tally");
const plural = (votes) => `${votes} ${votes === 1 ? tally.dataset.vote : tally.dataset.votes}`;

tally.addEventListener("news", ({ detail: news }) => {
  for (const choice of news.choices) {
    const row = tally.querySelector(`[data-choice="${choice.id}"]`);
    if (!row) {
      document.getElementById("state").textContent = tally.dataset.changed;
      return;
    }
    const share = news.total ? Math.round((100 * choice.votes) / news.total) : 0;
    row.querySelector(".votes").textContent = plural(choice.votes);
    row.querySelector(".share").textContent = `${share}%`;
    row.querySelector("rect").setAttribute("width", `${share}%`);
  }
  document.getElementById("total").textContent = plural(news.total);
  // At the closing time, a job of the site makes the api send this.
  if (news.closes_at && Date.parse(news.closes_at) <= Date.now()) {
    document.getElementById("state").textContent = tally.dataset.closed;
  }
});
