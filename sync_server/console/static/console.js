"use strict";
// Asks for confirmation before a form does something that cannot be undone. Without this script the form is sent at once.
const sure = document.getElementById("sure");
for (const form of document.querySelectorAll("form[data-confirm]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sure === "yes") return;
    event.preventDefault();
    document.getElementById("sure-text").textContent = form.dataset.confirm;
    sure.returnValue = "no";
    sure.onclose = () => {
      if (sure.returnValue !== "yes") return;
      form.dataset.sure = "yes";
      form.requestSubmit();
    };
    sure.showModal();
  });
}
// Reloads a page that shows a running rollout, except while the operator uses a form or the page is hidden.
const fresh = document.querySelector("[data-refresh]");
if (fresh) {
  setInterval(() => {
    const busy = sure.open || document.hidden || document.activeElement?.closest("form");
    if (!busy) location.reload();
  }, Number(fresh.dataset.refresh) * 1000);
}
