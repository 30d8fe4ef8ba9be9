// From the text of a question to the tokens that a model reads: the twin of deployment/tagging/encoding.py.

import { BertNormalizer, Tokenizer } from "@huggingface/tokenizers";

import { strip } from "./python_text.js";

const MAX_FRAGMENTED = 1 / 3;
const MIN_WORDS = 4;
const CJK = /[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

// The library's normalizer takes neither CJK characters beyond U+FFFF for such nor a Σ at the end of a word for a σ.
class ExactBertNormalizer extends BertNormalizer {
  tokenize_chinese_chars(text) {
    return text.replace(CJK, " $& ");
  }

  normalize(text) {
    const lowercase = this.config.lowercase && [...text].map((character) => character.toLowerCase()).join("");
    return super.normalize(lowercase || text);
  }
}

/** The tokenizer of a tokenizer.json, which joins pairs and truncates as the Python library does. */
export class QuestionTokenizer {
  /**
   * @param {object} content of tokenizer.json
   * @param {number} maxLength number of tokens that the model reads
   */
  constructor(content, maxLength) {
    const tokenizer = new Tokenizer(content, {});
    if (content.normalizer?.type === "BertNormalizer") tokenizer.normalizer = new ExactBertNormalizer(content.normalizer);
    const model = tokenizer.model;
    this.idOf = (token) => tokenizer.added_tokens_map.get(token)?.id ?? model.tokens_to_ids.get(token) ?? model.unk_token_id;
    tokenizer.model = (words) => words.map((word) => model([word])); // the tokens of each word, not of all
    this.tokenizer = tokenizer;
    this.maxLength = maxLength;
    this.padId = content.padding?.pad_id ?? 0;
  }

  /**
   * Encode a question as a pair, or as one text if a field is blank or not read; truncated, the longest first.
   *
   * @returns {{ids: number[], typeIds: number[], tokens: string[], words: (string|null)[]}} `words` names the word of
   *   each token, null for special tokens
   */
  encode(title, description, fields) {
    const texts = [fields.includes("title") ? title : "", fields.includes("description") ? description : ""];
    const read = texts.map(strip).filter((text) => text);
    const [first = [], second = null] = read.map((text, number) => this.pieces(text, number));
    const added = this.join([], second && []).tokens.length;
    const [room, roomOfSecond] = truncated(first.length, second?.length ?? 0, this.maxLength - added);
    const joined = this.join(first.slice(0, room), second && second.slice(0, roomOfSecond));
    const tokens = joined.tokens.map((piece) => piece.token ?? piece);
    return {
      ids: tokens.map(this.idOf),
      typeIds: joined.token_type_ids ?? new Array(tokens.length).fill(0),
      tokens,
      words: joined.tokens.map((piece) => piece.word ?? null),
    };
  }

  pieces(text, sequence) {
    return this.tokenizer.encode_text(text).flatMap((tokens, number) =>
      (typeof tokens === "string" ? [tokens] : tokens).map((token) => ({ token, word: `${sequence} ${number}` })),
    );
  }

  join(first, second) {
    const join = this.tokenizer.post_processor;
    return join ? join(first, second, true) : { tokens: [...first, ...(second ?? [])] };
  }
}

// Return how many tokens of two texts are kept if both have room for `room`: longest_first of the Python library.
function truncated(first, second, room) {
  if (first + second <= room) return [first, second];
  let [shorter, longer] = [Math.min(first, second), Math.max(first, second)];
  longer = shorter > room ? shorter : Math.max(shorter, room - shorter);
  if (shorter + longer > room) {
    shorter = Math.floor(room / 2);
    longer = room - shorter;
  }
  return first > second ? [longer, shorter] : [shorter, longer];
}

/** Return whether most words of an encoding are missing from the tokenizer's vocabulary. */
export function isFragmented({ tokens, words }) {
  const pieces = new Map();
  tokens.forEach((token, place) => {
    const word = words[place];
    if (word !== null && (pieces.has(word) || /^\p{L}/u.test(token.replace(/^[Ġ▁]+/, "")))) {
      pieces.set(word, (pieces.get(word) ?? 0) + 1);
    }
  });
  const fragments = [...pieces.values()].filter((count) => count >= 3).length;
  return pieces.size >= MIN_WORDS && fragments / pieces.size > MAX_FRAGMENTED;
}

/** Return whether a question is blank in all of `fields`. */
export function isBlank(title, description, fields) {
  return !(fields.includes("title") && strip(title)) && !(fields.includes("description") && strip(description));
}
