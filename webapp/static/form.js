// The form works without this file, which adds busy buttons, copying, focus on results, and the last questions.
import { followTicks } from "../ticks.js";

const form = document.getElementById("question");
const copy = document.getElementById("copy");

// Screen readers do not announce the result of a new page: move the focus to it.
document.querySelector("[data-focus]")?.focus();

if (form) {
  const buttons = document.querySelectorAll("button[form=question], #question button");
  const setBusy = (busy) => buttons.forEach((button) => {
    button.setAttribute("aria-disabled", busy);
    button.dataset.label ??= button.textContent;
    button.textContent = busy ? "Looking for tags…" : button.dataset.label;
  });
  form.addEventListener("submit", (event) => {
    if (form.ariaBusy === "true") event.preventDefault();
    form.ariaBusy = "true";
    setBusy(true);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  // The back button restores the page as it was left, busy buttons included.
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    form.ariaBusy = "false";
    setBusy(false);
  });
}

const tags = document.getElementById("all-tags");
if (tags) followTicks(document.querySelector(".result"), tags);

if (copy && navigator.clipboard) {
  const status = document.getElementById("copied");
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(tags.value);
      status.textContent = "Copied.";
    } catch {
      tags.select();
      status.textContent = "Press Ctrl+C to copy.";
    }
  });
}

// The last questions are stored in this browser only.
const past = document.getElementById("history");

if (past && window.localStorage) {
  const key = "question-tagger";
  const kept = 10;
  const fields = [document.getElementById("title"), document.getElementById("description")];
  const read = () => {
    try {
      return JSON.parse(localStorage.getItem(key)) ?? [];
    } catch {
      return [];
    }
  };
  const show = () => {
    const questions = read();
    past.hidden = !questions.length;
    past.querySelector("ul").replaceChildren(...questions.map((question) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "secondary";
      button.textContent = question[0] || question[1];
      button.addEventListener("click", () => {
        fields.forEach((field, index) => { field.value = question[index]; });
        fields[0].focus();
      });
      item.append(button);
      return item;
    }));
  };
  if (document.getElementById("suggested")) {
    const asked = fields.map((field) => field.value);
    const others = read().filter((question) => question.join("\n") !== asked.join("\n"));
    localStorage.setItem(key, JSON.stringify([asked, ...others].slice(0, kept)));
  }
  past.querySelector(":scope > button").addEventListener("click", () => {
    localStorage.removeItem(key);
    show();
  });
  show();
}
