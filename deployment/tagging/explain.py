"""Which words of a question led to which suggested tag, by occlusion (Zeiler & Fergus 2014; Li et al. 2016).

Words are hidden from the model by the attention mask. The weight of a word for a tag is the drop of the tag's logit.
"""

import re
from typing import NamedTuple

import numpy as np

from tagging.decision import calibrate_logits, sigmoid
from tagging.encoding import check_question
from tagging.settings import FIELDS
from tagging.tagger import Tagger

WINDOW, MAX_OPENED = 6, 5  # words hidden together at first; windows whose words are then hidden one by one
BATCH_SIZE = 16
MIN_SHARE = 0.3  # of the drop of a tag's most important word, from which a word is attributed to the tag


class Word(NamedTuple):
    """A word that the model reads: its place in the text of a field, and a bool array (length,) of its tokens."""

    field: str
    start: int
    end: int
    tokens: np.ndarray


def explain_tags(tagger: Tagger, title: str, description: str) -> dict[str, list[dict]]:
    """Attribute the words of a question to its suggested tags.

    Returns
    -------
    dict
        ``{"title": [{"text": str, "tag": str or None, "weight": float}, ...], "description": [...]}``: the texts, cut
        into pieces that give the text when joined. ``tag`` is the suggested tag whose logit the word raised most,
        ``weight`` in (0, 1] its share of the drop of that tag's most important word. Pieces without a tag have None
        and 0.

    Raises
    ------
    ValueError
        If title and description are both blank.
    """
    check_question(title, description)
    texts = {"title": title.strip(), "description": description.strip()}
    words, drops, names = occlude(tagger, texts)
    largest = drops.max(axis=0, initial=0.0)
    shares = np.divide(drops, largest, out=np.zeros_like(drops), where=largest > 0)
    attributed = np.where(shares >= MIN_SHARE, drops, 0.0)
    pieces: dict[str, list[dict]] = {name: [] for name in FIELDS}
    position = dict.fromkeys(FIELDS, 0)
    for word, drop, share in zip(words, attributed, shares, strict=True):
        best = int(drop.argmax())
        if drop[best] > 0:
            text, before = texts[word.field], position[word.field]
            if word.start > before:
                pieces[word.field].append({"text": text[before : word.start], "tag": None, "weight": 0.0})
            attribution = {"tag": names[best], "weight": round(float(share[best]), 3)}
            pieces[word.field].append({"text": text[word.start : word.end]} | attribution)
            position[word.field] = word.end
    for name in FIELDS:
        if rest := texts[name][position[name] :]:
            pieces[name].append({"text": rest, "tag": None, "weight": 0.0})
    return pieces


def occlude(tagger: Tagger, texts: dict[str, str]) -> tuple[list[Word], np.ndarray, list[str]]:
    """Hide the words of a question from the model.

    Each hidden word costs one run of the model. WINDOW neighbours are therefore hidden together first, and only the
    words of the MAX_OPENED most important windows one by one.

    Returns
    -------
    words : list of Word, those hidden one by one
    drops : float array of shape (words, k), the drop of each suggested tag's logit
    names : list of k str, the suggested tags; of those whose probability comes from one label, the most probable
    """
    encoding = tagger.model.encode([texts["title"]], [texts["description"]])[0]
    words = read_words(encoding, [name for name in FIELDS if texts[name] and name in tagger.settings.fields], texts)
    logits = tagger.run(tagger.inputs([encoding]))
    raw = sigmoid(calibrate_logits(logits, [texts["title"]], [texts["description"]], tagger.settings))
    chosen = tagger.selection.select(tagger.rule.probabilities(raw)[0])[0]
    by_label = {choice.label: choice.tag for choice in reversed(chosen)}
    suggested = np.array(sorted(by_label))
    windows = [words[start : start + WINDOW] for start in range(0, len(words), WINDOW)]
    if len(windows) > MAX_OPENED:
        hidden = np.array([np.any([word.tokens for word in window], axis=0) for window in windows])
        importance = logit_drops(tagger, encoding, hidden, logits, suggested).max(axis=1)
        windows = [windows[index] for index in sorted(np.argsort(-importance, kind="stable")[:MAX_OPENED])]
    words = [word for window in windows for word in window]
    hidden = np.array([word.tokens for word in words], dtype=bool).reshape(len(words), len(encoding.ids))
    return (
        words,
        logit_drops(tagger, encoding, hidden, logits, suggested),
        [by_label[label] for label in sorted(by_label)],
    )


def read_words(encoding, fields: list[str], texts: dict[str, str]) -> list[Word]:
    """Return the words of ``fields`` that a ``tokenizers.Encoding`` covers; truncated text has none."""
    sequences = np.array([-1 if sequence is None else sequence for sequence in encoding.sequence_ids])
    starts, ends = np.array(encoding.offsets).T
    words = []
    for number, name in enumerate(fields):
        end = ends[sequences == number].max(initial=0)
        for match in re.finditer(r"\S+", texts[name]):
            if match.start() >= end:
                break
            tokens = (sequences == number) & (starts < match.end()) & (ends > match.start())
            if tokens.any():
                words.append(Word(name, *match.span(), tokens))
    return words


def logit_drops(tagger: Tagger, encoding, hidden: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return by how much the logits of ``labels`` drop for each row of ``hidden``, an array of shape (n, k).

    Parameters
    ----------
    hidden : bool array of shape (n, length), the tokens to hide
    logits : float array of shape (1, num_labels), of the whole question
    labels : int array of shape (k,)
    """
    feed = tagger.inputs([encoding])
    drops = np.zeros((len(hidden), len(labels)), dtype=np.float32)
    for start in range(0, len(hidden), BATCH_SIZE):
        mask = (~hidden[start : start + BATCH_SIZE]).astype(np.int64)
        rows = {name: np.tile(values, (len(mask), 1)) for name, values in feed.items()}
        drops[start : start + len(mask)] = (logits - tagger.run(rows | {"attention_mask": mask}))[:, labels]
    return drops
