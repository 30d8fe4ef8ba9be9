// ==UserScript==
// @name         Question tagger: suggested tags on the ask page
// @namespace    question-tagger
// @version      0.1.0
// @description  Shows suggested tags below the tag field of a Stack Exchange ask page; a click or Alt+1 adds one.
// @license      MIT
// @match        https://stackoverflow.com/questions/ask*
// @match        https://*.stackoverflow.com/questions/ask*
// @match        https://*.stackexchange.com/questions/ask*
// @match        https://superuser.com/questions/ask*
// @match        https://*.superuser.com/questions/ask*
// @match        https://serverfault.com/questions/ask*
// @match        https://*.serverfault.com/questions/ask*
// @match        https://askubuntu.com/questions/ask*
// @match        https://*.askubuntu.com/questions/ask*
// @match        https://mathoverflow.net/questions/ask*
// @match        https://*.mathoverflow.net/questions/ask*
// @match        https://stackapps.com/questions/ask*
// @match        http://127.0.0.1:8765/questions/ask*
// @grant        GM_getValue
// @grant        GM_setValue
// @grant        GM_registerMenuCommand
// @noframes
// @run-at       document-idle
// ==/UserScript==

/*
 * The tags come from one of two places, which the settings of each site name:
 *
 * - The tagger page (deployment/browser/ on any web server). Its embed.html is loaded into a hidden frame and answers
 *   by messages. The model and its worker run in the origin of that page and stay in its cache, so this script loads no
 *   code and no model itself, and the site's content security policy applies to neither. The text stays in the browser.
 * - The REST API of the form (webapp/). The text is sent to its address. The request is an ordinary cross-origin one
 *   (CORS) rather than GM_xmlhttpRequest, so that this script may reach only servers that allow the site.
 *
 * Nothing is sent to the site itself. A tag is added as if it were typed into the site's tag field, and only by a click
 * or a key. The row and the dialog are in shadow trees: their style and the page's do not affect each other.
 */

