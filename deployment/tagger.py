"""The tagging path: question in, tags out.

Training, evaluation and both apps go through the functions of this file, so that what is evaluated is what is served.
It needs tokenizers, onnxruntime and numpy, and of the repository cpus.py alone: the folder works when copied out alone.

A model folder holds

    model_quantized.onnx (or model.onnx)   input_ids, attention_mask[, token_type_ids] -> logits (n, num_labels)
    tokenizer.json                         with its truncation (max_length) and padding set by training
    tag_types_encoded.json                 {tag: index of its logit}
    thresholds.json                        {"global": t, "per_tag": {tag: t}, "fields": [...]}: tuned on the validation
                                           scores of the served model; the fields that it was trained to read;
                                           "calibration", see DecisionRule; and "min_confidence", the model's
                                           probability of a best tag below which no tag clearly fits
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

if __package__:  # the other folders import deployment.tagger
    from .cpus import usable_cpus
else:  # the scripts of this folder, wherever it lies
    from cpus import usable_cpus  # type: ignore[no-redef]

FIELDS = ("title", "description")
MAX_TAGS = 5  # a Stack Exchange question carries one to five tags
RUNNERS_UP = 5  # tags that an answer names beside the suggested ones
# A text is no language that the model has read when this share of its words falls apart into three pieces or more:
# random letters and most foreign languages do. Of the site's own titles, one in a hundred does.
MAX_FRAGMENTED = 1 / 3
FEWEST_WORDS = 4  # below, a single rare name would decide
WINDOW, OPENED = 6, 5  # words hidden together at first; windows whose words are then hidden one by one
HIDDEN_AT_ONCE = 16  # rows of a batch that explains
UNCUT = 512  # tokens of a question that count where a tokenizer.json does not say where to cut it
NO_CALIBRATION = {"slope": 1.0, "threshold": 0.5}  # of a thresholds.json made before there was one
CARRYING = 0.3  # a word carries a tag if hiding it costs at least this share of what hiding the weightiest word costs


class ModelFolderError(ValueError):
    """A model folder lacks a file, or its files do not belong together. The message says which, and what to run."""


def default_model_folder() -> Path:
    """Return the model folder that the environment variable TAGGER_MODEL names, or else model/ beside this file."""
    return Path(os.environ.get("TAGGER_MODEL") or Path(__file__).with_name("model"))


def import_onnxruntime() -> ModuleType:
    """Return the module onnxruntime with its telemetry off, unless the user's ORT_DISABLE_TELEMETRY says otherwise.

    From 1.29 on, its import would write a lasting id of the device and a store of events into the home folder. The
    variable counts only if it is set before.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def threads() -> int:
    """Return onnxruntime's number of threads where this process may use a part of the machine, and else 0.

    With 0 it takes one for each physical core, but counts those of the machine, not those of the container.
    """
    cpus = usable_cpus()
    return cpus if cpus < (os.cpu_count() or 1) else 0


