"""The cleaning of scraped and pasted text, by properties that hold for any input."""

import html
import re
import sys

import hypothesis
import pytest
from hypothesis import strategies as st

from data.sample_site.generator import make_questions
from tagging import html_text
from tagging.html_text import BLOCKS, CHARACTERS_PER_TOKEN, html_to_text, question_text

EVERYTHING = hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
ANY_TEXT = st.text(max_size=200)
PIECES = (
    *("<p>", "</p>", "<pre><code>", "</code></pre>", "<ul><li>", "</li></ul>", "<b>", "</b>", "<br>", "<img alt='x'>"),
    *("<script>", "</script>", "<!--", "-->", "&lt;", "&#x1F600;", "&", "<", ">", "\n", "**", "`", "$a_1$", "\x00"),
    *("<table><tr><td>", "</td></tr></table>", "<blockquote>", "[a](b)", "    ", "\ud800", "\u202e", "<a href='"),
)
MARKUP = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=40).map("".join)
TOKENS = 128  # that a model reads
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
    title, description = question_text(text, text, TOKENS)
    assert title == re.sub("[\ud800-\udfff]", "", text)
    assert description or not title.strip()  # a text is never cleaned away


@EVERYTHING
@hypothesis.given(TREES)
def test_visible_words_keep_their_order(tree):
    assert html_to_text(f"<div>{as_html(tree)}</div>").split() == words_of(tree)


@EVERYTHING
@hypothesis.given(TREES)
def test_cleaning_is_idempotent(tree):
    text = html_to_text(f"<div>{as_html(tree)}</div>")
    assert html_to_text(text) == text


@EVERYTHING
@hypothesis.given(st.sampled_from(VISIBLE), WORDS, WORDS)
def test_visible_elements_keep_their_words(tag, before, inside):
    text = html_to_text(f"<p>{' '.join(before)}</p> <{tag}>{' '.join(inside)}</{tag}>")
    assert text.split() == before + inside


@EVERYTHING
@hypothesis.given(WORDS, WORDS, st.sampled_from(["script", "style", "aside", "template", "noscript", "button"]))
def test_invisible_elements_are_dropped(seen, unseen, tag):
    assert html_to_text(f"<p>{' '.join(seen)}</p><{tag}>{' '.join(unseen)}</{tag}>").split() == seen


@EVERYTHING
@hypothesis.given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip))
def test_code_keeps_every_character(code):
    shown = html_to_text(f"<p>see</p><pre><code>{html.escape(code)}</code></pre>")
    spaces = re.compile(r"[\u00a0\u2007\u202f]")
    assert shown.split() == ["see", *spaces.sub(" ", code.replace("\ufeff", "")).split()]


PLAIN = (
    "Map<K, V> or Dictionary<String, List<T>>?",
    "the <BOS> and <PAD> tokens, [CLS] and [MASK]",
    "while a<b and c>d: x <- 5; y<-6",
    "__init__, *args, **kwargs, a_b_c and 2*3*4",
    "Why is <a href='x'> or <div> or <br> printed?",
    "<div> does not center its <p> here",
    "<p> or <br>: which one ends a line?",
    "<b>bold</b> or <strong>strong</strong>?",
    "<table><tr><td>1</td></tr></table>\n\nHow do I read this with pandas?",
    "&lt; and &amp;lt; are entities; 50 &percnt; of `code`, $a_1$ \\\\(x^2\\\\)",
    "# a comment\n    indented   code\n1. one\n> quote\t\ttabs \n\n\n- [a](http://b.example) ![c][1]\n\n  [1]: http://d",
    "<!-- to do -->\nnothing",
    "\u00a0non-breaking\u00a0 \u200bzero \x00 \r\n <3 \U0001f642",
    "<script>alert(1)",
    "</p> alone",
    "<",
)


