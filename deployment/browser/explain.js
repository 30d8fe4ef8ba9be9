// Which words of a question led to which suggested tag: the twin of deployment/tagging/explain.py.

import { sigmoid } from "./decision.js";
import { SPACE, strip } from "./python_text.js";

const WINDOW = 6;
const MAX_OPENED = 5;
const MIN_SHARE = 0.3;
const WORD = new RegExp(`[^${SPACE}]+`, "gu");

/**
 * Attribute the words of a question to its suggested tags.
 *
 * @param {Tagger} tagger
 * @param {string} title as `tagger.read` gives it
 * @param {string} description
 * @returns {Promise<{title: {text, tag, weight}[], description: {text, tag, weight}[]}>} the texts in pieces; `tag` is
 *   the suggested tag whose logit a word raised most, null for the text between such words
 */
export async function explainTags(tagger, title, description) {
  const texts = { title: strip(title), description: strip(description) };
  const { words, drops, suggested } = await occlude(tagger, texts);
  const largest = suggested.map((_, tag) => Math.max(0, ...drops.map((drop) => drop[tag])));
  const pieces = { title: [], description: [] };
  const position = { title: 0, description: 0 };
  const addText = (field, end) => {
    const text = texts[field].slice(position[field], end);
    if (text) pieces[field].push({ text, tag: null, weight: 0 });
  };
  words.forEach(({ field, start, end }, number) => {
    const shares = drops[number].map((drop, tag) => (largest[tag] > 0 ? drop / largest[tag] : 0));
    const attributed = drops[number].map((drop, tag) => (shares[tag] >= MIN_SHARE ? drop : 0));
    const best = attributed.indexOf(Math.max(...attributed));
    if (!(attributed[best] > 0)) return;
    addText(field, start);
    const weight = Number(shares[best].toFixed(3));
    pieces[field].push({ text: texts[field].slice(start, end), tag: suggested[best], weight });
    position[field] = end;
  });
  for (const field of Object.keys(texts)) addText(field);
  return pieces;
}

// Hide words from the model: WINDOW neighbours together, then those of the most important windows one by one.
async function occlude(tagger, texts) {
  const encoding = tagger.encode(texts.title, texts.description);
  const logits = await tagger.logits(encoding);
  const probabilities = tagger.rule.probabilities(logits.map(sigmoid));
  const chosen = tagger.selection.select(probabilities).suggested;
  const byLabel = new Map(chosen.map(({ label, tag }) => [label, tag]).reverse());
  const suggested = [...byLabel.keys()].sort((a, b) => a - b);
  const dropsWithout = async (hidden) => {
    const others = await tagger.logits(encoding, encoding.ids.map((_, token) => (hidden.has(token) ? 0 : 1)));
    return suggested.map((tag) => logits[tag] - others[tag]);
  };
  const words = readWords(tagger, encoding, texts);
  let windows = [];
  for (let start = 0; start < words.length; start += WINDOW) windows.push(words.slice(start, start + WINDOW));
  if (windows.length > MAX_OPENED) {
    const importance = [];
    for (const window of windows) {
      importance.push(Math.max(...(await dropsWithout(new Set(window.flatMap(({ tokens }) => tokens))))));
    }
    const order = windows.map((_, place) => place).sort((a, b) => importance[b] - importance[a]);
    windows = order.slice(0, MAX_OPENED).sort((a, b) => a - b).map((place) => windows[place]);
  }
  const opened = windows.flat();
  const drops = [];
  for (const word of opened) drops.push(await dropsWithout(new Set(word.tokens)));
  return { words: opened, drops, suggested: suggested.map((label) => byLabel.get(label)) };
}

// Return the words between blanks that the model reads, with the places of their tokens. The library names no places in
// the text, so each word is tokenized alone; where that gives other tokens than the text did, no further word is shown.
function readWords(tagger, { tokens, words: wordOf }, texts) {
  const fields = tagger.settings.fields.filter((field) => texts[field]);
  const order = ["title", "description"].filter((field) => fields.includes(field));
  return order.flatMap((field, sequence) => {
    const own = tokens.map((_, place) => place).filter((place) => wordOf[place]?.startsWith(`${sequence} `));
    const found = [];
    let next = 0;
    for (const match of texts[field].matchAll(WORD)) {
      const lead = match.index ? " " : "";
      const pieces = tagger.tokenizer.pieces(lead + match[0], sequence).map(({ token }) => token);
      const places = own.slice(next, next + pieces.length);
      if (!places.every((place, number) => tokens[place] === pieces[number])) break;
      next += pieces.length;
      if (places.length) {
        found.push({ field, start: match.index, end: match.index + match[0].length, tokens: places });
      }
      if (next >= own.length) break;
    }
    return found;
  });
}
