"""The tagger: the ONNX model of a model folder, run on questions."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from tagging.cpus import usable_cpus
from tagging.decision import calibrate_logits, sigmoid
from tagging.encoding import check_question, is_blank, is_fragmented
from tagging.model_folder import INT8_MODEL, ModelFolder, ModelFolderError
from tagging.selection import Choice, Selection
from tagging.similar import SIMILAR
from tagging.tiers import SHOWN

VECTOR = "vector"  # the output of the ONNX model beside the logits: what its head reads


def import_onnxruntime() -> ModuleType:
    """Return the module onnxruntime, with its telemetry off unless the user has set ORT_DISABLE_TELEMETRY.

    Since version 1.29 the import writes a persistent device id and a store of events into the home folder. The variable
    has an effect only if it is set before the import.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def session_threads() -> int:
    """Return the number of threads for onnxruntime, 0 (its default) if this process may use the whole machine.

    The default is one thread per physical core of the machine, whatever the quota of the container.
    """
    cpus = usable_cpus()
    return cpus if cpus < (os.cpu_count() or 1) else 0


def open_session(path: Path, num_threads: int):
    """Return an ``onnxruntime.InferenceSession`` of an ONNX file, or raise :class:`ModelFolderError`."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads or session_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise ModelFolderError(f"{path}: not a readable ONNX model ({str(error).splitlines()[0]})") from error


class Tagger:
    """Suggests tags for questions.

    Parameters
    ----------
    folder : str or Path
        The model folder, see :mod:`tagging.model_folder`.
    model_file : str
        "model_quantized.onnx" (int8, the one that is served) or "model.onnx" (fp32).
    num_threads : int
        Threads of one inference; 0 uses every core that this process may use.
    index : bool
        Whether to read similar.npz, if there is one.

    Attributes
    ----------
    model : ModelFolder
        The files of the folder: tags, decision rule, settings and tokenizer.
    similar : SimilarQuestions or None
    tags, rule, settings : list of str, DecisionRule, Settings
        Those of ``model``.
    selection : Selection
        From calibrated probabilities to the tags of an answer, by the decision rule and the rules of the site.
    input_names : set of str
        The inputs of the ONNX model: some of input_ids, attention_mask and token_type_ids.

    Raises
    ------
    ModelFolderError
        If a file is missing or damaged, or model, tags, thresholds and index do not match.
    """

    def __init__(self, folder: str | Path, model_file: str = INT8_MODEL, num_threads: int = 0, index: bool = True):
        self.model = ModelFolder.read(folder, model_file, index)
        self.tags, self.rule, self.settings = self.model.tags, self.model.rule, self.model.settings
        self.selection = Selection(self.tags, self.rule, self.model.rules, self.model.tiers)
        self._session = open_session(self.model.model_path, num_threads)
        self.input_names = {model_input.name for model_input in self._session.get_inputs()}
        self._sizes = {output.name: output.shape[-1] for output in self._session.get_outputs()}
        self._logits, num_labels = next(iter(self._sizes.items()))
        if num_labels != len(self.tags):
            raise ModelFolderError(
                f"{folder}: the model gives {num_labels} labels, but tag_types_encoded.json names {len(self.tags)} tags"
            )
        self.similar = self.model.similar
        if self.similar and self._sizes.get(VECTOR) != self.similar.size:
            raise ModelFolderError(f"{folder}: {SIMILAR} does not belong to this model: remove it, or make it anew")

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
        """Return the calibrated logits, a float32 array of shape (n, num_labels). Batches as in probabilities."""
        logits = self._output(self._logits, titles, descriptions, batch_size)
        return calibrate_logits(logits, titles, descriptions, self.settings)

    def vectors(self, titles: Sequence[str], descriptions: Sequence[str], batch_size: int = 1) -> np.ndarray:
        """Return what the head reads of questions, a float32 array of shape (n, hidden_size). Batches as above.

        Raises
        ------
        ModelFolderError : the model was exported by an earlier version, which wrote no such output
        """
        if VECTOR not in self._sizes:
            raise ModelFolderError(f"{self.model.model_path} gives no vectors: export and quantize it again")
        return self._output(VECTOR, titles, descriptions, batch_size)

    def _output(self, name: str, titles: Sequence[str], descriptions: Sequence[str], batch_size: int) -> np.ndarray:
        encodings = self.model.encode(titles, descriptions)
        by_length = np.argsort([len(encoding.ids) for encoding in encodings], kind="stable")
        values = np.empty((len(encodings), self._sizes[name]), dtype=np.float32)
        for start in range(0, len(encodings), batch_size):
            rows = by_length[start : start + batch_size]
            values[rows] = self._session.run([name], self.inputs([encodings[row] for row in rows]))[0]
        return values

    def inputs(self, encodings: list) -> dict[str, np.ndarray]:
        """Return what the model takes for encodings, padded to the longest: int64 arrays of shape (n, length)."""
        shape = len(encodings), max(len(encoding.ids) for encoding in encodings)
        ids, types = np.full(shape, self.model.pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            types[row, : len(encoding.ids)] = encoding.type_ids
            mask[row, : len(encoding.ids)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return {name: feed[name] for name in self.input_names}

    def run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        """Run the bare model over its inputs, int64 arrays of shape (n, length), and return its logits."""
        return self._session.run([self._logits], feed)[0]

    def tag(self, title: str, description: str, top_k: int | None = None) -> list[tuple[str, float]]:
        """Return (tag, probability) pairs of one question, the most probable first.

        ``top_k=None`` gives the suggested tags (see :class:`tagging.selection.Selection`); a number gives that many
        of the most probable tags whether they reach the threshold or not.

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
        return [self._choose(row, top_k) for row in self.probabilities(titles, descriptions, batch_size)]

    def tag_with_evidence(
        self, title: str, description: str, top_k: int | None = None
    ) -> tuple[list[tuple[str, float]], list[dict]]:
        """Return what :meth:`tag` returns of one question, and similar questions of the site.

        Raises
        ------
        ValueError : title and description are both blank
        ModelFolderError : the model folder has no similar.npz
        """
        self.check_index()
        check_question(title, description)
        raw, similar = self._run_one(title, description, self.model.encode([title], [description])[0])
        return self._choose(self.rule.probabilities(raw)[0], top_k), similar

    def check_index(self) -> None:
        """Raise ModelFolderError if the model folder has no similar.npz."""
        if not self.similar:
            raise ModelFolderError(f"{self.model.path} has no {SIMILAR}: run  python onnx_export/index.py  for it")

    def _choose(self, probabilities: np.ndarray, top_k: int | None) -> list[tuple[str, float]]:
        select = self.selection
        chosen = select.select(probabilities)[0] if top_k is None else select.ranking(probabilities)[:top_k]
        return [(choice.tag, choice.probability) for choice in chosen]

    def _run_one(self, title: str, description: str, encoding) -> tuple[np.ndarray, list[dict]]:
        """Return raw probabilities of shape (1, num_labels), and similar questions, if there is an index."""
        outputs = [self._logits, *([VECTOR] if self.similar else [])]
        logits, *vectors = self._session.run(outputs, self.inputs([encoding]))
        raw = sigmoid(calibrate_logits(logits, [title], [description], self.settings))
        return raw, self.similar.nearest(vectors[0][0]) if self.similar else []

    def answer(self, title: str, description: str) -> dict:
        """Return what the apps show of one question.

        {"suggested": [{"tag": str, "probability": float}, ...]   one tag to ``settings.max_tags``
         "others":    [...]                                       the most probable of the rest, at most NUM_OTHERS
         "fits":      bool,     False: no tag clearly fits, or the text is in another language, or not in a
                                   field that is read
         "similar":   [...]}    only with a similar.npz, see :meth:`tagging.similar.SimilarQuestions.nearest`

        No probability of "others" is above one of "suggested", unless a rule of the site decided: such a row has a
        further field "rule", see :class:`tagging.selection.Choice`. With a tiers.json, each row has a field "tier":
        "ticked" or, of every row if no tag clearly fits, "shown".

        Raises
        ------
        ValueError : title and description are both blank
        """
        check_question(title, description)
        encoding = self.model.encode([title], [description])[0]
        raw, similar = self._run_one(title, description, encoding)
        probabilities = self.rule.probabilities(raw)
        suggested, others = self.selection.select(probabilities[0])

        read = not is_blank(title, description, self.settings.fields) and not is_fragmented(encoding)
        fits = read and bool(self.rule.fits(raw)[0])

        def rows(choices: list[Choice]) -> list[dict]:
            return [
                {"tag": choice.tag, "probability": round(choice.probability, 4)}
                | ({"rule": choice.rule} if choice.rule else {})
                | ({"tier": choice.tier if fits else SHOWN} if choice.tier else {})
                for choice in choices
            ]

        answer = {"suggested": rows(suggested), "others": rows(others), "fits": fits}
        if self.similar:
            answer["similar"] = similar if read else []
        return answer
