"""The parsers of scraped pages, on pages written for this test in the markups of several years."""

import pytest

from scraper.details import clean_title
from scraper.pages import PageError, is_challenge, page_count, parse_question, parse_question_list
from tagging.html_text import html_to_text
from tagging.stack_exchange import STACK_EXCHANGE, canonical_url, question_key

BODY = """
<p>My forest has <code>n_estimators=500</code> and still
overfits.<br>See <a href="https://example.org/plot">the curve</a>.</p>

<h2>What I tried</h2>
<ul>
<li>fewer features</li>
<li><p>a <em>smaller</em> depth</p></li>
</ul>
<pre class="lang-py s-code-block"><code>for depth in range(3):

    fit(depth)  # a &lt; b
</code></pre>
<blockquote><p>Trees memorise.</p></blockquote>
<p>The loss is $\\frac{a}{b} &lt; 1$, caf&eacute;&nbsp;&amp; more. A <a href="/questions/tagged/bagging"
class="post-tag" rel="tag">bagging</a> question.</p>
"""
TEXT = """My forest has n_estimators=500 and still overfits.
See the curve.

What I tried

fewer features
a smaller depth

for depth in range(3):

    fit(depth)  # a < b

Trees memorise.

The loss is $\\frac{a}{b} < 1$, café & more. A bagging question."""

SIDEBAR = """
<div id="sidebar"><div class="module sidebar-related"><div class="spacer">
  <a href="/questions/77/another-one" class="question-hyperlink">Another one</a>
  <div class="post-taglist"><a href="/questions/tagged/sidebar" class="post-tag" rel="tag">sidebar</a></div>
</div></div></div>
"""

# Since 2022: flex classes, tags in a list, notices above the body or in it.
MODERN = """<!DOCTYPE html><html><head><title>python - Why does my forest overfit? - Site</title>
<meta property="og:title" content="Another title"></head><body>
<div id="question-header" class="d-flex"><h1 itemprop="name" class="fs-headline1">
  <a href="/questions/42/why-does-my-forest-overfit" class="question-hyperlink">%(title)s</a></h1></div>
<div id="mainbar"><div id="question" class="question js-question" data-questionid="42"><div class="post-layout">
  <aside class="s-notice js-post-notice"><b>Closed.</b> This question needs focus.</aside>
  <div class="postcell post-layout--right">
    <div class="s-prose js-post-body" itemprop="text"><div><aside class="s-notice s-notice__info js-post-notice">
      <b>This question already has answers here</b>: <a href="/questions/7/x">Another</a> (3 answers)
    </aside></div>%(body)s<script>track()</script></div>
    <div class="mt24 mb12"><div class="post-taglist d-flex"><ul class="ml0 list-ls-none js-post-tag-list-wrapper">
      <li class="js-post-tag-list-item"><a href="/questions/tagged/c%%2b%%2b" class="s-tag post-tag" rel="tag">c++</a>
</li>
      <li class="js-post-tag-list-item"><a href="/questions/tagged/.net" class="s-tag post-tag" rel="tag">.net</a></li>
    </ul></div></div>
  </div>
  <div class="comments"><span class="comment-copy">A comment. <a class="post-tag" href="/t">comment-tag</a></span></div>
</div></div>
<div id="answers"><div id="answer-43" class="answer"><div class="s-prose js-post-body" itemprop="text">
  <h1>An answer's heading</h1><p>An answer.</p></div>
  <div class="post-taglist"><a class="post-tag" href="/questions/tagged/answer">answer-tag</a></div></div></div>
</div>%(sidebar)s</body></html>"""

# About 2020: tags without a list.
OF_2020 = """<div id="question-header" class="grid"><h1 itemprop="name" class="grid--cell">
<a href="/questions/42/x" class="question-hyperlink">%(title)s</a></h1></div>
<div class="question" data-questionid="42" id="question"><div class="post-layout"><div class="postcell">
<div class="s-prose js-post-body" itemprop="text">%(body)s</div>
<div class="post-taglist grid gs4"><div class="grid ps-relative">
<a href="/questions/tagged/c%%2b%%2b" class="post-tag" rel="tag">c++</a>
<a href="/t/.net" class="post-tag" rel="tag">.net</a>
</div></div></div></div></div>
<div id="answers"><div class="answer"><div class="s-prose js-post-body" itemprop="text"><p>An answer.</p></div></div>
</div>
%(sidebar)s"""

