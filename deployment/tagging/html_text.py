"""Convert HTML to plain text, for scraped pages and for the questions of users.

Written by hand, since it must restore LaTeX from MathJax and KaTeX, drop the notices of the site, and keep code such as
``List<T>``, which is not HTML. General converters do none of this.
"""

import html as html_entities
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Set

from bs4 import BeautifulSoup, Comment
from bs4.element import NavigableString, PageElement, PreformattedString, Tag

from tagging.platforms import Platform
from tagging.stack_exchange import STACK_EXCHANGE

# Elements that are not part of a question's text.
DROPPED_TAGS = {
    *("script", "style", "template", "noscript", "head", "title", "svg", "iframe", "object", "video", "audio"),
    *("canvas", "button", "input", "select", "textarea"),
}
DROPPED_CLASSES = {
    # The output of MathJax and KaTeX; the LaTeX is restored before these are dropped.
    *("MathJax", "MathJax_Preview", "MathJax_Display", "MathJax_SVG", "MathJax_SVG_Display", "MathJax_CHTML"),
    *("mjx-chtml", "katex-html"),
}

CHARACTERS_PER_TOKEN = 64  # of HTML: four or five characters of text, plus markup
NEVER_CLOSED = 1_000_000  # a depth that no number of end tags closes
MAX_ANCESTORS = 8  # elements around a formula or a notice that identify it
LINE, PARAGRAPH = 1, 2  # line breaks around a block
ROWS = {"caption", "dd", "div", "dt", "figcaption", "li", "summary", "tr"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
SECTIONS = {"address", "article", "center", "details", "figure", "footer", "header", "main", "nav", "section"}
PARAGRAPHS = {"blockquote", "dl", "hr", "ol", "p", "pre", "table", "ul"} | HEADINGS | SECTIONS
BLOCKS = dict.fromkeys(ROWS, LINE) | dict.fromkeys(PARAGRAPHS, PARAGRAPH)

# A tag or comment of HTML, unlike "List<T>" or "a<b and c>d". No part of the pattern reads past the next "<", so that
# searching takes linear time.
MARKUP = re.compile(
    r"""<(?:(?P<comment>!--)|!doctype\b[^<>]*+>|(?P<end>/)?(?P<name>a|abbr|acronym|address|article|aside|audio|b|bdi|bdo|big
    |blockquote|body|br|button|canvas|caption|center|cite|code|col|colgroup|dd|del|details|dfn|div|dl|dt|em|embed
    |fieldset|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|label|legend|li
    |link|main|mark|meta|nav|noscript|ol|optgroup|option|p|param|picture|pre|q|rp|rt|ruby|s|samp|script|section|select
    |small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|template|textarea|tfoot|th|thead|time
    |title|tr|track|tt|u|ul|var|video|wbr
    |math|semantics|annotation(?:-xml)?|m(?:row|i|o|n|s|text|space|sup|sub|subsup|frac|sqrt|root|over|under|underover
    |table|tr|td|style|padded|phantom)|mjx-[a-z-]+)
    (?:\s++(?:[\w:.-]++\s*+=\s*+(?:"[^"<]*+"|'[^'<]*+'|[^\s"'<>]++)
        |(?:allowfullscreen|async|checked|controls|defer|disabled|hidden|multiple|open|readonly|reversed|selected)\b))*+
    \s*+/?+>)""",
    re.IGNORECASE | re.VERBOSE,
)
VOID = {"br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
# Elements whose end tag is optional.
ENDING_ALONE = {"li", "p", "td", "th", "tr", "dd", "dt", "option", "thead", "tbody", "tfoot", "colgroup"}
SPACES = re.compile(r"\s+")
ODD_SPACES = re.compile(r"[\u00a0\u2007\u202f]")
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")  # which no tokenizer accepts
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ud800-\udfff]")


def html_to_text(html: str, platform: Platform = STACK_EXCHANGE) -> str:
    """Convert an HTML fragment or page to the text that a reader sees. Never raises on any string.

    Paragraphs, quotes, code blocks and lists are separated by a blank line; list items and table rows have a line each;
    code keeps its line breaks and indentation; LaTeX is kept as written, also if MathJax or KaTeX has rendered it;
    entities are decoded; non-breaking spaces become spaces. An image is replaced by its description, unless that is a
    placeholder of the editor. Scripts, styles and the notices of the platform are dropped.

    A text without any tag is plain text whose line breaks are kept. The output of the function therefore passes through
    unchanged, unless it contains tags or entities literally. For a text that may be either, see :func:`question_text`.
    """
    html = _normalize(html)
    if not MARKUP.search(html):
        return _tidy(_normalize(html_entities.unescape(html)))
    return _render(BeautifulSoup(html, "lxml"), platform)


def question_text(title: str, description: str, max_tokens: int) -> tuple[str, str]:
    """Return title and description of a question as the model reads them. Never raises on any string.

    A title is plain text. A description is plain text too, unless all of its text lies in HTML elements, as an editor
    or the API of a site returns it. It is then converted like a scraped page, except that what only looks like a tag,
    such as <T> or an element without its end tag, is kept as text. The output of the scrapers is thus read as it was
    in training and evaluation. Markdown is not converted.

    Parameters
    ----------
    title, description : str
    max_tokens : int
        Number of tokens that the model reads. At most CHARACTERS_PER_TOKEN characters of HTML per token are parsed.

    Returns
    -------
    str, str
    """
    title, description = (LONE_SURROGATE.sub("", text) for text in (title, description))
    if description.lstrip().startswith("<"):
        soup = _parse_html(description, max_tokens * CHARACTERS_PER_TOKEN)
        description = (soup and _render(soup, STACK_EXCHANGE)) or description
    return title, description


def _parse_html(text: str, max_characters: int) -> BeautifulSoup | None:
    """Parse the first ``max_characters`` characters of a text if it is HTML; return None if it is not."""
    head, tail = _normalize(text[:max_characters]), text[max_characters:]
    if tail and head.rfind("<") > head.rfind(">"):
        head = head[: head.rfind("<")]  # drop a truncated tag
    parts, position, depth, in_script = [], 0, 0, False
    for tag, change in [*_real_tags(head, tail), (None, 0)]:
        start, end = tag.span() if tag else (len(head), len(head))
        if start < position:
            continue  # within a comment
        between = head[position:start]
        if not depth and between.strip():
            return None
        if tag and tag["comment"]:
            close = head.find("-->", end)
            end = close + 3 if close >= 0 else len(head)
        parts += [between if in_script else between.replace("<", "&lt;"), head[start:end]]
        position, depth = end, max(depth + change, 0)
        in_script = head.startswith("<script", start)  # where LaTeX is not escaped
    return BeautifulSoup("".join(parts), "lxml")


def _real_tags(head: str, tail: str) -> list[tuple[re.Match, int]]:
    """Return the tags and comments of ``head`` that are closed in ``head`` or ``tail``, or need not be closed.

    Each comes with the change of depth: 1 for a start tag, -1 for an end tag, 0 for an element without content, and
    NEVER_CLOSED for one that is not closed within ``head``. Names are in the letter case of the first tag or in lower
    case. An end tag that is optional may be missing if any other element of the text has one.
    """
    found = list(MARKUP.finditer(head))
    upper = bool(found and found[0]["name"] and found[0]["name"].isupper())
    in_tail = {name for name in {tag["name"] for tag in found} if name and f"</{name}" in tail}
    has_ends = bool(in_tail) or any(tag["end"] for tag in found)
    real, ends = {}, defaultdict(list)  # change of depth by tag; end tags without a start tag so far
    last_comment = len(head) if "-->" in tail else head.rfind("-->")
    for number, tag in reversed(list(enumerate(found))):
        name = tag["name"]
        if name is None:
            real |= {number: 0} if not tag["comment"] or tag.start() < last_comment else {}
        elif name.islower() or (upper and name.isupper()):
            if tag["end"]:
                ends[name.lower()].append(number)
            elif name.lower() in VOID:
                real[number] = 0
            elif ends[name.lower()]:
                real |= {number: 1, ends[name.lower()].pop(): -1}
            elif name in in_tail or (name.lower() in ENDING_ALONE and has_ends):
                real[number] = NEVER_CLOSED
    return [(found[number], real[number]) for number in sorted(real)]


def _normalize(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return ODD_SPACES.sub(" ", UNPRINTABLE.sub("", text))


def _tidy(text: str) -> str:
    """Remove spaces at the ends of lines, and blank lines around the text; keep indentation."""
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def _render(soup: BeautifulSoup, platform: Platform) -> str:
    _restore_latex(soup)
    _drop_unread(soup, platform)
    return _tidy(_normalize(_Renderer(platform.image_placeholders).render(soup)))


def _restore_latex(soup: BeautifulSoup) -> None:
    """Restore LaTeX, which MathJax keeps in a script and KaTeX in an annotation."""
    for script in soup.find_all("script", type=re.compile("^math/tex")):
        dollars = "$$" if "mode=display" in script["type"] else "$"
        script.replace_with(NavigableString(f"{dollars}{script.string or ''}{dollars}"))
    for annotation in soup.find_all("annotation", encoding="application/x-tex"):
        rendered = None if annotation.decomposed else _ancestor(annotation, lambda tag: "katex" in _classes(tag))
        if rendered and rendered.parent:
            dollars = "$$" if "katex-display" in _classes(rendered.parent) else "$"
            rendered.replace_with(NavigableString(f"{dollars}{annotation.get_text()}{dollars}"))
            rendered.decompose()


def _drop_unread(soup: BeautifulSoup, platform: Platform) -> None:
    tags, classes = DROPPED_TAGS | platform.dropped_tags, DROPPED_CLASSES | platform.dropped_classes

    def is_unread(element: Tag) -> bool:
        return element.name in tags or not classes.isdisjoint(_classes(element))

    for element in soup.find_all(is_unread):
        if not element.decomposed:
            element.decompose()
    for notice in soup.find_all(string=platform.notice_quotes) if platform.notice_quotes else ():
        quote = None if notice.decomposed else _ancestor(notice, lambda tag: tag.name == "blockquote")
        if quote and next((text for text in quote.strings if text.strip()), None) is notice:
            quote.decompose()


def _ancestor(node: PageElement, wanted: Callable[[Tag], bool]) -> Tag | None:
    """Return the nearest wanted element around a node, within MAX_ANCESTORS, or None."""
    return next((tag for tag in itertools.islice(node.parents, MAX_ANCESTORS) if wanted(tag)), None)


def _classes(tag: Tag) -> list:
    return tag.get_attribute_list("class")


def _follows_a_cell(cell: Tag) -> bool:
    before = itertools.islice(cell.previous_siblings, 3)  # blanks and comments may be in between
    return next((node.name in ("td", "th") for node in before if isinstance(node, Tag)), False)


class _Renderer:
    """Renders a tree as text; iterative, since a page may be nested more deeply than Python's recursion limit."""

    def __init__(self, image_placeholders: Set[str]) -> None:
        self.image_placeholders = image_placeholders
        self.parts: list[str] = []
        self.line_breaks = 0  # pending before the next text
        self.space = False  # pending before the next text on the same line
        self.pre_depth = 0
        self.item_depth = 0

    def render(self, root: Tag) -> str:
        todo: list[tuple[PageElement, bool]] = [(root, False)]
        while todo:
            node, leaving = todo.pop()
            if isinstance(node, Tag) and leaving:
                self._leave(node)
            elif isinstance(node, Tag):
                self._enter(node)
                todo.append((node, True))
                todo.extend((child, False) for child in reversed(node.contents))
            elif not isinstance(node, (Comment, PreformattedString)):
                self._write(str(node))
        return "".join(self.parts)

    def _enter(self, tag: Tag) -> None:
        if tag.name == "br":
            self._break_line()
        elif tag.name == "img":
            self._write_picture(tag)
        elif tag.name in ("td", "th") and _follows_a_cell(tag):
            self._write(" | ")
        self._break(tag)
        self.pre_depth += tag.name == "pre"
        self.item_depth += tag.name == "li"

    def _leave(self, tag: Tag) -> None:
        self.pre_depth -= tag.name == "pre"
        self.item_depth -= tag.name == "li"
        self._break(tag)

    def _break(self, tag: Tag) -> None:
        breaks = BLOCKS.get(tag.name, 0)
        if self.item_depth:  # one line per item, without blank lines
            breaks = min(breaks, LINE)
        self.line_breaks = max(self.line_breaks, breaks)

    def _break_line(self) -> None:
        if self.pre_depth:
            self.parts.append("\n")
        else:
            self.line_breaks = min(self.line_breaks + 1, PARAGRAPH)

    def _write_picture(self, image: Tag) -> None:
        alt = SPACES.sub(" ", str(image.get("alt", ""))).strip()
        if alt and alt.lower() not in self.image_placeholders:
            self._write(f" {alt} ")

    def _write(self, text: str) -> None:
        if self.pre_depth:
            # The line breaks after <pre> and before </pre> are part of the markup.
            text = text.removeprefix("\n") if self.line_breaks else text
            if text:
                self._flush_breaks()
                self.parts.append(text)
            return
        words = SPACES.sub(" ", text)
        if words.startswith(" "):
            self.space = True
        if words.strip(" "):
            self._flush_breaks()
            self.parts.append((" " if self.space and self._inside_line() else "") + words.strip(" "))
            self.space = words.endswith(" ")

    def _flush_breaks(self) -> None:
        if self.line_breaks and self.parts:
            while self.parts and not self.parts[-1].strip("\n"):
                self.parts.pop()
            if self.parts:
                self.parts[-1] = self.parts[-1].rstrip("\n")
                self.parts.append("\n" * self.line_breaks)
        if self.line_breaks:
            self.space = False
        self.line_breaks = 0

    def _inside_line(self) -> bool:
        return bool(self.parts) and not self.parts[-1].endswith("\n")
