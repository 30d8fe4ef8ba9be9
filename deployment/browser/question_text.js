// Converts the HTML of a question to text, exactly as deployment/tagging/html_text.py does; see there for the reasons.

import { Text, isTag, isText } from "domhandler";
import { DomUtils, parseDocument } from "htmlparser2";

import { SPACE, lstrip, placeAfter, rstrip } from "./python_text.js";

const DROPPED_TAGS = new Set([
  ..."script style template noscript head title svg iframe object video audio".split(" "),
  ..."canvas button input select textarea aside".split(" "),
]);
const DROPPED_CLASSES = [
  ..."MathJax MathJax_Preview MathJax_Display MathJax_SVG MathJax_SVG_Display MathJax_CHTML".split(" "),
  ..."mjx-chtml katex-html snippet-ctas snippet-result".split(" "),
  ..."s-notice js-post-notice js-post-notices post-notice post-notices special-status".split(" "),
  ..."question-status question-originals-of-duplicate".split(" "),
];
const PLACEHOLDER_ALTS = new Set([
  "",
  "alt text",
  "image",
  "enter image description here",
  "введите сюда описание изображения",
  "introducir la descripción de la imagen aquí",
  "insira a descrição da imagem aqui",
  "inserir a descrição da imagem aqui",
  "画像の説明をここに入力",
]);

const CHARACTERS_PER_TOKEN = 64;
const NEVER_CLOSED = 1_000_000;
const MAX_ANCESTORS = 8;
const LINE = 1;
const PARAGRAPH = 2;
const BLOCKS = new Map([
  ..."caption dd div dt figcaption li summary tr".split(" ").map((name) => [name, LINE]),
  ..."blockquote dl hr ol p pre table ul h1 h2 h3 h4 h5 h6".split(" ").map((name) => [name, PARAGRAPH]),
  ..."address article center details figure footer header main nav section".split(" ").map((name) => [name, PARAGRAPH]),
]);

const NAMES =
  "a|abbr|acronym|address|article|aside|audio|b|bdi|bdo|big|blockquote|body|br|button|canvas|caption|center|cite|code|" +
  "col|colgroup|dd|del|details|dfn|div|dl|dt|em|embed|fieldset|figcaption|figure|font|footer|form|h[1-6]|head|header|" +
  "hr|html|i|iframe|img|input|ins|kbd|label|legend|li|link|main|mark|meta|nav|noscript|ol|optgroup|option|p|param|" +
  "picture|pre|q|rp|rt|ruby|s|samp|script|section|select|small|source|span|strike|strong|style|sub|summary|sup|svg|" +
  "table|tbody|td|template|textarea|tfoot|th|thead|time|title|tr|track|tt|u|ul|var|video|wbr|math|semantics|" +
  "annotation(?:-xml)?|m(?:row|i|o|n|s|text|space|sup|sub|subsup|frac|sqrt|root|over|under|underover|table|tr|td|style|" +
  "padded|phantom)|mjx-[a-z-]+";
const FLAGS =
  "allowfullscreen|async|checked|controls|defer|disabled|hidden|multiple|open|readonly|reversed|selected";
const MARKUP = new RegExp(
  `<(?:(?<comment>!--)|!doctype\\b[^<>]*>|(?<end>/)?(?<name>${NAMES})` +
    `(?:[${SPACE}]+(?:[\\p{L}\\p{N}_:.\\-]+[${SPACE}]*=[${SPACE}]*(?:"[^"<]*"|'[^'<]*'|[^${SPACE}"'<>]+)|(?:${FLAGS})\\b))*` +
    `[${SPACE}]*/?>)`,
  "giu",
);
const VOID = new Set("br col embed hr img input link meta param source track wbr".split(" "));
const ENDING_ALONE = new Set("li p td th tr dd dt option thead tbody tfoot colgroup".split(" "));
const POSSIBLE_DUPLICATE = new RegExp(`^[${SPACE}]*Possible Duplicates?:`, "u");
const SPACES = new RegExp(`[${SPACE}]+`, "gu");
const ODD_SPACES = /[\u00a0\u2007\u202f]/gu;
const LONE_SURROGATE = /[\ud800-\udfff]/gu; // with the flag u, pairs do not match
const UNPRINTABLE = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ud800-\udfff]/gu;

/**
 * Return [title, description] of a question as the model reads them, as tagging.html_text.question_text does.
 *
 * @param {string} title
 * @param {string} description plain text, or HTML if all of its text lies in elements
 * @param {number} maxTokens number of tokens that the model reads
 */