@pytest.mark.parametrize("text", PLAIN)
def test_every_character_of_a_plain_text_is_kept(text):
    assert question_text(text, text, TOKENS) == (text, text)


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ("<p>Convert <code>List<T></code> to <em>RDD<Vector></em></p>", "Convert List<T> to RDD<Vector>"),
        ("\n<p>if a<b and c>d</p>\n<p>then __init__ &lt;x&gt;</p>\n", "if a<b and c>d\n\nthen __init__ <x>"),
        ("<P>OLD <B>html</B><BR>of 1998<P>without ends", "OLD html\nof 1998\n\nwithout ends"),
        (
            "<p>How do I center a <div>? And </b>, <!-- and <script>?</p>",
            "How do I center a <div>? And </b>, <!-- and <script>?",
        ),
        ("<!-- begin --><ol start=1 reversed><li>one</li><li>two</li></ol>", "one\ntwo"),
        ("<html><head><title>x</title></head><body><p>python</p></body></html>", "python"),
        ("<!DOCTYPE html>\n<p>python</p>", "python"),
        ("<p><script type='math/tex'>a<b</script> holds</p>", "$a<b$ holds"),
        ("<div><p>a</p><script>var x = '<p>';</script></div>", "a"),
        ("<p>half \ud83d of it</p>", "half of it"),
        ("<p></p>", "<p></p>"),
        ("<p>one <ul><li>two</li></ul> three</p>", "one\n\ntwo\n\nthree"),
        ("<!-- <b> --><p>a</p><!-- c -->\n<p>b</p>", "a\n\nb"),
    ],
)
def test_only_html_tags_are_rendered(description, text):
    assert question_text(description, description, TOKENS)[1] == text


@EVERYTHING
@hypothesis.given(TREES, WORDS)
def test_html_is_cleaned_as_by_the_scrapers(tree, words):
    body = f"<p>{' '.join(words)}</p><div>{as_html(tree)}</div>"
    assert question_text("", body, 10_000)[1] == html_to_text(body)


@EVERYTHING
@hypothesis.given(WORDS, MARKUP)
def test_what_the_scrapers_cleaned_is_read_unchanged(words, code):
    """Whatever a question shows as code: its own words stand outside of every element."""
    cleaned = html_to_text(f"<p>{' '.join(words)}</p><pre><code>{html.escape(code)}</code></pre><p>{words[0]}</p>")
    assert question_text(code, cleaned, TOKENS)[1] == cleaned


def test_what_the_pipeline_makes_of_the_sample_site_is_read_unchanged():
    for question in make_questions():
        cleaned = question.title, html_to_text(question.body_html)
        assert question_text(*cleaned, TOKENS) == cleaned


@pytest.mark.parametrize("number", [10, 1_000, 20_000])
def test_no_more_html_is_parsed_than_the_model_can_read(number, monkeypatch):
    parsed = []
    parse = html_text.BeautifulSoup
    monkeypatch.setattr(
        html_text, "BeautifulSoup", lambda text, parser: parsed.append(len(text)) or parse(text, parser)
    )
    body = "<div class='post'>" + "<p>about <b>python</b> and <a href='x'>csv</a></p>" * number + "</div>"
    text = question_text("", body, TOKENS)[1]
    assert sum(parsed) <= TOKENS * CHARACTERS_PER_TOKEN + 100
    assert text.split()[:TOKENS] == (["about", "python", "and", "csv"] * number)[:TOKENS]


HOSTILE = {
    "nested": "<b>",
    "quotes": "<blockquote>",
    "empty quotes with a notice": "<blockquote>Possible Duplicate:",
    "cells": "<td>",
    "nested cells": "<table><tr><td>",
    "nested KaTeX": "<b class='katex'>",
    "annotations": "<b class='katex'><annotation encoding='application/x-tex'>x",
    "lists": "<ul><li>",
    "open tags": "<a b='",
    "angle brackets": "<",
    "entities": "&amp;&#x1F600;",
    "comments": "<!--",
    "blanks": "<p   ",
    "unknown tags": "<T>",
}


def calls(function, *arguments) -> int:
    """Return how many Python functions a call runs through, which does not hang on the machine's speed."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_the_cost_of_hostile_markup_is_linear(piece):
    def work(number):
        body = f"<table><tr>{piece * number}</tr></table>"
        return calls(html_to_text, body) + calls(question_text, "", body, 10**6)

    assert work(800) < 2.6 * work(400) + 2000


def test_boilerplate_of_the_site_is_dropped_and_latex_kept():
    page = (
        '<aside class="s-notice">This question already has answers here</aside>'
        "<blockquote><p><strong>Possible Duplicate:</strong><br>Another one</p></blockquote>"
        '<p>Why is <span class="MathJax_Preview">x</span><script type="math/tex">x^2</script> convex?</p>'
        "<blockquote><p>Because it is.</p></blockquote>"
    )
    assert html_to_text(page) == "Why is $x^2$ convex?\n\nBecause it is."
