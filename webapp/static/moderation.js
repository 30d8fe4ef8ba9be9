// The queue works without this file, which adds single keys, a switch for them, and the focus on the next question.
"use strict";

document.querySelector("[data-focus]")?.focus();

const keys = document.getElementById("keys");
let sent = false;

if (keys) {
  const stored = "moderation-keys";
  keys.closest("[hidden]").hidden = false;
  keys.checked = localStorage.getItem(stored) !== "off";
  keys.addEventListener("change", () => localStorage.setItem(stored, keys.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.id === "tags") event.target.blur();
    const writing = event.target.matches("input:not([type=checkbox]), textarea");
    if (!keys.checked || writing || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const wanted = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (!wanted) return;
    event.preventDefault();
    if (wanted.id === "tags") wanted.select();
    else wanted.click();
  });
}

// A second press of a button or key before the next page is there would decide about nothing.
document.addEventListener("submit", (event) => {
  if (sent) event.preventDefault();
  sent = true;
});
window.addEventListener("pageshow", () => { sent = false; });
