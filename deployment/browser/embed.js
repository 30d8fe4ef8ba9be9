// The tagger in a hidden frame of an ask page, where ask-page.user.js talks to it.
//
// The ask page sends the text "question-tagger" with a port. The port gets {connected: true}, or {connected: false} if
// embed.html does not allow the origin. From then on it takes {id, title, description} and gives {id, answer} or
// {id, problem}, and {progress} from 0 to 1 while the model is loaded. The text of a question goes nowhere else.

import { call, readFileList, startWorker } from "./tagger_worker.js";

const allowed = document.querySelector("meta[name=allowed-origins]").content.trim().split(/\s+/);
let loaded = null;

function isAllowed(origin) {
  return allowed.some((entry) => {
    const [start, end] = entry.split("*");
    return end === undefined ? origin === entry : origin.startsWith(start) && origin.endsWith(end);
  });
}

async function load(onProgress) {
  const files = await readFileList();
  startWorker(files);
  await call("load", [files], onProgress);
}

async function answer(port, { id, title, description }) {
  try {
    loaded ??= load(({ progress }) => port.postMessage({ progress }));
    await loaded;
  } catch ({ problem, message }) {
    loaded = null; // the next question tries again
    port.postMessage({ id, problem: problem ?? `The tagger cannot be loaded: ${message}.` });
    return;
  }
  try {
    port.postMessage({ id, answer: await call("answer", [title, description]) });
  } catch ({ problem }) {
    port.postMessage({ id, problem });
  }
}

window.addEventListener("message", ({ data, origin, source, ports: [port] }) => {
  if (data !== "question-tagger" || source !== window.parent || !port) return;
  if (isAllowed(origin)) port.onmessage = (event) => answer(port, event.data);
  port.postMessage({ connected: isAllowed(origin) });
});
