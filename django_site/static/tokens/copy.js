// Copies the new token. Browsers have a clipboard over HTTPS and on localhost only.
const button = document.getElementById("copy");
const status = document.querySelector(".notice [role=status]");

button.hidden = !navigator.clipboard;
button.addEventListener("click", async () => {
  await navigator.clipboard.writeText(document.getElementById("token").textContent);
  status.textContent = status.dataset.copied;
});
