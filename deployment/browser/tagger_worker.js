// The tagger's worker, as page.js and embed.js use it.

let worker;
const calls = new Map();

/** Call a method of the worker. Rejects with {problem}. */
export function call(method, args, onProgress = () => {}) {
  const id = calls.size ? Math.max(...calls.keys()) + 1 : 1;
  return new Promise((resolve, reject) => {
    calls.set(id, { resolve, reject, onProgress });
    worker.postMessage({ id, method, args });
  });
}

function receive({ data }) {
  const { resolve, reject, onProgress } = calls.get(data.id);
  if ("progress" in data) return onProgress(data);
  calls.delete(data.id);
  return "problem" in data ? reject(data) : resolve(data.result);
}

/** Start the worker with which `call` talks; a former one ends. */
export function startWorker(files) {
  worker?.terminate();
  worker = new Worker(`worker.js?${files["worker.js"].sha256.slice(0, 16)}`, { type: "module" });
  worker.onmessage = receive;
  worker.onerror = (event) => {
    event.preventDefault();
    for (const { reject } of calls.values()) reject({ problem: "The tagger stopped: load this page again." });
    calls.clear();
  };
}

/** Return the files of the page: {name: {bytes, sha256}}. */
export async function readFileList() {
  const response = await fetch("files.json", { cache: "no-cache" }).catch(() => null);
  if (!response?.ok) throw new Error("files.json cannot be loaded: build the page, and serve it over HTTP");
  return (await response.json()).files;
}
