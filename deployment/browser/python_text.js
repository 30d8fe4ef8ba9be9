// What Python's string methods and regular expressions do with Unicode, where JavaScript's differ.

// Python's \s and str.strip() know the separators \x1c to \x1f and \x85, and do not know \ufeff.
export const SPACE = "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const START = new RegExp(`^[${SPACE}]+`, "u");
const END = new RegExp(`[${SPACE}]+$`, "u");

export const lstrip = (text) => text.replace(START, "");

export function rstrip(text) {
  // A search for END from the left would try every blank of the text.
  let end = text.length;
  while (end > 0 && END.test(text[end - 1])) end -= 1;
  return text.slice(0, end);
}

export const strip = (text) => rstrip(lstrip(text));

// The number of characters as Python counts them: a pair of surrogates is one.
export function length(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

// The place in a string after its first `count` characters.
export function placeAfter(text, count) {
  let place = 0;
  for (const character of text) {
    if (count-- === 0) break;
    place += character.length;
  }
  return place;
}