# 2012 to 2018: a table, .post-text, the duplicate notice inside it.
OF_2013 = """<div id="question-header"><h1 itemprop="name">
<a href="/questions/42/x" class="question-hyperlink">%(title)s</a></h1>
</div><div id="mainbar"><div class="question" data-questionid="42" id="question"><table><tr>
<td class="votecell"><span class="vote-count-post">3</span></td>
<td class="postcell"><div><div class="post-text" itemprop="text">
<div class="question-status question-originals-of-duplicate"><p>This question already has an answer here:</p>
<ul><li><a href="/questions/7/x">Another</a> <span>2 answers</span></li></ul></div>%(body)s</div>
<div class="post-taglist"><a href="/questions/tagged/c%%2b%%2b" class="post-tag" rel="tag">c++</a>
<a href="/questions/tagged/.net" class="post-tag" title="" rel="tag">.net</a> </div></div></td></tr>
<tr><td class="votecell"></td><td><div class="comments"><table><tr><td class="comment-text">A comment.</td></tr>
</table></div>
</td></tr></table><div class="question-status"><h2>closed as off topic by Somebody</h2></div></div>
<div id="answers"><table><tr><td class="answercell"><div class="post-text" itemprop="text">
<h1>Heading</h1>An answer.</div>
</td></tr></table></div></div>%(sidebar)s"""

MODERN_LIST = """<html><body><div id="mainbar"><h1>All Questions</h1><div id="questions">
<div class="s-post-summary js-post-summary" data-post-id="5"><div class="s-post-summary--stats">
  <div class="s-post-summary--stats-item has-bounty" title="this question has an open bounty">+50</div></div>
  <div class="s-post-summary--content"><h3 class="s-post-summary--content-title">
    <a href="/questions/5/how-to-scale?lq=1#top" class="s-link">How to scale
      [Keras 3]? [closed]</a></h3>
    <div class="s-post-summary--content-excerpt">Text with <a href="/questions/99/no">a link</a>.</div>
    <div class="s-post-summary--meta-tags tags"><a href="/questions/tagged/c%2b%2b" class="post-tag">c++</a></div>
</div></div>
<div class="js-zone-container zone-container-main"><div id="dfp-mlb">
<a href="https://ads.example/questions/1/buy">Buy</a></div>
</div>
<div class="s-post-summary"><h3 class="s-post-summary--content-title">
<a href="https://ads.example/questions/1/buy">Buy</a></h3>
</div>
<div class="s-post-summary"><h3 class="s-post-summary--content-title"><a href="http://[broken">Broken</a></h3></div>
<div class="s-post-summary js-post-summary" data-post-id="6"><h3 class="s-post-summary--content-title">
  <a class="s-link" href="/questions/6/%d0%bf%d0%be%d1%87%d0%b5%d0%bc%d1%83">Почему растёт ошибка? [закрыт]</a></h3>
</div>
<div class="s-post-summary js-post-summary" data-post-id="5"><h3 class="s-post-summary--content-title">
  <a class="s-link" href="/questions/5/how-to-scale-again">How to scale?</a></h3></div>
</div>
<div class="s-pagination site1 themed pager float-left"><div class="s-pagination--item is-selected">1</div>
<a class="s-pagination--item js-pagination-item" href="/questions?tab=newest&amp;pagesize=50&amp;page=2">2</a>
<a class="s-pagination--item js-pagination-item" href="/questions?tab=newest&amp;pagesize=50&amp;page=731">731</a>
<a class="s-pagination--item js-pagination-item" href="/questions?tab=newest&amp;pagesize=50&amp;page=2">Next</a></div>
<div class="s-pagination page-sizer"><a href="/questions?tab=newest&amp;pagesize=5000">5000</a></div></div>
<div id="hot-network-questions"><ul><li>
<a href="https://cooking.example/questions/8/salt" class="question-hyperlink">Salt?</a>
</li></ul></div></body></html>"""

OLD_LIST = """<div id="questions"><div class="question-summary" id="question-summary-5"><div class="statscontainer">
<div class="votes"><span class="vote-count-post">1</span></div></div><div class="summary"><h3>
<div class="bounty-indicator" title="bounty">+50</div>
<a title="a long &quot;excerpt&quot;" class="question-hyperlink"
href="/questions/5/how-to-scale">How to scale? [on hold]</a></h3>
<div class="excerpt">Text</div><div class="tags"><a href="/questions/tagged/r" class="post-tag" rel="tag">r</a></div>
<div class="started"><a class="started-link" href="/questions/5/how-to-scale/?lastactivity">yesterday</a></div></div>
</div></div>
<div class="pager fl"><a href="/questions?page=2&amp;sort=newest"><span class="page-numbers">2</span></a>
<a href="/questions?page=14&amp;sort=newest"><span class="page-numbers">14</span></a></div>
<div class="related"><a href="/questions/9/other" class="question-hyperlink">Other</a></div>"""