def load_tokenizer(path: str | Path) -> tuple:
    """Return the ``tokenizers.Tokenizer`` of a tokenizer.json, with truncation but without padding, and its pad id."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    pad_id = (tokenizer.padding or {}).get("pad_id", 0)
    tokenizer.no_padding()  # here and not for each question: a change of settings would collide with other threads
    return tokenizer, pad_id


def encode(tokenizer, titles: Sequence[str], descriptions: Sequence[str], fields: Sequence[str] = FIELDS) -> list:
    """Tokenize questions as (title, description) pairs, truncated and unpadded as ``tokenizer`` is set to.

    A question with an empty title or description is encoded as the single text that it has; a field that is not in
    ``fields`` counts as empty.

    Returns
    -------
    list of ``tokenizers.Encoding``, one per question
    """
    texts = []
    for title, description in zip(titles, descriptions, strict=True):
        title = title.strip() if "title" in fields else ""
        description = description.strip() if "description" in fields else ""
        texts.append((title, description) if title and description else title or description)
    return tokenizer.encode_batch(texts)


def lacks(fields: Sequence[str], title: str, description: str) -> bool:
    """Tell whether a question is blank in all of ``fields``, those that a model reads."""
    return not ("title" in fields and title.strip()) and not ("description" in fields and description.strip())


def check_question(title: str, description: str, where: str = "the question") -> None:
    """Raise ValueError if a question is blank; ``where`` begins the message."""
    if lacks(FIELDS, title, description):
        raise ValueError(f"{where} is empty: give it a title or a description")


def sigmoid(logits: np.ndarray | np.floating) -> np.ndarray:
    """Return probabilities for logits of any shape; large magnitudes do not overflow."""
    return np.exp(-np.logaddexp(0.0, -logits))


def log_odds(probabilities: np.ndarray | float) -> np.ndarray:
    """Return the logits of probabilities of any shape, those of 0 and 1 as of the nearest that are neither."""
    probabilities = np.clip(np.asarray(probabilities, dtype=float), 1e-9, 1 - 1e-9)
    return np.log(probabilities / (1 - probabilities))


class DecisionRule(NamedTuple):
    """What turns a model's own probabilities into those that are shown, for which one threshold suits every tag.

    Each tag has a threshold of its own for the model's probability, so that by this a suggested tag could lie below one
    that is not. The shown probability is a function of how far a tag's log odds are above its threshold's: the same
    straight line for all tags, fitted to how often they are right (Platt 1999). So the order of the shown
    probabilities is the order of the suggestions.

    Attributes
    ----------
    thresholds : float array of shape (num_labels,), each in (0, 1]: of the model's own probabilities
    slope : float above 0
    threshold : float in (0, 1), the shown probability from which a tag is suggested
    """

    thresholds: np.ndarray
    slope: float
    threshold: float

    @classmethod
    def of(cls, content: dict, tags: Sequence[str]) -> "DecisionRule":
        """Return the rule of a thresholds.json's content; without a "calibration" the line has the slope 1."""
        thresholds = np.array([content["per_tag"][tag] for tag in tags], dtype=float)
        line = content.get("calibration", NO_CALIBRATION | {"threshold": content.get("global", 0.5)})
        return cls(thresholds, line["slope"], line["threshold"])

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Return the shown probabilities for the model's own, a float array of the same shape (n, num_labels)."""
        return sigmoid(self.slope * (log_odds(raw) - log_odds(self.thresholds)) + log_odds(self.threshold))


def suggest(probabilities: np.ndarray, threshold: float, max_tags: int = MAX_TAGS) -> np.ndarray:
    """Choose each question's tags by the site's rule: one to ``max_tags`` tags, never none.

    The most probable tags are chosen as far as they reach the threshold, and the most probable one even if it does not.

    Parameters
    ----------
    probabilities : float array of shape (n, num_labels), for which one threshold suits all tags
    threshold : float

    Returns
    -------
    bool array of shape (n, num_labels), one to ``max_tags`` True per row
    """
    best_first = np.argsort(-probabilities, axis=1, kind="stable")[:, :max_tags]
    chosen = np.zeros(probabilities.shape, dtype=bool)
    np.put_along_axis(chosen, best_first, np.take_along_axis(probabilities, best_first, axis=1) >= threshold, axis=1)
    chosen[np.arange(len(chosen)), best_first[:, 0]] = True
    return chosen


