"""The cleaning of scraped and pasted text, by properties that hold for any input."""

import html
import re

import hypothesis
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from deployment.html_text import BLOCKS, PLAIN, html_to_text, pasted_to_text

EVERYTHING = hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
ANY_TEXT = st.text(max_size=200)
PIECES = (
    *("<p>", "</p>", "<pre><code>", "</code></pre>", "<ul><li>", "</li></ul>", "<b>", "</b>", "<br>", "<img alt='x'>"),
    *("<script>", "</script>", "<!--", "-->", "&lt;", "&#x1F600;", "&", "<", ">", "\n", "**", "`", "$a_1$", "\x00"),
    *("<table><tr><td>", "</td></tr></table>", "<blockquote>", "[a](b)", "    ", "\ud800", "\u202e", "<a href='"),
)
MARKUP = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=40).map("".join)
WORDS = st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=6)


def as_html(tree) -> str:
    """Write a tree of (tag, children) and words as HTML."""
    if isinstance(tree, str):
        return html.escape(tree)
    tag, children = tree
    return f"<{tag}>{' '.join(map(as_html, children))}</{tag}>"


def words_of(tree) -> list[str]:
    return tree.split() if isinstance(tree, str) else [word for child in tree[1] for word in words_of(child)]


VISIBLE = sorted(set(BLOCKS) - {"hr"} | {"b", "i", "code", "a", "span", "kbd", "strike", "sup"})
TREES = st.recursive(
    WORDS.map(" ".join),
    lambda children: st.tuples(st.sampled_from(["p", "div", "li", "em", "code"]), st.lists(children, max_size=4)),
    max_leaves=12,
)


@EVERYTHING
@hypothesis.given(ANY_TEXT | MARKUP)
def test_no_input_raises_and_no_control_character_comes_out(text):
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", html_to_text(text))
    assert pasted_to_text(text) or not text.strip()  # a text is never cleaned away


@EVERYTHING
@hypothesis.given(TREES)
def test_no_visible_word_is_lost_or_moved(tree):
    assert html_to_text(f"<div>{as_html(tree)}</div>").split() == words_of(tree)


@EVERYTHING
@hypothesis.given(TREES)
def test_its_own_output_passes_through_unchanged(tree):
    text = html_to_text(f"<div>{as_html(tree)}</div>")
    assert html_to_text(text) == text


@EVERYTHING
@hypothesis.given(st.sampled_from(VISIBLE), WORDS, WORDS)
def test_every_element_that_a_reader_sees_keeps_its_words(tag, before, inside):
    text = html_to_text(f"<p>{' '.join(before)}</p> <{tag}>{' '.join(inside)}</{tag}>")
    assert text.split() == before + inside


@EVERYTHING
@hypothesis.given(WORDS, WORDS, st.sampled_from(["script", "style", "aside", "template", "noscript", "button"]))
def test_what_a_reader_does_not_see_leaves_nothing(seen, unseen, tag):
    assert html_to_text(f"<p>{' '.join(seen)}</p><{tag}>{' '.join(unseen)}</{tag}>").split() == seen


@EVERYTHING
@hypothesis.given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip))
def test_code_keeps_every_character(code):
    shown = html_to_text(f"<p>see</p><pre><code>{html.escape(code)}</code></pre>")
    spaces = re.compile(r"[\u00a0\u2007\u202f]")
    assert shown.split() == ["see", *spaces.sub(" ", code.replace("\ufeff", "")).split()]


@EVERYTHING
@hypothesis.given(WORDS)
def test_a_plain_text_is_pasted_as_it_is(words):
    assert pasted_to_text(" ".join(words)) == " ".join(words)


@EVERYTHING
@hypothesis.given(st.from_regex(PLAIN, fullmatch=True))
def test_a_plain_line_is_what_the_parsers_would_make_of_it(line):
    assert pasted_to_text(line) == html_to_text(MarkdownIt("commonmark").render(line))


def test_boilerplate_of_the_site_is_dropped_and_latex_kept():
    page = (
        '<aside class="s-notice">This question already has answers here</aside>'
        "<blockquote><p><strong>Possible Duplicate:</strong><br>Another one</p></blockquote>"
        '<p>Why is <span class="MathJax_Preview">x</span><script type="math/tex">x^2</script> convex?</p>'
        "<blockquote><p>Because it is.</p></blockquote>"
    )
    assert html_to_text(page) == "Why is $x^2$ convex?\n\nBecause it is."
