// The tagger: the ONNX model of a model folder, run on questions in the browser or in node, without a page.
//
//     const tagger = await loadTagger(async (name) => new Uint8Array(...), wasm);
//     await tagger.answer("Loss becomes NaN", "<p>after a few steps</p>");
//
// The answers are those of deployment/tagging/tagger.py.

import * as ort from "onnxruntime-web/wasm";

import { DecisionRule, sigmoid } from "./decision.js";
import { QuestionTokenizer, isBlank, isFragmented } from "./encoding.js";
import { ModelError, QuestionError } from "./errors.js";
import { explainTags } from "./explain.js";
import { length, strip } from "./python_text.js";
import { questionText } from "./question_text.js";
import { Selection } from "./selection.js";

const MODEL = "onnx/model_quantized.onnx";

/**
 * Load a model folder.
 *
 * @param {(name: string) => Promise<Uint8Array>} readFile reads a file of the model folder
 * @param {Uint8Array | Promise<Uint8Array>} wasm ort-wasm-simd-threaded.wasm of onnxruntime-web
 * @returns {Promise<Tagger>}
 * @throws {ModelError} if a file is damaged, or the files do not belong together
 */
export async function loadTagger(readFile, wasm) {
  const names = ["tagger.json", "thresholds.json", "tag_types_encoded.json", "tokenizer.json", "rules.json", "tiers.json"];
  const [model, ...files] = await Promise.all([MODEL, ...names].map(readFile));
  const [settings, thresholds, tagIndices, tokenizer, rules, tiers] = files.map((bytes, place) => readJson(names[place], bytes));
  const tags = Object.keys(tagIndices).sort((a, b) => tagIndices[a] - tagIndices[b]);
  if (!tags.every((tag, index) => tagIndices[tag] === index && thresholds.per_tag?.[tag] > 0)) {
    throw new ModelError("tag_types_encoded.json and thresholds.json do not belong together");
  }
  ort.env.wasm.numThreads = 1; // more need headers that static servers do not send
  ort.env.wasm.wasmBinary = await wasm;
  let session;
  try {
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  } catch (error) {
    if (isOutOfMemory(error) || !/protobuf|ModelProto|\.onnx|opset|Load model/i.test(error)) throw error;
    throw new ModelError(`${MODEL} is no readable ONNX model`);
  }
  try {
    return new Tagger(session, settings, tags, new DecisionRule(thresholds, tags), tokenizer, rules, tiers);
  } catch (error) {
    throw new ModelError(`tokenizer.json is no readable tokenizer (${error.message})`);
  }
}

export { isFragmented, sigmoid };

/** Return whether an error says that there is not enough memory. */
export const isOutOfMemory = (error) => /out of memory|bad_alloc|allocation failed|could not allocate|abort\(OOM/i.test(error);

function readJson(name, bytes) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new ModelError(`${name} is no readable JSON`);
  }
}

/** Suggests tags for questions; made by loadTagger. */
export class Tagger {
  constructor(session, settings, tags, rule, tokenizer, rules, tiers) {
    this.session = session;
    this.settings = settings; // the content of tagger.json
    this.tags = tags;
    this.rule = rule;
    this.selection = new Selection(tags, rule.threshold, settings.max_tags, rules, tiers);
    this.tokenizer = new QuestionTokenizer(tokenizer, settings.max_length);
  }

  /** Return [title, description] as the model reads them. */
  read(title, description) {
    return questionText(title, description, this.settings.max_length);
  }

  /** Return the encoding of a question whose texts come from `read`, with the line that calibrates its logits. */
  encode(title, description) {
    const texts = { title, description };
    const [field, ...others] = this.settings.fields.filter((name) => strip(texts[name]));
    const line = (others.length ? null : this.settings.alone?.[field]) ?? [1, 0];
    return { ...this.tokenizer.encode(title, description, this.settings.fields), line };
  }

  /** Return the calibrated logits of an encoding, one number for each tag; tokens whose mask is 0 are hidden. */
  async logits({ ids, typeIds, line: [slope, intercept] }, mask = ids.map(() => 1)) {
    const feeds = { input_ids: ids, attention_mask: mask, token_type_ids: typeIds };
    const inputs = Object.fromEntries(
      this.session.inputNames.map((name) => [
        name,
        new ort.Tensor("int64", BigInt64Array.from(feeds[name], BigInt), [1, ids.length]),
      ]),
    );
    const outputs = await this.session.run(inputs);
    const logits = [...outputs[this.session.outputNames[0]].data];
    if (logits.length !== this.tags.length) {
      throw new ModelError(`the model gives ${logits.length} labels, but tag_types_encoded.json names ${this.tags.length} tags`);
    }
    return logits.map((logit) => slope * logit + intercept);
  }

  /**
   * Return what the page shows of one question.
   *
   * @param {string} title plain text
   * @param {string} description plain text or HTML
   * @returns {Promise<{suggested: {tag, probability}[], others: {tag, probability}[], fits: boolean}>}
   * @throws {QuestionError} if both are blank, or one is too long
   */
  async answer(title, description) {
    this.check(title, description);
    const texts = this.read(title, description);
    const encoding = this.encode(...texts);
    const raw = (await this.logits(encoding)).map(sigmoid);
    const probabilities = this.rule.probabilities(raw);
    const { suggested, others } = this.selection.select(probabilities);
    const isRead = !isBlank(...texts, this.settings.fields) && !isFragmented(encoding);
    const fits = isRead && raw.some((probability) => probability >= this.settings.min_confidence);
    return { suggested: this.rows(suggested, fits), others: this.rows(others, fits), fits };
  }

  /** Return the suggested tags of one question, none if it is blank in every field that the model reads. */
  async tag(title, description) {
    const texts = this.read(title, description);
    if (isBlank(...texts, this.settings.fields)) return [];
    const raw = (await this.logits(this.encode(...texts))).map(sigmoid);
    const probabilities = this.rule.probabilities(raw);
    return this.rows(this.selection.select(probabilities).suggested);
  }

  /** Return which words led to which suggested tag; see explainTags. Throws as `answer` does. */
  async explain(title, description) {
    this.check(title, description);
    return explainTags(this, ...this.read(title, description));
  }

  rows(choices, fits = true) {
    return choices.map(({ tag, probability, rule, tier }) => ({
      tag,
      probability: Number(probability.toFixed(4)),
      ...(rule ? { rule } : {}),
      ...(tier ? { tier: fits ? tier : "shown" } : {}),
    }));
  }

  check(title, description) {
    const limits = { title: this.settings.max_title, description: this.settings.max_description };
    for (const [name, text] of Object.entries({ title, description })) {
      const characters = length(text);
      if (characters > limits[name]) {
        const [has, most] = [characters, limits[name]].map((number) => number.toLocaleString("en"));
        throw new QuestionError(`The ${name} has ${has} characters; at most ${most} are allowed.`);
      }
    }
    if (isBlank(...this.read(title, description), ["title", "description"])) {
      throw new QuestionError("Write a title or a description first.");
    }
  }
}
