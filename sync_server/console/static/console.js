"use strict";
// Asks before a form does something that cannot be taken back. Without this script the form is simply sent.
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
// A page that shows what is under way is loaded again, unless somebody is in the middle of something.
const fresh = document.querySelector("[data-refresh]");
if (fresh) {
  setInterval(() => {
    const busy = sure.open || document.hidden || document.activeElement?.closest("form");
    if (!busy) location.reload();
  }, Number(fresh.dataset.refresh) * 1000);
}