export function questionText(title, description, maxTokens) {
  title = title.replace(LONE_SURROGATE, "");
  description = description.replace(LONE_SURROGATE, "");
  if (lstrip(description).startsWith("<")) {
    const tree = parseHtml(description, maxTokens * CHARACTERS_PER_TOKEN);
    description = (tree && render(tree)) || description;
  }
  return [title, description];
}

// Parse the first characters of a text if it is HTML; return null if it is not.
function parseHtml(text, maxCharacters) {
  const cut = placeAfter(text, maxCharacters);
  let head = normalize(text.slice(0, cut));
  const tail = text.slice(cut);
  if (tail && head.lastIndexOf("<") > head.lastIndexOf(">")) head = head.slice(0, head.lastIndexOf("<"));
  const parts = [];
  let position = 0;
  let depth = 0;
  let inScript = false;
  for (const [tag, change] of [...realTags(head, tail), [null, 0]]) {
    const start = tag ? tag.index : head.length;
    let end = tag ? tag.index + tag[0].length : head.length;
    if (start < position) continue; // within a comment
    const between = head.slice(position, start);
    if (!depth && lstrip(between)) return null;
    if (tag?.groups.comment) {
      const close = head.indexOf("-->", end);
      end = close >= 0 ? close + 3 : head.length;
    }
    parts.push(inScript ? between : between.replaceAll("<", "&lt;"), head.slice(start, end));
    position = end;
    depth = Math.max(depth + change, 0);
    inScript = head.startsWith("<script", start);
  }
  return parseDocument(parts.join(""));
}

// Return [match, change of depth] of the tags and comments that are closed, or need not be.
function realTags(head, tail) {
  const found = [...head.matchAll(MARKUP)];
  const upper = found.length > 0 && isUpper(found[0].groups.name);
  const inTail = new Set(found.map((tag) => tag.groups.name).filter((name) => name && tail.includes(`</${name}`)));
  const hasEnds = inTail.size > 0 || found.some((tag) => tag.groups.end);
  const changes = new Map();
  const ends = new Map();
  const lastComment = tail.includes("-->") ? head.length : head.lastIndexOf("-->");
  for (let number = found.length - 1; number >= 0; number -= 1) {
    const { name, comment, end } = found[number].groups;
    if (name === undefined) {
      if (!comment || found[number].index < lastComment) changes.set(number, 0);
    } else if (isLower(name) || (upper && isUpper(name))) {
      const lower = name.toLowerCase();
      if (end) {
        if (!ends.has(lower)) ends.set(lower, []);
        ends.get(lower).push(number);
      } else if (VOID.has(lower)) {
        changes.set(number, 0);
      } else if (ends.get(lower)?.length) {
        changes.set(number, 1);
        changes.set(ends.get(lower).pop(), -1);
      } else if (inTail.has(name) || (ENDING_ALONE.has(lower) && hasEnds)) {
        changes.set(number, NEVER_CLOSED);
      }
    }
  }
  return [...changes.keys()].sort((a, b) => a - b).map((number) => [found[number], changes.get(number)]);
}

const isLower = (name) => name === name.toLowerCase();
const isUpper = (name) => name !== undefined && name === name.toUpperCase();

function normalize(text) {
  return text.replace(/\r\n?/g, "\n").replace(UNPRINTABLE, "").replace(ODD_SPACES, " ");
}

function tidy(text) {
  return text.split("\n").map(rstrip).join("\n").replace(/^\n+/, "").replace(/\n+$/, "");
}

function render(tree) {
  restoreLatex(tree);
  dropUnread(tree);
  return tidy(normalize(new Renderer().render(tree)));
}

const elements = (tree, wanted) => DomUtils.filter((node) => isTag(node) && wanted(node), tree);
const classes = (element) => (element.attribs?.class ?? "").split(SPACES);

function ancestor(node, wanted) {
  let parent = node.parent;
  for (let level = 0; parent && level < MAX_ANCESTORS; level += 1, parent = parent.parent) {
    if (isTag(parent) && wanted(parent)) return parent;
  }
  return null;
}

// Put text in the place of a node.
function replaceByText(node, text) {
  const siblings = node.parent.children;
  const data = new Text(text);
  data.parent = node.parent;
  siblings[siblings.indexOf(node)] = data;
}

function isWithin(node, tree) {
  while (node && node !== tree) node = node.removed ? null : node.parent;
  return node === tree;
}

function remove(node) {
  node.removed = true;
  const siblings = node.parent.children;
  siblings.splice(siblings.indexOf(node), 1);
}