(() => {
  "use strict";

  const MAX_TAGS = 5; // of a question on Stack Exchange
  const MAX_LENGTHS = { title: 300, description: 30_000 }; // characters that the tagger accepts
  const QUIET_MS = 500; // without a keystroke, before the tagger is asked
  const FIELD_MS = 5_000; // for the page to build its fields
  const CONNECT_MS = 10_000; // for the tagger page to answer the first message
  const ANSWER_MS = 30_000; // for the REST API to answer
  const TAKE_MS = 400; // for the tag field to add a tag
  const ROW_ID = "question-tagger-row";
  const SETTINGS_ID = "question-tagger-settings";

  const STYLE = `
    .row, dialog { all: initial; font: 13px/1.5 system-ui, sans-serif; }
    .row { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; color: inherit; }
    .row:not(.row .row) { margin: 8px 0 0; }
    p { margin: 0; }
    button { font: inherit; cursor: pointer; }
    .row button { min-height: 28px; padding: 2px 10px; border: 1px solid currentColor; border-radius: 6px;
      background: none; color: inherit; overflow-wrap: anywhere; }
    .row button:hover { text-decoration: underline; }
    .row .settings { margin-left: auto; border-color: transparent; text-decoration: underline; }
    .number { margin-right: 6px; font-variant-numeric: tabular-nums; }
    :focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
    dialog:not([open]) { display: none; }
    dialog { display: block; position: fixed; inset: 0; box-sizing: border-box; width: min(30rem, calc(100vw - 2rem));
      height: fit-content; max-height: 100vh; margin: auto; padding: 1.25rem; overflow: auto; border: 1px solid;
      border-radius: 8px; color-scheme: light dark; background: Canvas; color: CanvasText; font-size: 15px; }
    h2 { margin: 0 0 1rem; font-size: 1.2rem; }
    fieldset { margin: 0 0 1rem; padding: 0; border: 0; }
    legend { margin-bottom: .25rem; padding: 0; font-weight: 600; }
    .choice { display: flex; gap: .5rem; align-items: baseline; margin-bottom: .35rem; }
    .address { display: block; margin-bottom: 1rem; font-weight: 600; }
    .address input { display: block; box-sizing: border-box; width: 100%; margin-top: .25rem; padding: .5rem;
      font: inherit; font-weight: 400; }
    .ends button { min-height: 2.5rem; margin-right: .5rem; padding: .25rem 1rem; }
  `;

  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  /** An error whose message is meant for the user. */
  class TaggerProblem extends Error {}

  // ---- the fields of the ask page ----

  const inputOf = (editor) => editor?.querySelector("input[type=text], input:not([type])");

  /** The text of a rendered tag without its button for removing it. */
  function tagText(element) {
    const copy = element.cloneNode(true);
    copy.querySelectorAll("a, button, svg, .delete-tag").forEach((part) => part.remove());
    return copy.textContent.trim();
  }

  /**
   * The tag field as it is at this moment, or null: the editor of the site, in its present markup (Stacks) or the older
   * one, or the plain field that is there until the site has replaced it.
   */
  function findTagField() {
    const names = document.querySelector("#tagnames, input[name=tagnames]");
    const selector = ".js-tag-editor, .tag-editor";
    const editor = document.getElementById("tageditor-replacing-tagnames--input")?.closest(selector)
      ?? names?.parentElement.querySelector(selector);
    const input = inputOf(editor);
    if (input) {
      const tags = () => [...editor.querySelectorAll(".s-tag, .post-tag")].map(tagText);
      return { element: editor, input, tags, isEditor: true };
    }
    const tags = () => names.value.split(/\s+/).filter(Boolean);
    return names && { element: names, input: names, tags, isEditor: false };
  }

  function readQuestion() {
    const title = document.querySelector("#title, .js-post-title-field")?.value ?? "";
    const bodies = document.querySelectorAll("#wmd-input, .js-post-body-field, .js-stacks-editor-backing-textarea");
    const description = [...bodies].map((body) => body.value).join("\n");
    return { title: shorten(title, MAX_LENGTHS.title), description: shorten(description, MAX_LENGTHS.description) };
  }

  /** The first characters of a text; String.slice could cut one in two. */
  function shorten(text, length) {
    return text.length > length ? Array.from(text).slice(0, length).join("") : text;
  }

  const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

  async function becomesTrue(condition) {
    for (const end = Date.now() + TAKE_MS; Date.now() < end; await sleep(20)) if (condition()) return true;
    return condition();
  }

  /** Add a tag as if it were typed and followed by a space. Returns whether the field has taken it. */
  async function addTag(field, tag) {
    const { input } = field;
    const before = input.value;
    const isTaken = () => field.tags().includes(tag);
    const send = (event) => input.dispatchEvent(event);
    if (!field.isEditor) {
      input.value = [...field.tags(), tag].join(" ");
      send(new InputEvent("input", { bubbles: true }));
      return true;
    }
    const space = { key: " ", code: "Space", keyCode: 32, which: 32, bubbles: true, cancelable: true };
    input.value = `${tag} `;
    send(new InputEvent("input", { bubbles: true, data: " ", inputType: "insertText" }));
    send(new KeyboardEvent("keydown", space));
    send(new KeyboardEvent("keyup", space));
    if (!(await becomesTrue(isTaken))) {
      send(new FocusEvent("blur")); // an editor that takes a word only when the field is left
      send(new FocusEvent("focusout", { bubbles: true }));
    }
    const taken = await becomesTrue(isTaken);
    // What was typed before stays, unless it was the start of the tag.
    if (!taken || (before.trim() && !tag.startsWith(before.trim()))) input.value = before;
    return taken;
  }

  // ---- where the tags come from ----

  function checkAnswer(answer, address) {
    const isAnswer = Array.isArray(answer?.suggested) && answer.suggested.every((row) => typeof row?.tag === "string");
    if (!isAnswer) throw new TaggerProblem(`${address} does not answer as a tagger: check the settings.`);
    return answer;
  }

  const noAnswer = (address) => new TaggerProblem(`The tagger at ${address} does not answer.`);

  /** Asks the REST API of the form at ``address``. */
  function restTagger(address) {
    const ask = async (question) => {
      let response;
      try {
        response = await fetch(`${address.replace(/\/$/, "")}/api/tags`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(question),
          credentials: "omit",
          referrerPolicy: "no-referrer",
          signal: AbortSignal.timeout(ANSWER_MS),
        });
      } catch {
        throw noAnswer(address); // or it does not allow this site: the browser does not tell a script which
      }
      const answer = await response.json().catch(() => null);
      if (!response.ok && typeof answer?.detail === "string") throw new TaggerProblem(answer.detail);
      return checkAnswer(answer, address);
    };
    return { ask, close: () => {} };
  }

  /** Asks the tagger page at ``address``, which is loaded into a hidden frame at the first question. */
  function pageTagger(address, showProgress) {
    const url = new URL(`${address.replace(/\/?(index\.html)?$/, "")}/embed.html`);
    const waiting = new Map(); // the calls that have no reply yet, by number
    let frame = null;
    let connection = null;
    let calls = 0;
    const connect = () => new Promise((resolve, reject) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data }) => {
        if (data.connected === true) resolve(port1);
        else if (data.connected === false) reject(new TaggerProblem(`${address} does not allow this site.`));
        else if ("progress" in data) showProgress(data.progress);
        else waiting.get(data.id)?.(data);
      };
      frame = element("iframe", { src: url.href, title: "Question tagger", hidden: true });
      frame.referrerPolicy = "no-referrer";
      frame.addEventListener("load", () => {
        frame.contentWindow.postMessage("question-tagger", url.origin, [port2]); // to no page of another origin
      }, { once: true });
      setTimeout(() => reject(noAnswer(address)), CONNECT_MS);
      document.body.append(frame);
    });
    const ask = async (question) => {
      connection ??= connect();
      let port;
      try {
        port = await connection;
      } catch (error) {
        connection = null;
        frame.remove();
        throw error;
      }
      const id = ++calls;
      const reply = new Promise((resolve) => { waiting.set(id, resolve); });
      port.postMessage({ id, ...question });
      const { answer, problem } = await reply;
      waiting.delete(id);
      if (problem) throw new TaggerProblem(problem);
      return checkAnswer(answer, address);
    };
    return { ask, close: () => frame?.remove() };
  }

  // ---- the row below the tag field ----

  /** An element with a shadow tree that holds the style and ``content``. */
  function shadowHost(id, content) {
    const host = element("div", { id });
    host.attachShadow({ mode: "open" }).append(element("style", { textContent: STYLE }), content);
    return host;
  }

  const line = element("p", { role: "status" });
  const chips = element("span", { className: "row", id: "chips" });
  const settingsButton = element("button", { type: "button", className: "settings", textContent: "Settings" });
  const row = element("div", { className: "row" }, line, chips, settingsButton);
  const host = shadowHost(ROW_ID, row);
  const shadow = host.shadowRoot;

  let tagger = null; // of the present settings
  let asked = ""; // the question, as JSON, of the last call
  let answer = null; // to that question
  let message = ""; // what the user has to know or do
  let loading = ""; // how far the model is
  let isWaiting = false; // for the answer to that question
  let adding = Promise.resolve(); // the last tag
  let timer = 0;

  const storedSettings = () => GM_getValue(location.host, {});

  /** The suggested tags that can be added. The number of each is its place in the answer, and so stays the same. */
  function offered(field) {
    const present = field.tags();
    if (!answer?.fits || present.length >= MAX_TAGS) return [];
    return answer.suggested.slice(0, MAX_TAGS).map(({ tag }, index) => ({ tag, number: index + 1 }))
      .filter(({ tag }) => !present.includes(tag));
  }

  function describe(field, offers) {
    if (message) return message;
    if (!answer) return isWaiting ? loading : "";
    if (field.tags().length >= MAX_TAGS) return `The question has ${MAX_TAGS} tags, which is the limit.`;
    if (!answer.fits || !answer.suggested.length) return "No tag clearly fits.";
    if (!offers.length) return "All suggested tags are there.";
    return offers.length === 1 ? "1 suggested tag:" : `${offers.length} suggested tags:`;
  }

  function chip({ tag, number }) {
    const label = element("span", { className: "number", ariaHidden: "true", textContent: number });
    const button = element("button", { type: "button", title: `Add this tag (Alt+${number})` }, label, tag);
    button.dataset.tag = tag;
    button.dataset.number = number;
    button.setAttribute("aria-keyshortcuts", `Alt+${number}`);
    button.addEventListener("click", () => choose(tag));
    return button;
  }

  function render() {
    const field = findTagField();
    if (!field || storedSettings().mode === "off") {
      host.remove();
      return;
    }
    if (host.parentElement !== field.element.parentElement) field.element.after(host);
    const offers = offered(field);
    const said = describe(field, offers);
    if (line.textContent !== said) line.textContent = said; // a screen reader says what is new
    const shown = [...chips.children].map((button) => `${button.dataset.number} ${button.dataset.tag}`);
    if (shown.join("\n") === offers.map(({ tag, number }) => `${number} ${tag}`).join("\n")) return;
    const focused = [...chips.children].indexOf(shadow.activeElement);
    chips.replaceChildren(...offers.map(chip));
    if (focused >= 0) (chips.children[Math.min(focused, chips.children.length - 1)] ?? field.input).focus();
  }

  function choose(tag) {
    adding = adding.then(() => addOnce(tag)); // one after the other: there is one field to type them into
  }

  async function addOnce(tag) {
    const field = findTagField();
    if (!field || field.tags().includes(tag) || field.tags().length >= MAX_TAGS) return;
    message = (await addTag(field, tag)) ? "" : `The tag field does not take ${tag}: type it there.`;
    render();
  }

  // ---- asking ----

  function makeTagger() {
    const { mode, address } = storedSettings();
    if (mode === "api") return restTagger(address);
    return mode === "page" ? pageTagger(address, showProgress) : null;
  }

  function showProgress(fraction) {
    const percent = 10 * Math.floor(10 * fraction); // few steps: a screen reader says each
    loading = fraction < 1 ? `Loading the model: ${percent} %` : "";
    render();
  }

  function reset() {
    tagger?.close();
    tagger = makeTagger();
    [asked, answer] = ["", null];
    message = tagger ? "" : "Choose in the settings where suggested tags come from.";
    render();
    update();
  }

  async function update() {
    const question = readQuestion();
    const text = JSON.stringify(question);
    if (!tagger || text === asked) return;
    asked = text;
    const own = tagger;
    let [found, problem] = [null, ""];
    isWaiting = Boolean(question.title.trim() || question.description.trim());
    if (isWaiting) {
      try {
        found = await own.ask(question);
      } catch (error) {
        if (!(error instanceof TaggerProblem)) throw error;
        problem = error.message;
      }
    }
    if (asked !== text || own !== tagger) return; // the text or the settings have changed meanwhile
    isWaiting = false;
    if (problem) asked = ""; // ask again at the next keystroke
    [answer, message] = [found, problem];
    render();
  }

  function schedule() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      render();
      update();
    }, QUIET_MS);
  }

  // ---- settings ----

  const CHOICES = {
    page: "The tagger page: the model runs in this browser, and the text stays in it.",
    api: "The REST API of the form: title and body are sent to its address.",
    off: "Nowhere: no suggested tags on this site.",
  };

  function openSettings() {
    if (document.getElementById(SETTINGS_ID)) return;
    const { mode = "page", address = "" } = storedSettings();
    const url = element("input", { type: "url", name: "address", pattern: "https?://.+", value: address });
    url.placeholder = "https://owner-name.static.hf.space";
    const choices = Object.entries(CHOICES).map(([value, text]) => {
      const radio = element("input", { type: "radio", name: "mode", value, checked: value === mode });
      return element("label", { className: "choice" }, radio, element("span", { textContent: text }));
    });
    const where = element("fieldset", {}, element("legend", { textContent: "Suggested tags come from" }), ...choices);
    const form = element("form", { method: "dialog" },
      element("h2", { id: "heading", textContent: `Suggested tags on ${location.host}` }),
      where,
      element("label", { className: "address" }, "Address", url),
      element("div", { className: "ends" },
        element("button", { value: "save", textContent: "Save" }),
        element("button", { value: "cancel", textContent: "Cancel", formNoValidate: true })));
    const dialog = element("dialog", {}, form);
    dialog.setAttribute("aria-labelledby", "heading");
    const own = shadowHost(SETTINGS_ID, dialog);
    const showAddress = () => {
      url.required = form.elements.mode.value !== "off";
      url.disabled = !url.required;
    };
    form.addEventListener("change", showAddress);
    // The page's keyboard shortcuts do not get what is typed here.
    for (const kind of ["keydown", "keypress", "keyup", "input"]) {
      own.addEventListener(kind, (event) => event.stopPropagation());
    }
    dialog.addEventListener("close", () => {
      own.remove();
      if (dialog.returnValue !== "save") return;
      GM_setValue(location.host, { mode: form.elements.mode.value, address: url.value.trim() });
      reset();
    });
    showAddress();
    document.body.append(own);
    dialog.showModal();
  }

  // ---- start ----

  function start() {
    settingsButton.addEventListener("click", openSettings);
    // The field where one types keeps the focus: a tag field that loses it takes half a word as a tag.
    row.addEventListener("mousedown", (event) => event.preventDefault());
    for (const kind of ["input", "change", "focusin"]) document.addEventListener(kind, schedule);
    document.addEventListener("keydown", (event) => {
      const [, number] = /^Digit([1-5])$/.exec(event.code) ?? [];
      if (!number || !event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const button = chips.querySelector(`[data-number="${number}"]`);
      if (!button || document.getElementById(SETTINGS_ID)) return;
      event.preventDefault();
      event.stopPropagation();
      choose(button.dataset.tag);
    }, true);
    new MutationObserver(render).observe(findTagField().element.parentElement, { childList: true, subtree: true });
    reset();
  }

  function startOnceThereIsAField() {
    if (findTagField()) {
      start();
      return;
    }
    const observer = new MutationObserver(() => {
      if (!findTagField()) return;
      stop();
      start();
    });
    const stop = () => {
      observer.disconnect();
      clearTimeout(limit);
    };
    const limit = setTimeout(() => {
      stop();
      console.info("Question tagger: no tag field was found on this page.");
    }, FIELD_MS);
    observer.observe(document.documentElement, { childList: true, subtree: true });
  }

  GM_registerMenuCommand("Suggested tags: settings", openSettings);
  startOnceThereIsAField();
})();
