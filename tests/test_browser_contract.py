"""The browser page and the Python package give the same tokens, probabilities and tags, with the shipped model, to
which lines that calibrate each field alone are added."""

import json
import random
import shutil

import numpy as np
import pytest

from data.sample_site.generator import make_questions
from tagging.encoding import is_fragmented
from tagging.html_text import html_to_text, question_text
from tagging.tagger import Tagger
from tests.test_browser import SHIPPED, Site, build

MAX_DIFFERENCE = 0.02  # of a probability: onnxruntime sums int8 in another order in WebAssembly
MIN_EQUAL = 0.99  # share of questions with the same suggested tags
ANSWER_IN_THE_PAGE = """
const [questions, done] = [JSON.parse(arguments[0]), arguments[1]];
(async () => {
  const { isFragmented, loadTagger, sigmoid } = await import("./tagger.js");
  const read = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
  const tagger = await loadTagger((name) => read(`model/${name}`), read("ort-wasm-simd-threaded.wasm"));
  const run = tagger.logits.bind(tagger);
  let logits; // of the last answer, not computed twice
  tagger.logits = async (...inputs) => { logits = await run(...inputs); return logits; };
  const results = [];
  for (const [title, description] of questions) {
    logits = null;
    const texts = tagger.read(title, description);
    const encoding = tagger.encode(...texts);
    const result = { texts, ids: encoding.ids, types: encoding.typeIds, isFragmented: isFragmented(encoding) };
    result.answer = await tagger.answer(title, description).catch((error) => error.message);
    const raw = (logits ?? await run(encoding)).map(sigmoid); // of a blank question, which gets no answer
    result.probabilities = tagger.rule.probabilities(raw);
    results.push(result);
  }
  return results;
})().then((results) => done(JSON.stringify(results)), (error) => done(String(error)));
"""

HARD = (
    *(
        "",
        " \n\t",
        "\u200b",
        "\x00\x01",
        "?",
        "x",
        "😀",
        "😀" * 300,
        "👩‍👩‍👧 family 🇩🇪 flags",
        "漢字かな交じり文 in pandas",
    ),
    *(
        "𠀀𠀁 rare characters of CJK 𪚥",
        "ΣΊΣΥΦΟΣ ΟΔΌΣ in Greek",
        "İstanbul ẞ ŉ ǰ ﬁ Ǆ",
        "a\u0301\u0323 e\u0301 n\u0303 composed",
    ),
    *(
        "x" * 100,
        "x" * 101,
        "word " * 80,
        "\ud83d half of a pair \ude00",
        "[MASK] and [SEP] or [CLS]x [UNK]",
        "[mask] [Pad]",
    ),
    *(
        "don't can't #hash @at c++ c# .net f'(x)",
        "zero\u200bwidth\u200e and\ufeff marks",
        "\x1f\x7f\x85 controls",
        "हिन्दी में",
    ),
    *(
        "ภาษาไทย",
        "العربية في بايثون",
        "עברית",
        "1,000.5e-3 ± 5 %",
        "a_b-c\u2013d\u2014e\u2026",
        "\U0001d4b3\U0001d538 math ∑∫√ ≤ ≠",
        "ﷺ \u2028\u2029 lines",
    ),
    *(
        "Привет мир как дела друзья",
        "как обучить нейронную сеть",
        "asdf qwer zxcv uiop hjkl",
        "\u00a0non-breaking\u00a0space",
    ),
    *(
        "Difference between List<T> and IEnumerable<T>",
        "the <UNK> and <EOS> tokens",
        "if a<b and c>d then",
        "x<-5 in R",
    ),
    *(
        "What does __init__ do, and *args or **kwargs?",
        "<class 'numpy.ndarray'>",
        "Map<K, V>",
        "&lt; &amp;lt; &#x1F600;",
    ),
    *(
        "How do I center a <div>?",
        "<p> or <br>: which one?",
        "<b>bold</b> or <i>?",
        "<!-- to do -->nothing",
        "<",
        "</p> alone",
    ),
    *(
        "<script>alert(1)",
        "$\\alpha$ and $$x^2$$",
        "`code` and [a](http://b.example)",
        "tabs\t\tand   blanks",
        "line\r\nbreaks\r",
    ),
)
HTML = (
    "<p>Convert <code>List<T></code> to <em>RDD<Vector></em></p>",
    "\n<p>if a<b and c>d</p>\n<p>then __init__ &lt;x&gt; &copy; &notit;</p>\n",
    "<P>OLD <B>html</B><BR>of 1998<P>without ends",
    "<p>How do I center a <div>? And </b>, <!-- and <script>?</p>",
    "<!-- begin --><ol start=1 reversed><li>one</li><li>two<p>three</p></li></ol>",
    "<html><head><title>x</title></head><body><p>python</p></body></html>",
    "<!DOCTYPE html>\n<p>python</p>",
    "<p><script type='math/tex'>a<b</script> holds <script type='math/tex; mode=display'>x^2</script></p>",
    "<p>a <span class='katex'><b>?</b><annotation encoding='application/x-tex'>y_1</annotation></span> b</p>",
    "<div><p>a</p><script>var x = '<p>';</script></div>",
    "<p>half \ud83d of it</p>",
    "<p></p>",
    "<p>one <ul><li>two</li></ul> three</p>",
    "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td>\n<td>2</td></tr></table>",
    "<pre><code>\n  for x in y:\n    print(x)\n</code></pre><p>after<br>it</p>",
    "<blockquote><p><strong>Possible Duplicate:</strong><br>Another</p></blockquote><p>Why?</p>",
    "<aside class='s-notice'>closed</aside><p>See <img src=x alt='a plot'><img alt='enter image description here'>",
    "<p>Text</p><div class='snippet-result'>gone</div><p>漢字 &#x1F600; 𠀀</p>",
)


