// The tagger in a thread of its own, so that the page never freezes.
//
// Takes {id, method, args} and answers {id, result} or {id, problem}; what takes long also sends {id, progress, text}
// with a progress from 0 to 1.

import { readTable, writeTable } from "./csv.js";
import { ModelError, QuestionError, TableError } from "./errors.js";
import { fileReader, forgetOthers } from "./files.js";
import { isOutOfMemory, loadTagger } from "./tagger.js";

const WASM = "ort-wasm-simd-threaded.wasm";
const YIELD_MS = 50; // between looks at the messages that have come while a file is being tagged
let tagger;
let isStopped;

const methods = {
  async load(id, files) {
    const read = Object.entries(files).filter(([name]) => name.startsWith("model/") || name === WASM);
    const total = read.reduce((sum, [, { bytes }]) => sum + bytes, 0);
    let arrived = 0;
    const readFile = fileReader(files, (bytes) => {
      arrived += bytes;
      postMessage({ id, progress: arrived / total });
    });
    const readModelFile = (name) => readFile(`model/${name}`);
    const wasm = readFile(WASM);
    wasm.catch(() => {}); // reported below, unless another file fails first
    tagger = await loadTagger(readModelFile, wasm);
    await forgetOthers(files);
  },
  answer: (id, title, description) => tagger.answer(title, description),
  explain: (id, title, description) => tagger.explain(title, description),
  tagFile,
  stop: () => {
    isStopped = true;
  },
};

self.onmessage = async ({ data: { id, method, args } }) => {
  try {
    postMessage({ id, result: await methods[method](id, ...args) });
  } catch (error) {
    postMessage({ id, problem: describe(error) });
  }
};

// Tag a CSV file, or its first rows if it is stopped.
async function tagFile(id, file) {
  isStopped = false;
  const table = readTable(new Uint8Array(await file.arrayBuffer()), file.name);
  const total = table.rows.length;
  const results = [];
  let looked = performance.now();
  for (const [title, description] of table.questions) {
    results.push(await tagger.tag(title, description));
    if (performance.now() - looked < YIELD_MS) continue;
    const text = `${results.length.toLocaleString("en")} of ${total.toLocaleString("en")} rows`;
    postMessage({ id, progress: results.length / total, text });
    await new Promise((resume) => setTimeout(resume));
    if (isStopped) break;
    looked = performance.now();
  }
  const blank = results.filter((result) => !result.length).length;
  return { text: writeTable(table, results), notes: table.notes, done: results.length, total, blank };
}

function describe(error) {
  if (error instanceof QuestionError || error instanceof TableError) return error.message;
  if (error instanceof ModelError) return `The tagger cannot be loaded: ${error.message}.`;
  if (isOutOfMemory(error)) return "There is not enough memory for the tagger: close other tabs, then load this page again.";
  if (typeof WebAssembly !== "object") return "This browser has no WebAssembly, which the tagger needs: use a current browser, or allow it.";
  if (/WebAssembly|wasm|backend/i.test(error)) {
    return "This browser cannot run the tagger's WebAssembly: use a current browser, or allow it.";
  }
  return `The tagger failed: ${String(error?.message ?? error).split("\n")[0]}`;
}