CLOUD_CHALLENGE = """<html><head><title>Just a moment...</title></head><body>
<noscript>Enable JavaScript and cookies</noscript>
<script src="/cdn-cgi/challenge-platform/h/b/orchestrate/chl_page/v1"></script></body></html>"""
HUMAN_CHECK = """<html><head><title>Human verification - Some Site</title></head><body><form action="/nocaptcha">
<div class="g-recaptcha"></div></form></body></html>"""


def page(markup, title="Why does my forest overfit?", body=BODY):
    return markup % {"title": title, "body": body, "sidebar": SIDEBAR}


@pytest.mark.parametrize("markup", [MODERN, OF_2020, OF_2013], ids=["modern", "2020", "2013"])
def test_a_question_page_gives_title_text_tags_and_url(markup):
    question = parse_question(
        page(markup), "https://Site.example/questions/42/why-does-my-forest-overfit?noredirect=1#43"
    )
    assert question == {
        "title": "Why does my forest overfit?",
        "description": TEXT,
        "tags": ["c++", ".net"],
        "url": "https://site.example/questions/42/why-does-my-forest-overfit",
        "creation_date": "",
    }


@pytest.mark.parametrize(
    "stamp",
    [
        '<time itemprop="dateCreated" datetime="2023-01-09T08:30:00">Jan 9</time>',
        '<span class="owner">asked <span class="relativetime" title="2023-01-09 08:30:00Z">Jan 9</span></span>',
        '<time itemprop="dateCreated" datetime="2023-01-09T10:30:00+02:00">Jan 9</time>',
    ],
)
def test_the_date_is_the_questions_own_in_utc(stamp):
    answer = '<div id="answers"><time itemprop="dateCreated" datetime="2024-02-03T04:05:06">Feb 3</time></div>'
    html = page(MODERN, body=f"<p>Text</p>{stamp}")
    assert parse_question(html + answer, "https://site.example/q/42")["creation_date"] == "2023-01-09T08:30:00Z"
    assert parse_question(page(MODERN) + answer, "https://site.example/q/42")["creation_date"] == ""


@pytest.mark.parametrize(
    ("shown", "title"),
    [
        ("Why? [closed]", "Why?"),
        ("Why? [duplicate]", "Why?"),
        ("Why? [on hold]", "Why?"),
        ("Why? [migrated]", "Why?"),
        ("Почему? [закрыт]", "Почему?"),
        ("Почему? [дубликат]", "Почему?"),
        ("¿Por qué? [cerrada]", "¿Por qué?"),
        ("Por quê? [duplicada]", "Por quê?"),
        ("なぜですか [重複]", "なぜですか"),
        ("Lost saves [Special Edition PC]", "Lost saves [Special Edition PC]"),
        ("Lost saves [PC] [closed]", "Lost saves [PC]"),
        ("[closed] form solution", "[closed] form solution"),
        ("What is an interval [0, 1]", "What is an interval [0, 1]"),
        ("Index with x[closed]", "Index with x[closed]"),
        ("  two\n  lines ", "two lines"),
    ],
)
def test_only_the_status_that_the_site_appends_leaves_the_title(shown, title):
    assert clean_title(shown, STACK_EXCHANGE) == title
    assert parse_question(page(MODERN, title=shown), "https://site.example/questions/42")["title"] == title


def test_latex_survives_its_rendering():
    rendered = (
        '<p>Let <span class="math-container"><span class="MathJax_Preview">x</span><span class="MathJax">x2</span>'
        '<script type="math/tex" id="MathJax-Element-1">x^2 < y</script></span> and</p>'
        '<script type="math/tex; mode=display">\\sum_i x_i</script>'
        '<span class="katex"><span class="katex-mathml"><math><semantics><mi>z</mi><annotation '
        'encoding="application/x-tex">z_1</annotation></semantics></math></span>'
        '<span class="katex-html">z1</span></span>'
    )
    description = parse_question(page(MODERN, body=rendered), "https://site.example/questions/42")["description"]
    assert description == "Let $x^2 < y$ and\n\n$$\\sum_i x_i$$$z_1$"


