"""Gaps in a site's tags: topics for which no tag fits, and pairs of tags that a model does not tell apart. No I/O.

Topics are clusters of the recent questions on which every tag of the model is most unsure: HDBSCAN (Campello et al.
2013, "Density-based clustering based on hierarchical density estimates") on vectors of a sentence encoder that knows
nothing of the tags. Each is named by the words that are frequent in it and rare elsewhere. A topic can also be one that
the site does not want, or an old one that people tag in too many ways: it is a proposal for a person.

Two tags are told apart by which of them a model finds more probable, on the questions that have exactly one of them.
The area under the ROC curve is 0.5 if that is chance, 1 if it is always right.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from data.markdown import markdown_table
from tagging.similar import unit

UNSURE_SHARE = 0.2  # of the recent questions
MIN_CLUSTER = 6  # questions of a topic
MIN_QUESTIONS = 60  # recent questions, below which no topic is looked for
NUM_WORDS, NUM_EXAMPLES = 3, 3
MIN_EXCLUSIVE = 15  # questions with one tag of a pair and not the other, of each kind
MAX_AREA = 0.9  # upper end of the 95 % interval of a pair that is listed
MAX_LISTED = 20
MARKDOWN = re.compile(r"([\\\[\]*_`])")


@dataclass(frozen=True)
class Topic:
    """A cluster of questions: the rows of its questions, those nearest to its centre first, and its words."""

    rows: np.ndarray
    words: list[str]


@dataclass(frozen=True)
class Pair:
    """Two tags, the area under the ROC curve, the upper end of its 95 % interval, and how many questions have one tag
    or the other, and both."""

    first: str
    second: str
    area: float
    upper: float
    exclusive: tuple[int, int]
    common: int


def find_topics(titles: Sequence[str], highest: np.ndarray, vectors: np.ndarray) -> list[Topic]:
    """Return the topics of recent questions for which no tag fits, the largest first.

    Parameters
    ----------
    titles : of n recent questions
    highest : float array of shape (n,), the probability of each one's most probable tag
    vectors : float array of shape (n, hidden_size)
    """
    from sklearn.cluster import HDBSCAN

    if len(titles) < MIN_QUESTIONS:
        return []
    unsure = np.sort(np.argsort(highest, kind="stable")[: round(UNSURE_SHARE * len(highest))])
    directions = unit(vectors - vectors.mean(axis=0))
    clustering = HDBSCAN(min_cluster_size=MIN_CLUSTER, min_samples=3, cluster_selection_method="leaf", copy=True)
    labels = clustering.fit_predict(directions[unsure])
    topics = []
    for label in range(labels.max() + 1):
        rows = unsure[labels == label]
        nearness = directions[rows] @ directions[rows].mean(axis=0)
        topics.append(Topic(rows[np.argsort(-nearness, kind="stable")], distinctive_words(titles, rows)))
    return sorted((topic for topic in topics if topic.words), key=lambda topic: -len(topic.rows))


def distinctive_words(titles: Sequence[str], rows: np.ndarray) -> list[str]:
    """Return the words, and pairs of words, that are frequent among the titles of ``rows`` and rare among all.

    They are ranked by their share of the rows times the log of its ratio to the share of all titles.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    token = r"(?u)\b[^\W\d_][\w+#.-]*\b"
    counter = CountVectorizer(ngram_range=(1, 2), stop_words="english", min_df=2, binary=True, token_pattern=token)
    try:
        found = counter.fit_transform(titles)
    except ValueError:  # no word comes twice
        return []
    inside = np.asarray(found[rows].mean(axis=0)).ravel()
    everywhere = np.asarray(found.mean(axis=0)).ravel()
    scores = inside * np.log(np.maximum(inside, 1e-12) / everywhere)
    names, words = counter.get_feature_names_out(), list[str]()
    is_pair = np.char.count(names.astype(str), " ")
    for place in np.lexsort((-is_pair, -scores)):  # pairs say more than their words alone
        if len(words) == NUM_WORDS or inside[place] < 2 / len(rows):
            break
        if not set(names[place].split()) & set(" ".join(words).split()):
            words.append(str(names[place]))
    return words


def find_pairs(targets: np.ndarray, scores: np.ndarray, tags: Sequence[str]) -> list[Pair]:
    """Return the pairs of tags that the scores do not tell apart, those of the lowest upper end first.

    The interval is that of Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve".

    Parameters
    ----------
    targets, scores : bool and float array of shape (n, num_labels), log odds or anything that may be subtracted
    """
    from scipy.stats import rankdata

    pairs = []
    frequent = np.flatnonzero(targets.sum(axis=0) >= MIN_EXCLUSIVE)
    for first, second in combinations(frequent.tolist(), 2):
        one, other = targets[:, first] & ~targets[:, second], targets[:, second] & ~targets[:, first]
        m, n = int(one.sum()), int(other.sum())
        if min(m, n) < MIN_EXCLUSIVE:
            continue
        margins = scores[:, first] - scores[:, second]
        ranks = rankdata(np.concatenate([margins[one], margins[other]]))
        area = float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))
        of_one, of_other = area / (2 - area) - area**2, 2 * area**2 / (1 + area) - area**2
        variance = (area * (1 - area) + (m - 1) * of_one + (n - 1) * of_other) / (m * n)
        upper = area + 1.96 * float(np.sqrt(max(variance, 0)))
        if upper < MAX_AREA:
            common = int((targets[:, first] & targets[:, second]).sum())
            pairs.append(Pair(tags[first], tags[second], area, upper, (m, n), common))
    return sorted(pairs, key=lambda pair: pair.upper)


def describe(topics: Sequence[Topic], pairs: Sequence[Pair], titles: Sequence[str], urls: Sequence[str]) -> str:
    """Return the sections of the report in Markdown; titles and urls are those of the recent questions."""

    def link(row: int) -> str:
        text = MARKDOWN.sub(r"\\\1", " ".join(titles[row].split()))
        return f"[{text.replace('|', '&#124;').replace('<', '&lt;')}](<{urls[row]}>)"

    topic_rows = [
        (", ".join(topic.words), str(len(topic.rows)), "; ".join(map(link, topic.rows[:NUM_EXAMPLES].tolist())))
        for topic in topics[:MAX_LISTED]
    ]
    pair_rows = [
        (
            f"{pair.first}, {pair.second}",
            f"{pair.area:.2f}, at most {pair.upper:.2f}",
            f"{pair.exclusive[0]}, {pair.exclusive[1]}",
            str(pair.common),
        )
        for pair in pairs[:MAX_LISTED]
    ]
    return "\n".join(
        [
            "## Topics without a tag: recent questions on which every tag is unsure\n",
            markdown_table(("words", "questions", "examples"), topic_rows, num_text=3) if topics else "None.",
            "\nA new tag may help, or none: these are proposals.\n",
            "## Tags that the model does not tell apart\n",
            markdown_table(("tags", "area under the ROC curve", "one of them", "both"), pair_rows, num_text=2)
            if pairs
            else "None.",
            "\nThey may mean the same, or one of them nothing in particular: proposals to merge or to describe them.\n",
        ]
    )
