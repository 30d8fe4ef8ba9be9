// The page: its fields and its answers. The tagger itself runs in worker.js.

import { fileReader } from "./files.js";
import { followTicks } from "../ticks.js";
import { call, readFileList, startWorker } from "./tagger_worker.js";

const TYPING_PAUSE = 250; // milliseconds without a key, after which the tags of what is written appear
const byId = (id) => document.getElementById(id);
const fields = [byId("title"), byId("description")];
const texts = () => fields.map((field) => field.value);

byId("not-started").remove();

// ---- start ----

let settings; // the content of the model's tagger.json
const loaded = start();
loaded.catch(({ problem }) => showProblem(problem));

async function start() {
  if (typeof WebAssembly !== "object" || typeof Worker !== "function") {
    throw { problem: "This browser has no WebAssembly, which the tagger needs: use a current browser, or allow it." };
  }
  byId("loading").hidden = false;
  try {
    const files = await readFileList();
    startWorker(files);
    const loading = call("load", [files], ({ progress }) => { byId("loaded").value = progress; });
    settings = JSON.parse(new TextDecoder().decode(await fileReader(files, () => {})("model/tagger.json")));
    showSettings();
    await loading;
  } catch (error) {
    throw "problem" in error ? error : { problem: `The tagger cannot be loaded: ${error.message}.` };
  } finally {
    byId("loading").hidden = true;
  }
  registerServiceWorker();
}

// It lets the page start without a network. In frames and private windows, some browsers forbid it.
async function registerServiceWorker() {
  try {
    await navigator.serviceWorker.register("service-worker.js");
  } catch {
    // The page works all the same while there is a network.
  }
}

function showSettings() {
  document.title = byId("brand").textContent = settings.title;
  const site = byId("site");
  site.href = settings.site;
  site.textContent = settings.site.replace(/^.*?:\/\//, "");
  for (const field of fields) field.lang = settings.language;
  byId("examples").hidden = !settings.examples.length;
  byId("examples").querySelector("ul").replaceChildren(...settings.examples.map(({ label, title, description }) => {
    const button = element("button", { type: "button", className: "secondary", lang: settings.language }, label);
    button.addEventListener("click", () => {
      [fields[0].value, fields[1].value] = [title, description];
      ask(true);
    });
    return element("li", {}, button);
  }));
}

// ---- a question ----

let asked; // the texts of the question whose answer is shown or comes next
let timer;

for (const field of fields) {
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, TYPING_PAUSE, false);
  });
}
byId("question").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(true);
});
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(true);
});

// Show the tags of what is written. Only if they were asked for does the focus move, and a blank question count.
async function ask(explicit) {
  clearTimeout(timer);
  const question = texts();
  asked = question;
  if (!explicit && !question.some((text) => text.trim())) {
    showAnswer(null);
    showProblem("");
    return;
  }
  if (explicit) setBusy(true);
  try {
    await loaded;
    if (asked !== question) return; // a newer question has been asked meanwhile
    const answer = await call("answer", question);
    if (asked !== question) return;
    showProblem("");
    showAnswer(answer);
    if (explicit) byId("result-heading").focus();
  } catch ({ problem }) {
    if (asked === question) {
      showAnswer(null);
      showProblem(problem, explicit);
    }
  } finally {
    if (explicit) setBusy(false);
  }
}

function setBusy(busy) {
  const button = byId("ask");
  button.setAttribute("aria-disabled", busy);
  button.textContent = busy ? "Looking for tags…" : "Suggest tags";
}

function showProblem(problem, focus = false, box = byId("problem")) {
  const line = box.querySelector("p");
  if (line.textContent !== problem) line.textContent = problem;
  box.hidden = !problem;
  if (focus) box.focus();
}

// ---- an answer: the elements of answer.html ----

const SVG = "http://www.w3.org/2000/svg";

function element(name, properties, ...children) {
  const created = Object.assign(document.createElement(name), properties);
  created.append(...children);
  return created;
}

function bar(probability) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "bar");
  svg.setAttribute("aria-hidden", "true");
  const rect = document.createElementNS(SVG, "rect");
  const size = { width: `${100 * probability}%`, height: "100%", rx: "5" };
  for (const [name, value] of Object.entries(size)) rect.setAttribute(name, value);
  svg.append(rect);
  return svg;
}

const RULES = {
  implied: "goes with another of these tags",
  required: "this site asks for such a tag",
  people: "only people add this tag",
  at_most: "this site does not combine it with a suggested tag",
};

function tagRows(rows, isTicked) {
  return rows.map(({ tag, probability, rule, tier }) => element(
    "li",
    {},
    element(
      "span",
      { className: "name" },
      element("input", {
        type: "checkbox", className: "tick", ariaLabel: `Use ${tag}`, value: tag, checked: isTicked(tier),
      }),
      element("a", { className: "tag", href: `${settings.site}/questions/tagged/${encodeURIComponent(tag)}` }, tag),
    ),
    bar(probability),
    element("span", { className: "percent" }, `${(100 * probability).toFixed(0)} %`),
    ...(RULES[rule] ? [element("span", { className: "rule" }, RULES[rule])] : []),
  ));
}

