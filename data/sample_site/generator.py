"""Generate the sample site's questions: the same seed gives the same questions, and their text matches their tags.

The phrases are hand-written, in banks/: common.toml contains phrases for any question (scenes, openings, closings, rare
tags), the other files contain topics. A topic is a tag with its cases (titles and the problem), code, attempts and
answers. In the banks, «name» is a placeholder for a value of the scene or a random number.
"""

import html
import random
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

BANKS = Path(__file__).with_name("banks")
FIRST_ID = 40_000
FIRST_ASKED = datetime(2023, 1, 9, 8, 30)
MAX_TAGS = 5
REPOSTS = 2
QUESTIONS_PER_CLOSED, QUESTIONS_PER_DUPLICATE = 30, 45
DELETED_POSITION, QUESTIONS_PER_DELETED = 6, 250  # the seventh newest and every 250th after it
QUESTIONS_PER_RARE_TAG = 16
SUFFIXES = {"": "", "closed": " [closed]", "duplicate": " [duplicate]"}
LANGUAGES = {"python": "lang-py", "r": "lang-r", "sql": "lang-sql"}


@dataclass(frozen=True)
class SampleQuestion:
    """A question, with the other content of its page."""

    id: int
    title: str
    """Without the status suffix."""
    body_html: str
    tags: tuple[str, ...]
    answers_html: tuple[str, ...]
    comments_html: tuple[str, ...]
    asked: datetime
    author: str
    score: int
    views: int
    closed: str = ""
    """'', 'closed' or 'duplicate'."""
    duplicate_of: int | None = None
    """The id of the original of a 'duplicate'."""
    edited: datetime | None = None
    deleted: bool = False
    """Listed, but its page answers 404."""

    @property
    def active(self) -> datetime:
        """Time of the last activity."""
        return self.edited or self.asked

    @property
    def title_on_page(self) -> str:
        """The title with " [closed]" or " [duplicate]"."""
        return self.title + SUFFIXES[self.closed]

    @property
    def slug(self) -> str:
        """The title as the last part of the URL: at most 80 of a-z, 0-9 and hyphens."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower())[:80].strip("-")

    @property
    def path(self) -> str:
        """The path of the canonical URL."""
        return f"/questions/{self.id}/{self.slug}"


def make_questions(n: int = 450, seed: int = 42) -> list[SampleQuestion]:
    """Return ``n`` questions, newest first.

    Two are posted twice (same title, body and tags with another id), some are closed, duplicates or deleted, and some
    have a tag that occurs one to three times.

    Raises
    ------
    ValueError
        ``n`` is below 1, or too large for the banks to give each question its own title.
    """
    if n < 1:
        raise ValueError(f"n is {n}: the sample site needs at least one question")
    rng = random.Random(seed)
    reposts = REPOSTS if n >= 10 * REPOSTS else 0
    writer = _Writer(rng)
    drafts = [writer.write(topic) for topic in _draw_topics(rng, n - reposts)]
    _add_rare_tags(rng, drafts)
    drafts += rng.sample(drafts, reposts)
    rng.shuffle(drafts)
    return _mark(rng, _publish(rng, drafts))


@cache
def _banks() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the content of common.toml, and the topics."""
    files = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(BANKS.glob("*.toml"))}
    common = files.pop("common")
    return common, [topic for bank in files.values() for topic in bank["topic"]]


