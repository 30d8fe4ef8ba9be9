"""HTML to plain text: the one such function of the project, for scraped pages and for pasted text alike.

It lies here, and not with the scrapers, because this folder must work when copied out alone as a Space.
"""

import html as html_entities
import re
from functools import cache

from bs4 import BeautifulSoup, Comment
from bs4.element import NavigableString, PageElement, PreformattedString, Tag

# What a reader of the question never sees as its text.
DROPPED_TAGS = {
    *("script", "style", "template", "noscript", "head", "title", "svg", "iframe", "object", "video", "audio"),
    *("canvas", "button", "input", "select", "textarea", "aside"),
}
DROPPED_CLASSES = {
    # What MathJax and KaTeX draw; the LaTeX itself is put back before these are dropped.
    *("MathJax", "MathJax_Preview", "MathJax_Display", "MathJax_SVG", "MathJax_SVG_Display", "MathJax_CHTML"),
    *("mjx-chtml", "katex-html", "snippet-ctas", "snippet-result"),
    # The site's own notices (duplicate, closed, locked ...), which it renders inside the body.
    *("s-notice", "js-post-notice", "js-post-notices", "post-notice", "post-notices", "special-status"),
    *("question-status", "question-originals-of-duplicate"),
}

# The editor's placeholder for a picture's description says nothing about the picture.
PLACEHOLDER_ALTS = {
    "",
    "alt text",
    "image",
    "enter image description here",
    "введите сюда описание изображения",
    "introducir la descripción de la imagen aquí",
    "insira a descrição da imagem aqui",
    "inserir a descrição da imagem aqui",
    "画像の説明をここに入力",
}

LINE, PARAGRAPH = 1, 2  # line breaks around a block
ROWS = {"caption", "dd", "div", "dt", "figcaption", "li", "summary", "tr"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
SECTIONS = {"address", "article", "center", "details", "figure", "footer", "header", "main", "nav", "section"}
PARAGRAPHS = {"blockquote", "dl", "hr", "ol", "p", "pre", "table", "ul"} | HEADINGS | SECTIONS
BLOCKS = dict.fromkeys(ROWS, LINE) | dict.fromkeys(PARAGRAPHS, PARAGRAPH)

# A tag or comment as HTML writes it; "vector<int>" or "a<b and c>d" in a plain text is none.
MARKUP = re.compile(
    r"""<!--|<!doctype\b|</?(?:a|abbr|aside|article|b|blockquote|body|br|caption|center|cite|code|dd|del|details|div|dl
    |dt|em|figure|font|footer|h[1-6]|head|header|hr|html|i|iframe|img|ins|kbd|li|main|mark|nav|ol|p|pre|q|s|samp|script
    |section|small|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|var)
    (?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'>]+))*\s*/?>""",
    re.IGNORECASE | re.VERBOSE,
)
# One line without a character that means something in Markdown or HTML, as nearly every title is.
PLAIN = re.compile(r"[^\W\d_](?:[^\W_]|[ ,.?'\"():;/%-])*")
SPACES = re.compile(r"\s+")
ODD_SPACES = re.compile(r"[\u00a0\u2007\u202f]")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ud800-\udfff]")


def html_to_text(html: str) -> str:
    """Return the text of an HTML fragment or page as a reader sees it.

    Paragraphs, quotes, code blocks and lists stand apart by a blank line, list items and table rows have a line each,
    code keeps its line breaks and indentation, LaTeX stays as written (also where MathJax or KaTeX has rendered it),
    entities are decoded and non-breaking spaces become spaces. A picture leaves its description unless that is the
    editor's placeholder; scripts, styles and the site's own notices leave nothing. Never raises on any string.

    A text without a single tag is taken as plain text whose line breaks count, so the function's own output passes
    through unchanged unless it speaks of tags or entities literally.
    """
    html = _normalize(html)
    if not MARKUP.search(html):
        return _tidy(_normalize(html_entities.unescape(html)))
    soup = BeautifulSoup(html, "lxml")
    if "math/tex" in html or "katex" in html:
        _restore_latex(soup)
    _drop_unread(soup)
    return _tidy(_normalize(_Renderer().render(soup)))


def pasted_to_text(text: str) -> str:
    """Return as plain text what somebody typed or pasted into a question's field: HTML, Markdown, or plain text.

    A text that begins with a tag is HTML. Any other is rendered as CommonMark, as the sites do with a question, and
    then goes the way of a scraped page, so that the model meets the kind of text that it learnt from. Where that
    leaves nothing, as of a comment, the text itself is returned. Never raises.
    """
    text = text.strip()
    if PLAIN.fullmatch(text):  # what the parsers would give, at a tenth of the time
        return SPACES.sub(" ", text)
    html = text if MARKUP.match(text) else _markdown().render(_normalize(text))
    return html_to_text(html) or text


@cache
def _markdown():
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")


def _normalize(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return ODD_SPACES.sub(" ", UNPRINTABLE.sub("", text))


def _tidy(text: str) -> str:
    """Drop spaces at the ends of lines and blank lines around the text; indentation stays."""
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def _restore_latex(soup: BeautifulSoup) -> None:
    """Put the LaTeX that MathJax keeps in a script, or KaTeX in an annotation, back into the text."""
    for script in soup.find_all("script", type=re.compile("^math/tex")):
        dollars = "$$" if "mode=display" in script["type"] else "$"
        script.replace_with(NavigableString(f"{dollars}{script.string or ''}{dollars}"))
    for rendered in soup.find_all(class_="katex"):
        if annotation := rendered.select_one('annotation[encoding="application/x-tex"]'):
            dollars = "$$" if rendered.find_parent(class_="katex-display") else "$"
            rendered.replace_with(NavigableString(f"{dollars}{annotation.get_text()}{dollars}"))


def _drop_unread(soup: BeautifulSoup) -> None:
    for element in soup.find_all(_is_unread):
        if not element.decomposed:
            element.decompose()
    # Until 2013 the site wrote its duplicate notice into the body itself, as a quote.
    for quote in soup.find_all("blockquote"):
        if quote.get_text().lstrip().startswith(("Possible Duplicate:", "Possible Duplicates:")):
            quote.decompose()


def _is_unread(element: Tag) -> bool:
    return element.name in DROPPED_TAGS or not DROPPED_CLASSES.isdisjoint(element.get_attribute_list("class"))


class _Renderer:
    """Writes a tree as text; iterative, since a page may nest deeper than Python recurses."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.line_breaks = 0  # owed before the next text
        self.space = False  # owed before the next text on the same line
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
        elif tag.name in ("td", "th") and tag.find_previous_sibling(("td", "th")):
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
        if self.item_depth:  # one item a line: no blank lines inside an item
            breaks = min(breaks, LINE)
        self.line_breaks = max(self.line_breaks, breaks)

    def _break_line(self) -> None:
        if self.pre_depth:
            self.parts.append("\n")
        else:
            self.line_breaks = min(self.line_breaks + 1, PARAGRAPH)

    def _write_picture(self, image: Tag) -> None:
        alt = SPACES.sub(" ", str(image.get("alt", ""))).strip()
        if alt.lower() not in PLACEHOLDER_ALTS:
            self._write(f" {alt} ")

    def _write(self, text: str) -> None:
        if self.pre_depth:
            # The line break after <pre> and the one before </pre> belong to the markup.
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
