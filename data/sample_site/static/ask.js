// The tag editor of the ask page, which behaves like that of the real sites: a word becomes a tag at a space, at Enter,
// or when the field loses the focus. The field #tagnames, which it hides, holds all tags.
"use strict";

const MAX_TAGS = 5;
const names = document.getElementById("tagnames");
const hasStacks = names.classList.contains("s-input"); // the design system of the sites since 2020
const editor = document.createElement("div");
const rendered = document.createElement("span");
const input = document.createElement("input");

const tags = () => names.value.split(" ").filter(Boolean);

function show(chosen) {
  names.value = chosen.join(" ");
  rendered.replaceChildren(...chosen.map((tag) => {
    const element = document.createElement("span");
    const remove = document.createElement(hasStacks ? "button" : "span");
    element.className = hasStacks ? "s-tag rendered-element" : "post-tag rendered-element";
    remove.className = hasStacks ? "js-delete-tag s-tag--dismiss" : "delete-tag";
    remove.title = "Remove tag";
    if (hasStacks) remove.type = "button";
    remove.addEventListener("click", () => show(tags().filter((other) => other !== tag)));
    element.append(tag, remove);
    return element;
  }));
}

function take(words) {
  show([...new Set([...tags(), ...words])].slice(0, MAX_TAGS));
}

input.addEventListener("keydown", (event) => {
  if (event.key === "Backspace" && !input.value) show(tags().slice(0, -1));
  if (event.key === "Enter") {
    event.preventDefault();
    input.value += " ";
  }
  setTimeout(() => { // after the key has had its effect
    const words = input.value.split(" ");
    if (words.length === 1) return;
    input.value = words.pop();
    take(words.filter(Boolean));
  });
});

input.addEventListener("blur", () => {
  const words = input.value.split(" ").filter(Boolean);
  if (!words.length) return; // a button that is being clicked stays the same one
  input.value = "";
  take(words);
});

editor.className = hasStacks ? "js-tag-editor tag-editor multi-line s-input" : "tag-editor";
input.type = "text";
input.autocomplete = "off";
if (hasStacks) {
  input.id = "tageditor-replacing-tagnames--input";
  input.className = "s-input js-tageditor-replacing";
  input.placeholder = names.placeholder;
}
editor.append(rendered, input, document.createElement("span"));
names.style.display = "none";
names.after(editor);
show(tags());