function restoreLatex(tree) {
  for (const script of elements(tree, (tag) => tag.name === "script" && tag.attribs.type?.startsWith("math/tex"))) {
    const dollars = script.attribs.type.includes("mode=display") ? "$$" : "$";
    replaceByText(script, dollars + DomUtils.textContent(script) + dollars);
  }
  const isTex = (tag) => tag.name === "annotation" && tag.attribs.encoding === "application/x-tex";
  for (const annotation of elements(tree, isTex)) {
    const rendered = isWithin(annotation, tree) && ancestor(annotation, (tag) => classes(tag).includes("katex"));
    if (rendered) {
      const dollars = classes(rendered.parent).includes("katex-display") ? "$$" : "$";
      replaceByText(rendered, dollars + DomUtils.textContent(annotation) + dollars);
      rendered.removed = true;
    }
  }
}

function isUnread(tag) {
  return DROPPED_TAGS.has(tag.name) || classes(tag).some((name) => DROPPED_CLASSES.includes(name));
}

function dropUnread(tree) {
  for (const element of elements(tree, isUnread)) if (isWithin(element, tree)) remove(element);
  const notices = DomUtils.filter((node) => isText(node) && POSSIBLE_DUPLICATE.test(node.data), tree);
  for (const notice of notices) {
    const quote = isWithin(notice, tree) && ancestor(notice, (tag) => tag.name === "blockquote");
    if (quote && firstText(quote) === notice) remove(quote);
  }
}

const firstText = (tree) => DomUtils.find((node) => isText(node) && lstrip(node.data), [tree], true, 1)[0];

// Renders a tree as text, as _Renderer of html_text.py does; iterative, since a page may be nested deeply.
class Renderer {
  parts = [];
  lineBreaks = 0; // pending before the next text
  space = false; // pending before the next text on the same line
  preDepth = 0;
  itemDepth = 0;

  render(root) {
    const todo = [[root, false]];
    while (todo.length) {
      const [node, leaving] = todo.pop();
      if (isText(node)) {
        this.write(node.data);
      } else if (leaving) {
        this.leave(node);
      } else if (isTag(node) || node === root) {
        this.enter(node);
        todo.push([node, true]);
        for (let index = node.children.length - 1; index >= 0; index -= 1) todo.push([node.children[index], false]);
      }
    }
    return this.parts.join("");
  }

  enter(tag) {
    if (tag.name === "br") this.breakLine();
    else if (tag.name === "img") this.writePicture(tag);
    else if ((tag.name === "td" || tag.name === "th") && followsACell(tag)) this.write(" | ");
    this.break(tag);
    this.preDepth += tag.name === "pre";
    this.itemDepth += tag.name === "li";
  }

  leave(tag) {
    this.preDepth -= tag.name === "pre";
    this.itemDepth -= tag.name === "li";
    this.break(tag);
  }

  break(tag) {
    let breaks = BLOCKS.get(tag.name) ?? 0;
    if (this.itemDepth) breaks = Math.min(breaks, LINE);
    this.lineBreaks = Math.max(this.lineBreaks, breaks);
  }

  breakLine() {
    if (this.preDepth) this.parts.push("\n");
    else this.lineBreaks = Math.min(this.lineBreaks + 1, PARAGRAPH);
  }

  writePicture(image) {
    const alt = (image.attribs.alt ?? "").replace(SPACES, " ").replace(/^ | $/g, "");
    if (!PLACEHOLDER_ALTS.has(alt.toLowerCase())) this.write(` ${alt} `);
  }

  write(text) {
    if (this.preDepth) {
      if (this.lineBreaks) text = text.replace(/^\n/, "");
      if (text) {
        this.flushBreaks();
        this.parts.push(text);
      }
      return;
    }
    const words = text.replace(SPACES, " ");
    if (words.startsWith(" ")) this.space = true;
    const inner = words.replace(/^ | $/g, "");
    if (inner) {
      this.flushBreaks();
      this.parts.push((this.space && this.isInsideLine() ? " " : "") + inner);
      this.space = words.endsWith(" ");
    }
  }

  flushBreaks() {
    if (this.lineBreaks && this.parts.length) {
      while (this.parts.length && /^\n*$/.test(this.parts.at(-1))) this.parts.pop();
      if (this.parts.length) {
        this.parts.push(this.parts.pop().replace(/\n+$/, ""), "\n".repeat(this.lineBreaks));
      }
    }
    if (this.lineBreaks) this.space = false;
    this.lineBreaks = 0;
  }

  isInsideLine() {
    return this.parts.length > 0 && !this.parts.at(-1).endsWith("\n");
  }
}

function followsACell(cell) {
  const siblings = cell.parent.children;
  let index = siblings.indexOf(cell) - 1;
  for (let level = 0; index >= 0 && level < 3; level += 1, index -= 1) {
    if (isTag(siblings[index])) return ["td", "th"].includes(siblings[index].name);
  }
  return false;
}