def _draw_topics(rng: random.Random, n: int) -> list[dict[str, Any]]:
    """Return ``n`` topics in random order, in proportion to their weights; the remainder goes to the heaviest."""
    _, topics = _banks()
    topics = sorted(topics, key=lambda topic: -topic["weight"])
    total = sum(topic["weight"] for topic in topics)
    drawn = [topic for topic in topics for _ in range(n * topic["weight"] // total)]
    drawn += [topic for topic, _ in zip(cycle(topics), range(n - len(drawn)), strict=False)]
    rng.shuffle(drawn)
    return drawn


class _Writer:
    """Generates questions with distinct titles."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.common, self.topics = _banks()
        self.titles: set[str] = set()
        self.cases = {topic["tag"]: cycle(rng.sample(topic["case"], len(topic["case"]))) for topic in self.topics}

    def chance(self, probability: float) -> bool:
        """Return True with ``probability``."""
        return self.rng.random() < probability

    def pick(self, bank: str) -> str:
        """Return a random phrase of a bank in common.toml."""
        return self.rng.choice(self.common[bank])

    def write(self, topic: dict[str, Any]) -> dict[str, Any]:
        """Return a draft: title, body, tags, answers and comments of a question on ``topic``."""
        case = next(self.cases[topic["tag"]])
        values = self.draw_values()
        companions = [tag for tag, probability in topic["often"].items() if self.chance(probability)]
        tags = [topic["tag"], *case.get("tags", []), *companions]
        if len(tags) > 1 and self.chance(0.05):  # as askers omit the obvious tag
            del tags[0]
        blocks = self.problem(topic, case)
        place = self.rng.choice((1, len(blocks)))
        blocks[place:place] = self.remark(topic, companions)
        if self.chance(0.15):
            second = next(self.cases[topic["tag"]])
            blocks.append(f"<p>{self.pick('seconds')} {paragraphs(second['text'])[0]}</p>")
            tags += second.get("tags", [])
        if self.chance(0.15):
            other = self.rng.choice(self.topics)
            blocks.append(f"<p>{self.rng.choice(other['aside'])}</p>")
            tags.insert(1, other["tag"])
        blocks = self.decorate([*blocks, f"<p>{self.rng.choice([*topic['asks'], *self.common['closings']])}</p>"])
        return {
            "title": self.draw_title(case, values),
            "body": fill("\n\n".join(blocks), values),
            "tags": list(dict.fromkeys(tags))[:MAX_TAGS],
            "answers": tuple(fill(answer, values) for answer in self.answer(topic)),
            "comments": tuple(self.rng.sample(self.common["comments"], self.rng.choice((0, 0, 1, 2)))),
        }

    def draw_values(self) -> dict[str, str]:
        """Return the values of the placeholders for one question."""
        numbers = {name: self.rng.choice(choices) for name, choices in self.common["numbers"].items()}
        return {**self.rng.choice(self.common["scene"]), **numbers}

    def draw_title(self, case: dict[str, Any], values: dict[str, str]) -> str:
        """Return a title that has not been used yet."""
        titles = [fill(title, values) for title in self.rng.sample(case["titles"], len(case["titles"]))]
        notes = [fill(note, values) for note in self.rng.sample(self.common["notes"], len(self.common["notes"]))]
        noted = [f"{title} ({note})" for note in notes for title in titles]
        for title in [*noted[: self.chance(0.06)], *titles, *noted]:
            if title not in self.titles:
                self.titles.add(title)
                return title
        raise ValueError("the sample texts do not suffice for so many questions: request fewer")

    def problem(self, topic: dict[str, Any], case: dict[str, Any]) -> list[str]:
        """Return the problem as blocks of HTML: opening, description, code, error message, formula, attempts."""
        blocks = [f"<p>{self.pick('openings')}</p>"] if self.chance(0.65) else []
        blocks += [f"<p>{paragraph}</p>" for paragraph in paragraphs(case["text"])]
        if "code" in case:
            blocks.append(self.code_block(case["code"], topic))
        elif "code" in topic and self.chance(0.5):
            blocks.append(self.code_block(self.rng.choice(topic["code"]), topic))
        if "error" in case:
            blocks.append(f"<p>{self.pick('failures')}</p>\n\n<pre><code>{escape(case['error'])}</code></pre>")
        if "formula" in topic and self.chance(0.35):
            blocks.append(f"<p>{self.rng.choice(topic['formula'])}</p>")
        if self.chance(0.6):
            blocks.insert(self.rng.choice((1, len(blocks))), f"<p>{self.pick('backgrounds')}</p>")
        if self.chance(0.5):
            blocks.append(self.list_of_tries(topic))
        return blocks

    def remark(self, topic: dict[str, Any], companions: list[str]) -> list[str]:
        """Return remarks on the problem: hints at the companion tags, details, a link to documentation."""
        cues = self.common["cues"]
        sentences = [self.rng.choice(cues[tag]) for tag in companions if tag in cues and self.chance(0.95)]
        sentences += self.rng.sample(self.common["details"], self.rng.choice((0, 1, 1, 2, 3)))
        blocks = [f"<p>{' '.join(sentences)}</p>"] if sentences else []
        if self.chance(0.35):
            name, url = self.rng.choice(topic["links"])
            link = f'<a href="{url}" rel="nofollow noreferrer">{name}</a>'
            blocks.append(f"<p>{self.pick('sources').replace('«link»', link)}</p>")
        return blocks

    def list_of_tries(self, topic: dict[str, Any]) -> str:
        """Return the attempts of the asker, as a list or a sentence."""
        tries = self.rng.sample(topic["tried"], self.rng.choice((2, 3)))
        if self.chance(0.3):
            return f"<p>{self.pick('tried')} {'; '.join(tries)}.</p>"
        kind = self.rng.choice(("ul", "ol"))
        items = "\n".join(f"<li>{item}</li>" for item in tries)
        return f"<p>{self.pick('tried')}</p>\n\n<{kind}>\n{items}\n</{kind}>"

    def decorate(self, blocks: list[str]) -> list[str]:
        """Add, with a small probability each, a heading, a quotation, a figure or a later edit to ``blocks``."""
        if self.chance(0.07):
            level = self.rng.choice(("h2", "h3"))
            blocks.insert(-1, f"<{level}>{self.pick('headlines')}</{level}>")
        elif self.chance(0.07):
            blocks.insert(-1, f"<blockquote>\n<p>{self.pick('quotations')}</p>\n</blockquote>")
        elif self.chance(0.08):
            source = self.pick("figures")
            image = f'<img src="{source}" alt="{self.pick("captions")}">'
            blocks.insert(-1, f'<p><a href="{source}" rel="nofollow noreferrer">{image}</a></p>')
        if self.chance(0.07):
            blocks.append(f"<hr>\n<p><strong>Edit:</strong> {self.pick('edits')}</p>")
        return blocks

    def code_block(self, code: str, topic: dict[str, Any]) -> str:
        """Return ``code`` in one of the two kinds of markup of the real sites."""
        language = LANGUAGES.get(topic.get("language", "python"))
        opening = f'<pre class="{language} s-code-block">' if self.chance(0.5) else "<pre>"
        return f"{opening}<code>{escape(code)}</code></pre>"

    def answer(self, topic: dict[str, Any]) -> list[str]:
        """Return zero to two answers, some with code."""
        answers = [self.rng.choice(topic["answers"]), self.pick("answers")]
        self.rng.shuffle(answers)
        answers = [f"<p>{text}</p>" for text in answers[: self.rng.choice((0, 1, 1, 2))]]
        if answers and "code" in topic:
            answers[0] += "\n\n" + self.code_block(self.rng.choice(topic["code"]), topic)
        return answers


def fill(text: str, values: dict[str, str]) -> str:
    """Return ``text`` with each «name» replaced by its value.

    Examples
    --------
    >>> fill("a «model» on «rows» rows", {"model": "CNN", "rows": "100"})
    'a CNN on 100 rows'
    """
    return re.sub(r"«(\w+)»", lambda match: values[match[1]], text)


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of ``text``, which are separated by blank lines."""
    return text.strip().split("\n\n")


def escape(code: str) -> str:
    """Return the text of a code block as HTML."""
    return html.escape(code.strip("\n"), quote=False) + "\n"


def _add_rare_tags(rng: random.Random, drafts: list[dict[str, Any]]) -> None:
    """Add a rare tag and a matching sentence to some drafts."""
    common, _ = _banks()
    free = [draft for draft in drafts if len(draft["tags"]) < MAX_TAGS]
    rng.shuffle(free)
    for rare in common["rare"][: len(drafts) // QUESTIONS_PER_RARE_TAG]:
        for _ in range(rare["times"]):
            draft = free.pop()
            draft["tags"].append(rare["tag"])
            draft["body"] += f"\n\n<p>{rare['text']}</p>"


def _publish(rng: random.Random, drafts: list[dict[str, Any]]) -> list[SampleQuestion]:
    """Convert ``drafts`` to questions with ascending ids and times, and return them newest first."""
    common, _ = _banks()
    questions = []
    number, asked = FIRST_ID, FIRST_ASKED
    for draft in drafts:
        number += rng.randint(1, 40)
        asked += timedelta(seconds=rng.randint(400, 90_000))
        questions.append(
            SampleQuestion(
                id=number,
                title=draft["title"],
                body_html=draft["body"],
                tags=tuple(draft["tags"]),
                answers_html=draft["answers"],
                comments_html=draft["comments"],
                asked=asked,
                author=rng.choice(common["authors"]),
                score=rng.choice((-1, 0, 0, 0, 1, 1, 2, 3, 5, 11)),
                views=int(rng.paretovariate(0.8) * 14),
            )
        )
    return questions[::-1]


def _mark(rng: random.Random, questions: list[SampleQuestion]) -> list[SampleQuestion]:
    """Return ``questions`` in the given order, newest first, some marked as closed, duplicate or deleted."""
    n = len(questions)
    times = Counter(question.title for question in questions)
    asked_once = [i for i, question in enumerate(questions) if times[question.title] == 1]
    deleted = [i for i in asked_once if i >= DELETED_POSITION][::QUESTIONS_PER_DELETED] if n > DELETED_POSITION else []
    closable = rng.sample([i for i in asked_once if i not in deleted], (n // QUESTIONS_PER_CLOSED))
    marked = list(questions)
    for i in deleted:
        marked[i] = replace(questions[i], deleted=True)
    for i in closable:
        marked[i] = replace(questions[i], closed="closed")
    older = [i for i in asked_once if marked[i] is questions[i] and _original(questions, i)]
    for i in rng.sample(older, min(len(older), n // QUESTIONS_PER_DUPLICATE)):
        marked[i] = replace(questions[i], closed="duplicate", duplicate_of=_original(questions, i))
    return marked


def _original(questions: list[SampleQuestion], position: int) -> int | None:
    """Return the id of the next older answered question with the same first tag, or None."""
    tag = questions[position].tags[0]
    return next((q.id for q in questions[position + 1 :] if q.tags[0] == tag and q.answers_html), None)
