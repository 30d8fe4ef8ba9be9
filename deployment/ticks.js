// The boxes before the tags of an answer, in the form and in the page that tags in the browser.

/** Show the boxes of an answer, and keep the tags that are ticked in a field, in the order of the answer. */
export function followTicks(answer, field) {
  const boxes = [...answer.querySelectorAll("input.tick")];
  for (const box of boxes) {
    box.hidden = false;
    box.addEventListener("change", () => {
      field.value = boxes.filter(({ checked }) => checked).map(({ value }) => value).join(" ");
    });
  }
}