def readable_texts() -> list[tuple[str, str]]:
    """Return questions of the sample site, and hard strings."""
    site = make_questions()
    questions = [(question.title, "") for question in site[:80]]
    questions += [(question.title, question.body_html) for question in site[80:190]]
    questions += [(question.title, html_to_text(question.body_html)) for question in site[190:230]]
    questions += [(text[:300], "") for text in HARD] + [("How do I train this?", text) for text in HARD]
    questions += [("", text) for text in HTML] + [("python", text * 20) for text in HTML]
    questions += [("", "x" * 30_000), ("long", "word " * 6_000), ("", "<p>" + "漢字 and words " * 2_000 + "</p>")]
    questions += [(" ".join(["title"] * 60)[:300], "body " * 100), ("one two three", "😀" * 30_000)]
    return questions


def random_texts(number: int) -> list[tuple[str, str]]:
    """Return titles of random characters of many scripts."""
    randomly = random.Random(1)
    blocks = [(0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x4E00, 0x9FFF), (0x1F300, 0x1F5FF), (0x20000, 0x2A6DF)]
    spans = [randomly.choices([*blocks, (0x20, 0x7E), (0x20, 0x20)], k=50) for _ in range(number)]
    return [("".join(chr(randomly.randint(*span)) for span in row), "") for row in spans]


@pytest.fixture(scope="module")
def texts():
    """500 questions."""
    readable = readable_texts()
    return readable + random_texts(500 - len(readable))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = shutil.copytree(SHIPPED, tmp_path_factory.mktemp("model") / "model")
    settings = json.loads((folder / "tagger.json").read_text(encoding="utf-8"))
    lines = {"title": [0.7, -0.4], "description": [1.2, 0.3]}
    (folder / "tagger.json").write_text(json.dumps(settings | {"alone": lines}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def in_the_page(model, texts, browser, tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    result = build(model, site.root / "page")
    assert result.returncode == 0, result.stderr
    site.start()
    try:
        browser.get(site.url("page"))
        browser.set_script_timeout(600)
        found = browser.execute_async_script(ANSWER_IN_THE_PAGE, json.dumps(texts))
    finally:
        site.stop()
    assert found.startswith("["), found
    return json.loads(found)


@pytest.fixture(scope="module")
def tagger(model):
    return Tagger(model, num_threads=1)


@pytest.fixture(scope="module")
def in_python(texts, tagger):
    results = []
    for question in texts:
        read = question_text(*question, tagger.settings.max_length)
        encoding = tagger.model.encode([read[0]], [read[1]])[0]
        result = {"texts": list(read), "ids": encoding.ids, "types": encoding.type_ids}
        result |= {
            "isFragmented": is_fragmented(encoding),
            "probabilities": tagger.probabilities([read[0]], [read[1]])[0],
        }
        results.append(result | {"answer": tagger.answer(*read) if any(text.strip() for text in read) else None})
    return results


@pytest.mark.parametrize("name", ["texts", "ids", "types", "isFragmented"])
def test_texts_and_tokens_are_identical(name, texts, in_the_page, in_python):
    different = [
        (question, page[name], python[name])
        for question, page, python in zip(texts, in_the_page, in_python, strict=True)
        if page[name] != python[name]
    ]
    assert different == []


def test_probabilities_differ_by_at_most_a_fiftieth(in_the_page, in_python):
    """On random characters, onnxruntime already differs from itself by 0.015 when its optimizations are off."""
    page, python = (np.array([result["probabilities"] for result in results]) for results in (in_the_page, in_python))
    differences = np.abs(page - python).max(axis=1)
    readable = len(readable_texts())
    assert differences[:readable].max() <= MAX_DIFFERENCE
    assert differences[readable:].max() <= 0.05


def test_the_suggested_tags_are_the_same_for_99_of_100_questions(in_the_page, in_python):
    pairs = [(page["answer"], python["answer"]) for page, python in zip(in_the_page, in_python, strict=True)]
    assert all(page == "Write a title or a description first." for page, python in pairs if python is None)
    answered = [(page, python) for page, python in pairs if python]
    assert len(answered) > 490
    equal = [
        {row["tag"] for row in page["suggested"]} == {row["tag"] for row in python["suggested"]}
        for page, python in answered
    ]
    assert np.mean(equal) >= MIN_EQUAL
    fits = [page["fits"] == python["fits"] for page, python in answered]
    assert np.mean(fits) >= MIN_EQUAL


def test_settings_of_the_page_are_those_of_the_model(tmp_path, model, tagger):
    assert build(model, tmp_path / "page").returncode == 0
    written = json.loads((tmp_path / "page/model/tagger.json").read_text(encoding="utf-8"))
    assert written == tagger.settings.as_json()