function showAnswer(answer) {
  byId("result").hidden = !answer;
  byId("examples").hidden = Boolean(answer) || !settings?.examples.length;
  byId("said").textContent = "";
  if (!answer) return;
  const { suggested, others, fits } = answer;
  const names = suggested.map(({ tag }) => tag);
  const isTicked = (tier) => tier !== "shown"; // without tiers, the suggested tags are
  const list = { className: fits ? "tags" : "tags others", id: "suggested" };
  const parts = [element("ul", list, ...tagRows(suggested, isTicked))];
  if (!fits) {
    parts.unshift(element(
      "p",
      { className: "doubt", id: "doubt" },
      element("strong", {}, "No tag clearly fits."),
      " The text may be too short, in another language, or about something else than this site. These are only the " +
        "closest tags.",
    ));
  }
  if (others.length) {
    parts.push(
      element("h3", {}, "Less likely"),
      element("ul", { className: "tags others", id: "others" }, ...tagRows(others, () => false)),
    );
  }
  parts.push(element(
    "p",
    { className: "note", id: "meaning" },
    "The percentage estimates how often such a tag is correct: 30 % means about three times in ten.",
  ));
  byId("answer").replaceChildren(...parts);
  const ticked = suggested.filter(({ tier }) => isTicked(tier)).map(({ tag }) => tag);
  byId("all-tags").value = ticked.join(" ");
  followTicks(byId("answer"), byId("all-tags"));
  byId("copied").textContent = "";
  byId("words").replaceChildren();
  byId("why").hidden = false;
  byId("said").textContent = `${fits ? "Suggested tags" : "No tag clearly fits. The closest tags"}: ${names.join(", ")}`;
}

byId("copy").addEventListener("click", async () => {
  const tags = byId("all-tags");
  try {
    await navigator.clipboard.writeText(tags.value);
    byId("copied").textContent = "Copied.";
  } catch {
    tags.select();
    byId("copied").textContent = "Press Ctrl+C to copy.";
  }
});

byId("why").addEventListener("click", async () => {
  const question = asked;
  try {
    const explanation = await call("explain", question);
    if (asked === question) showWords(explanation);
  } catch ({ problem }) {
    showProblem(problem, true);
  }
});

function showWords(explanation) {
  const shown = Object.entries(explanation).filter(([, pieces]) => pieces.length);
  const marked = ({ text, tag, weight }) => (tag
    ? element("mark", { className: `weight-${1 + Math.floor(2.999 * weight)}` }, text,
        element("span", { className: "because" }, ` ${tag}`))
    : text);
  byId("words").replaceChildren(
    element("h3", {}, "Why these tags?"),
    element("p", { className: "why" },
      "Each marked word led to the tag written behind it: without the word, that tag becomes less probable."),
    ...shown.map(([name, pieces]) => element("p", { className: "words", id: `why-${name}` }, ...pieces.map(marked))),
  );
  byId("why").hidden = true;
}

// ---- a file ----

const place = byId("table");

byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) tagFile(file);
});
for (const [name, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(name, (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return; // dragged text goes into a field
    event.preventDefault();
    place.classList.toggle("over", over);
    if (name === "drop" && event.dataTransfer.files.length) tagFile(event.dataTransfer.files[0]);
  });
}
byId("stop").addEventListener("click", () => call("stop", []));

let isTagging = false;

async function tagFile(file) {
  if (isTagging) return showProblem("Stop the file that is being tagged first.", false, byId("file-problem"));
  isTagging = true;
  showProblem("", false, byId("file-problem"));
  byId("file-result").replaceChildren();
  byId("tagging-label").textContent = `Tagging ${file.name}`;
  byId("tagged").value = 0;
  byId("tagging").hidden = false;
  try {
    await loaded;
    showTable(file.name, await call("tagFile", [file], ({ progress, text }) => {
      byId("tagged").value = progress;
      byId("tagging-label").textContent = text;
    }));
  } catch ({ problem }) {
    showProblem(problem, false, byId("file-problem"));
  } finally {
    isTagging = false;
    byId("tagging").hidden = true;
    byId("file").value = "";
  }
}

let lastUrl;

function showTable(name, { text, notes, done, total, blank }) {
  URL.revokeObjectURL(lastUrl);
  lastUrl = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const target = name.replace(/(\.[^.]*)?$/, ".tagged.csv");
  const count = (number) => number.toLocaleString("en");
  const summary = done < total
    ? `Stopped after ${count(done)} of ${count(total)} rows.`
    : `${count(total - blank)} questions tagged, ${count(blank)} blank ones left without tags.`;
  const link = element("a", { className: "download", href: lastUrl, download: target }, `Download ${target}`);
  byId("file-result").replaceChildren(
    ...notes.map((note) => element("p", { className: "note" }, note)),
    element("p", {}, summary),
    ...(done ? [element("p", {}, link)] : []),
  );
}