def read_json(path: Path) -> dict:
    """Read a JSON object, or raise :class:`ModelFolderError` that names the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelFolderError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path}: a JSON object was expected, found {type(content).__name__}")
    return content


def read_tags(path: Path) -> list[str]:
    """Return the tags of a tag_types_encoded.json in the order of their indices, which must be 0 .. n-1."""
    tag_to_index = read_json(path)
    tags = sorted(tag_to_index, key=lambda tag: str(tag_to_index[tag]).zfill(9))
    if not tags or [tag_to_index[tag] for tag in tags] != list(range(len(tags))):
        raise ModelFolderError(f"{path}: expected {{tag: index}} with the indices 0 to n-1, each once")
    return tags


def read_rule(path: Path, tags: Sequence[str]) -> DecisionRule:
    """Read the decision rule of a thresholds file, or raise :class:`ModelFolderError` where it is none for ``tags``."""
    content = read_json(path)
    per_tag = content.get("per_tag")
    if not isinstance(per_tag, dict) or set(per_tag) != set(tags):
        raise ModelFolderError(f"{path}: its 'per_tag' thresholds are not those of the model's {len(tags)} tags")
    if not all(isinstance(cut, int | float) and 0 < cut <= 1 for cut in [*per_tag.values(), content.get("global", 1)]):
        raise ModelFolderError(f"{path}: a threshold is no number in (0, 1]")
    match content.get("calibration", NO_CALIBRATION):
        case {"slope": int() | float() as slope, "threshold": int() | float() as threshold}:
            if 0 < slope < np.inf and 0 < threshold < 1:
                return DecisionRule.of(content, tags)
    raise ModelFolderError(f"{path}: 'calibration' needs a 'slope' above 0 and a 'threshold' between 0 and 1")


def read_fields(path: Path) -> list[str]:
    """Return the fields of a question that the model of a thresholds file reads: all of FIELDS where it names none."""
    fields = read_json(path).get("fields", list(FIELDS))
    if not isinstance(fields, list) or not fields or not set(fields) <= set(FIELDS):
        raise ModelFolderError(f"{path}: 'fields' is {fields!r}; it must name one or both of {', '.join(FIELDS)}")
    return fields


def read_min_confidence(path: Path) -> float:
    """Return the least probability of a best tag that clearly fits: 0 where the thresholds file names none."""
    confidence = read_json(path).get("min_confidence", 0.0)
    if not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise ModelFolderError(f"{path}: 'min_confidence' is {confidence!r}; it must be a number in [0, 1]")
    return confidence


def is_fragmented(encoding) -> bool:
    """Tell whether most of what a ``tokenizers.Encoding`` holds are no words that its vocabulary knows."""
    pieces: dict[tuple, int] = {}
    for sequence, word, token in zip(encoding.sequence_ids, encoding.word_ids, encoding.tokens, strict=True):
        if word is not None and ((sequence, word) in pieces or token.lstrip("Ġ▁")[:1].isalpha()):
            pieces[sequence, word] = pieces.get((sequence, word), 0) + 1
    fragments = sum(count >= 3 for count in pieces.values())
    return len(pieces) >= FEWEST_WORDS and fragments / len(pieces) > MAX_FRAGMENTED


class Tagger:
    """Suggests tags for questions with an ONNX model and the thresholds tuned for it.

    Parameters
    ----------
    folder : the model folder (see the module's docstring)
    model_file : "model_quantized.onnx" (int8, the one that is served) or "model.onnx" (fp32)
    num_threads : threads of one inference; 0 takes every core that this process may use

    Attributes
    ----------
    tags : list of str, length num_labels, in the order of the logits
    rule : DecisionRule, from the model's own probabilities to the ones that are shown
    fields : list of str, what of a question the model reads
    min_confidence : float, the model's own probability of a best tag below which none clearly fits
    max_tokens : int, how many tokens of a question the model reads
    input_names : set of str, what the model takes of input_ids, attention_mask and token_type_ids

    Raises
    ------
    ModelFolderError : a file is missing or damaged, or model, tag list and thresholds do not match
    """

    def __init__(self, folder: str | Path, model_file: str = "model_quantized.onnx", num_threads: int = 0):
        onnxruntime = import_onnxruntime()
        folder = Path(folder)
        needed = [model_file, "tokenizer.json", "tag_types_encoded.json", "thresholds.json"]
        missing = [name for name in needed if not (folder / name).is_file()]
        if missing:
            raise ModelFolderError(
                f"{folder} is no model folder: {', '.join(missing)} missing. "
                "Make one with onnx_export/export.py and onnx_export/quantize.py, or name another with TAGGER_MODEL."
            )
        self.tags = read_tags(folder / "tag_types_encoded.json")
        self.rule = read_rule(folder / "thresholds.json", self.tags)
        self.fields = read_fields(folder / "thresholds.json")
        self.min_confidence = read_min_confidence(folder / "thresholds.json")
        try:
            self.tokenizer, self._pad_id = load_tokenizer(folder / "tokenizer.json")
        except Exception as error:  # tokenizers raises bare Exception for every kind of damage
            raise ModelFolderError(f"{folder / 'tokenizer.json'}: not a tokenizer ({error})") from error

        self.max_tokens = (self.tokenizer.truncation or {}).get("max_length", UNCUT)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or threads()
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / model_file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise ModelFolderError(
                f"{folder / model_file}: not a readable ONNX model ({str(error).splitlines()[0]})"
            ) from error
        self.input_names = {model_input.name for model_input in self._session.get_inputs()}
        num_labels = self._session.get_outputs()[0].shape[-1]
        if num_labels != len(self.tags):
            raise ModelFolderError(
                f"{folder}: the model gives {num_labels} labels, but tag_types_encoded.json names {len(self.tags)} tags"
            )

    def probabilities(self, titles: Sequence[str], descriptions: Sequence[str], batch_size: int = 1) -> np.ndarray:
        """Return the tags' probabilities as they are shown, a float array of shape (n, num_labels).

        ``batch_size=1`` is what the apps serve and what the figures are measured with; larger batches are sorted by
        length and padded, and sum in another order, so that the last digits of their scores differ.
        """
        return self.rule.probabilities(self.raw_probabilities(titles, descriptions, batch_size))

    def raw_probabilities(self, titles: Sequence[str], descriptions: Sequence[str], batch_size: int = 1) -> np.ndarray:
        """Return the model's own probabilities, for tuning thresholds. Shape and batches as in probabilities."""
        return sigmoid(self.logits(titles, descriptions, batch_size))

    def logits(self, titles: Sequence[str], descriptions: Sequence[str], batch_size: int = 1) -> np.ndarray:
        """Return the model's raw outputs, a float32 array of shape (n, num_labels). Batches as in probabilities."""
        encodings = encode(self.tokenizer, titles, descriptions, self.fields)
        logits = np.empty((len(encodings), len(self.tags)), dtype=np.float32)
        by_length = np.argsort([len(encoding.ids) for encoding in encodings], kind="stable")
        for start in range(0, len(encodings), batch_size):
            rows = by_length[start : start + batch_size]
            logits[rows] = self.run(self.inputs([encodings[row] for row in rows]))
        return logits

    def inputs(self, encodings: list) -> dict[str, np.ndarray]:
        """Return what the model takes for encodings, padded to the longest: int64 arrays of shape (n, length)."""
        shape = len(encodings), max(len(encoding.ids) for encoding in encodings)
        ids, types = np.full(shape, self._pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            types[row, : len(encoding.ids)] = encoding.type_ids
            mask[row, : len(encoding.ids)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return {name: feed[name] for name in self.input_names}

    def run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        """Run the bare model over its inputs, int64 arrays of shape (n, length), and return its logits."""
        return self._session.run(None, feed)[0]

    def tag(self, title: str, description: str, top_k: int | None = None) -> list[tuple[str, float]]:
        """Return (tag, probability) pairs of one question, the most probable first.

        ``top_k=None`` gives the one to five suggested tags (see :func:`suggest`); a number gives that many of the most
        probable tags whether they reach the threshold or not.

        Raises
        ------
        ValueError : title and description are both blank, or ``top_k`` is not positive
        """
        return self.tag_batch([title], [description], top_k)[0]

    def tag_batch(
        self, titles: Sequence[str], descriptions: Sequence[str], top_k: int | None = None, batch_size: int = 1
    ) -> list[list[tuple[str, float]]]:
        """Tag many questions: :meth:`tag` for each, in order. Raises as it does, naming the row of a blank question."""
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}; it must be 1 or more")
        for row, (title, description) in enumerate(zip(titles, descriptions, strict=True)):
            check_question(title, description, f"question {row}" if len(titles) > 1 else "the question")
        probabilities = self.probabilities(titles, descriptions, batch_size)
        chosen = np.ones(probabilities.shape, dtype=bool)
        if top_k is None:
            chosen = suggest(probabilities, self.rule.threshold)
        tagged = []
        for row_probabilities, row_chosen in zip(probabilities, chosen, strict=True):
            ranked = [index for index in np.argsort(-row_probabilities, kind="stable") if row_chosen[index]]
            tagged.append([(self.tags[index], float(row_probabilities[index])) for index in ranked[:top_k]])
        return tagged

    def answer(self, title: str, description: str) -> dict:
        """Return what the apps show of one question.

        {"suggested": [{"tag": str, "probability": float}, ...]   one to five tags (see :func:`suggest`)
         "others":    [...]                                       the most probable of the rest, at most RUNNERS_UP
         "fits":      bool}     False: no tag clearly fits, or the text is no English, or not in a field that is read

        No probability of "others" is above one of "suggested".

        Raises
        ------
        ValueError : title and description are both blank
        """
        check_question(title, description)
        encoding = encode(self.tokenizer, [title], [description], self.fields)[0]
        raw = sigmoid(self.run(self.inputs([encoding])))
        probabilities = self.rule.probabilities(raw)
        chosen = suggest(probabilities, self.rule.threshold)[0]
        ranked = np.argsort(-probabilities[0], kind="stable")

        def rows(indices) -> list[dict]:
            return [{"tag": self.tags[i], "probability": round(float(probabilities[0, i]), 4)} for i in indices]

        read = not lacks(self.fields, title, description) and not is_fragmented(encoding)
        fits = read and float(raw.max()) >= self.min_confidence
        return {
            "suggested": rows(ranked[chosen[ranked]]),
            "others": rows(ranked[~chosen[ranked]][:RUNNERS_UP]),
            "fits": fits,
        }

    def explain(self, title: str, description: str) -> dict[str, list[dict]]:
        """Return which words carried which suggested tag, by occlusion (Zeiler & Fergus 2014; Li et al. 2016).

        Words are hidden from the model by the attention mask. What a tag's logit loses is what the word carried of it.

        Returns
        -------
        {"title": [{"text": str, "tag": str or None, "weight": float}, ...], "description": [...]}: the texts cut into
        pieces that give them back when joined. ``tag`` is the tag that the word carried most, ``weight`` in (0, 1] how
        much, against the weightiest word of that tag; a piece that carried none has None and 0.

        Raises
        ------
        ValueError : title and description are both blank
        """
        check_question(title, description)
        texts = {"title": title.strip(), "description": description.strip()}
        encoding = encode(self.tokenizer, [texts["title"]], [texts["description"]], self.fields)[0]
        words, drops, suggested = self._occlude(encoding, [name for name in FIELDS if texts[name]], texts)
        heaviest = drops.max(axis=0, initial=0.0)
        shares = np.divide(drops, heaviest, out=np.zeros_like(drops), where=heaviest > 0)
        pieces: dict[str, list[dict]] = {name: [] for name in FIELDS}
        position = dict.fromkeys(FIELDS, 0)
        carried_most = np.where(shares >= CARRYING, drops, 0.0)
        for (name, start, end), drop, share in zip(words, carried_most, shares, strict=True):
            best = int(drop.argmax())
            if drop[best] > 0:
                if start > position[name]:
                    pieces[name].append({"text": texts[name][position[name] : start], "tag": None, "weight": 0.0})
                carried = {"tag": self.tags[suggested[best]], "weight": round(float(share[best]), 3)}
                pieces[name].append({"text": texts[name][start:end]} | carried)
                position[name] = end
        for name in FIELDS:
            if rest := texts[name][position[name] :]:
                pieces[name].append({"text": rest, "tag": None, "weight": 0.0})
        return pieces

    def _occlude(self, encoding, names: list[str], texts: dict[str, str]) -> tuple[list, np.ndarray, np.ndarray]:
        """Return the words hidden, as (field, start, end), the logits' drops (words, k), and the k suggested indices.

        Hiding costs a run of the model. So WINDOW neighbours are hidden together first, and only the words of the
        OPENED weightiest windows one by one.
        """
        words = self._words(encoding, [name for name in names if name in self.fields], texts)
        whole = self.run(self.inputs([encoding]))
        suggested = np.flatnonzero(suggest(self.rule.probabilities(sigmoid(whole)), self.rule.threshold)[0])
        windows = [words[start : start + WINDOW] for start in range(0, len(words), WINDOW)]
        if len(windows) > OPENED:
            hidden = np.array([np.any([hides for _, hides in window], axis=0) for window in windows])
            weight = self._drops(encoding, hidden, whole, suggested).max(axis=1)
            windows = [windows[index] for index in sorted(np.argsort(-weight, kind="stable")[:OPENED])]
        words = [word for window in windows for word in window]
        hidden = np.array([hides for _, hides in words], dtype=bool).reshape(len(words), len(encoding.ids))
        return [word for word, _ in words], self._drops(encoding, hidden, whole, suggested), suggested

    @staticmethod
    def _words(encoding, names: list[str], texts: dict[str, str]) -> list[tuple]:
        """Return ((field, start, end), which tokens it covers: bool array (length,)) of each word that is read."""
        sequences = np.array([-1 if sequence is None else sequence for sequence in encoding.sequence_ids])
        starts, ends = np.array(encoding.offsets).T
        words = []
        for number, name in enumerate(names):
            end = ends[sequences == number].max(initial=0)  # of what is read
            for word in re.finditer(r"\S+", texts[name]):
                if word.start() >= end:
                    break
                covered = (sequences == number) & (starts < word.end()) & (ends > word.start())
                if covered.any():
                    words.append(((name, *word.span()), covered))
        return words

    def _drops(self, encoding, hidden: np.ndarray, whole: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return what the logits of ``labels`` lose, shape (n, k), when the tokens of each row of ``hidden`` are."""
        feed = self.inputs([encoding])
        drops = np.zeros((len(hidden), len(labels)), dtype=np.float32)
        for start in range(0, len(hidden), HIDDEN_AT_ONCE):
            mask = (~hidden[start : start + HIDDEN_AT_ONCE]).astype(np.int64)
            rows = {name: np.tile(values, (len(mask), 1)) for name, values in feed.items()}
            logits = self.run(rows | {"attention_mask": mask})
            drops[start : start + len(mask)] = (whole - logits)[:, labels]
        return drops