@pytest.mark.parametrize(
    ("html", "missing"),
    [
        ("", "#question"),
        ("<h1>Page not found</h1>", "#question"),
        (MODERN_LIST, "#question"),
        ('<div id="question"><div class="js-post-body">x</div></div>', "title, no tags"),
        (page(OF_2020).replace("js-post-body", "").replace("s-prose", "").replace("itemprop", "data-x"), "body"),
        (page(OF_2020).replace("post-taglist", "list"), "tags"),
    ],
)
def test_a_page_that_is_no_question_page_says_what_it_lacks(html, missing):
    with pytest.raises(PageError, match=missing) as error:
        parse_question(html, "https://site.example/questions/42/x")
    assert "https://site.example/questions/42/x" in str(error.value)


def test_a_listing_gives_each_question_of_its_site_once():
    assert parse_question_list(MODERN_LIST, "https://site.example/questions?tab=newest&page=1") == [
        {"title": "How to scale [Keras 3]?", "url": "https://site.example/questions/5/how-to-scale"},
        {
            "title": "Почему растёт ошибка?",
            "url": "https://site.example/questions/6/%d0%bf%d0%be%d1%87%d0%b5%d0%bc%d1%83",
        },
    ]
    assert page_count(MODERN_LIST) == 731


def test_an_old_listing_is_read_too():
    assert parse_question_list(OLD_LIST, "https://site.example") == [
        {"title": "How to scale?", "url": "https://site.example/questions/5/how-to-scale"}
    ]
    assert page_count(OLD_LIST) == 14


def test_a_page_without_questions_lists_none():
    assert parse_question_list("", "https://site.example") == []
    assert parse_question_list(page(MODERN), "https://site.example") == []
    assert page_count("<p>nothing</p>") == 1


@pytest.mark.parametrize(
    ("url", "canonical", "key"),
    [
        ("https://S.example/questions/5/a-b/17#17", "https://s.example/questions/5/a-b", "s.example/5"),
        ("https://s.example/questions/5/a-b/?lastactivity", "https://s.example/questions/5/a-b", "s.example/5"),
        ("https://s.example/questions/5/2048", "https://s.example/questions/5/2048", "s.example/5"),
        ("https://s.example/q/5", "https://s.example/q/5", "s.example/5"),
        ("https://s.example/about?x=1", "https://s.example/about", "https://s.example/about"),
    ],
)
def test_urls_are_canonical_and_questions_known_by_their_id(url, canonical, key):
    assert canonical_url(url) == canonical
    assert question_key(url) == key


def test_a_challenge_is_told_from_the_pages_asked_for():
    assert is_challenge(CLOUD_CHALLENGE)
    assert is_challenge(HUMAN_CHECK)
    assert not is_challenge(page(MODERN, title="Just a moment..."))
    assert not is_challenge(MODERN_LIST)
    assert not is_challenge("<title>Page not found - Site</title><h1>Page not found</h1>")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("just text\n\n  with   its spaces", "just text\n\n  with   its spaces"),
        ("a vector<int> where a<b and c>d", "a vector<int> where a<b and c>d"),
        ("AT&amp;T &lt;3", "AT&T <3"),
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<p>a<br><br>b</p>", "a\n\nb"),
        ("<ol><li>a<ul><li>b</li></ul></li><li><p>c</p><p>d</p></li></ol>", "a\nb\nc\nd"),
        ("<ul><li>a<pre><code>x = 1\n  y\n</code></pre></li><li>b</li></ul>", "a\nx = 1\n  y\nb"),
        ("<pre><code>\n  indented\n\n\n    more  \n</code></pre>", "  indented\n\n\n    more"),
        ("<pre><span>a</span><br><span>b</span></pre>", "a\nb"),
        ("<table><tr><th>k</th><th>v</th></tr><tr><td>1</td><td>2</td></tr></table>", "k | v\n1 | 2"),
        ("x<sup>2</sup> and <b>bold</b>ly", "x2 and boldly"),
        ('<p>See <img src="a.png" alt="enter image description here"></p>', "See"),
        ('<p>See <img src="a.png" alt="ROC curve">.</p>', "See ROC curve ."),
        ("<style>p {}</style><script>x()</script><!-- note --><p>text</p>", "text"),
        ("<blockquote><p><strong>Possible Duplicate:</strong><br><a>Another</a></p></blockquote><p>Mine</p>", "Mine"),
        ("<p>\ud800\x00a\u00a0b\r\nc</p>", "a b c"),
        ("<p>unclosed <b>tags", "unclosed tags"),
        ("<span>" * 3000 + "deep", "deep"),
    ],
)
def test_html_becomes_text_and_text_stays_as_it_is(html, text):
    assert html_to_text(html) == text
    assert html_to_text(text) == text
