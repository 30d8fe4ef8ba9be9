"""Where answers come from: the cache, then the Space, then a local model if one is configured.

The text of a question is not stored. Cache keys are hashes.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from cachetools import TTLCache

from webapp.questions import Question
from webapp.space import RequestRefused, Space, SpaceUnavailable, describe

CACHE_SIZE, CACHE_SECONDS = 2048, 600  # maximum number of cached answers, and their lifetime


class SpaceTagger:
    """Calls the endpoints of the Space. Answers that do not have the documented form raise SpaceUnavailable."""

    source = "space"

    def __init__(self, space: Space):
        self._space = space

    def answers(self, questions: list[Question]) -> list[dict]:
        if len(questions) == 1:
            return [self._space.call("predict", check_answer, **questions[0]._asdict())]

        def check(answers: list) -> list[dict]:
            return [check_answer(answer) for answer, _ in zip(answers, questions, strict=True)]

        return self._space.call("predict_batch", check, questions=[question._asdict() for question in questions])

    def explain(self, question: Question) -> dict[str, list[dict]]:
        return self._space.call("explain", check_explanation, **question._asdict())

    def tags(self) -> list[dict]:
        return self._space.call("tags", check_tags)


class LocalTagger:
    """Answers from a model folder in this process. The model is loaded with the first question.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ValueError
        If there is no such folder.
    """

    source = "local"

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise ValueError(f"TAGGER_MODEL is {folder}; there is no such folder")
        self._folder = folder
        self._one_at_a_time = threading.Lock()

    @cached_property
    def _served(self):
        from tagging.served import ServedTagger

        return ServedTagger(self._folder)

    def answers(self, questions: list[Question]) -> list[dict]:
        return self._ask(lambda tagger: [tagger.answer(*as_read(tagger, question)) for question in questions])

    def explain(self, question: Question) -> dict[str, list[dict]]:
        from tagging.explain import explain_tags

        return self._ask(lambda tagger: explain_tags(tagger, *as_read(tagger, question)))

    def tags(self) -> list[dict]:
        return self._ask(
            lambda tagger: [{"tag": tag, "threshold": tagger.rule.threshold} for tag in tagger.selection.names]
        )

    def _ask(self, function: Callable):
        """Return ``function(tagger)``. Raises what :meth:`webapp.space.Space.call` raises."""
        with self._one_at_a_time:
            try:
                tagger = self._served.now
            except Exception as error:  # a damaged folder, or a library that is not installed
                raise SpaceUnavailable(f"TAGGER_MODEL, {self._folder}: {describe(error)}") from None
            try:
                return function(tagger)
            except ValueError as error:
                raise RequestRefused(f"The tagger refused this: {error}") from None
            except Exception as error:
                raise SpaceUnavailable(f"TAGGER_MODEL, {self._folder}: {describe(error)}") from None


class Tagging:
    """Answers questions from the Space or, while it is unavailable, from a local model. Thread-safe.

    Every method raises SpaceUnavailable if neither gives an answer, and RequestRefused if the request is at fault.

    Parameters
    ----------
    space : Space
    local : LocalTagger or None
        The fallback.
    log : logging.Logger
        Gets the reason of each failure as a warning.
    """

    def __init__(self, space: Space, local: LocalTagger | None, log: logging.Logger):
        self._taggers: list[SpaceTagger | LocalTagger] = [SpaceTagger(space), *([local] if local else [])]
        self._log = log
        self._cache: TTLCache = TTLCache(CACHE_SIZE, CACHE_SECONDS)
        self._cache_lock = threading.Lock()

    def answers(self, questions: list[Question]) -> list[dict]:
        """Answer questions.

        Returns
        -------
        list of dict
            ``{"suggested": [...], "others": [...], "fits": bool, "source": "space" or "local"}`` for each question.
            Only answers of the Space are cached.
        """
        keys = [hashlib.sha256(repr(tuple(question)).encode()).digest() for question in questions]
        with self._cache_lock:
            known = {key: self._cache[key] for key in keys if key in self._cache}
        new = {key: question for key, question in zip(keys, questions, strict=True) if key not in known}
        if new:
            fresh, source = self._first("answers", list(new.values()))
            known |= {key: answer | {"source": source} for key, answer in zip(new, fresh, strict=True)}
            if source == SpaceTagger.source:
                with self._cache_lock:
                    self._cache.update({key: known[key] for key in new})
        return [known[key] for key in keys]

    def explain(self, question: Question) -> dict[str, list[dict]]:
        """Return which words led to which tag, as :func:`tagging.explain.explain_tags` does."""
        return self._first("explain", question)[0]

    def tags(self) -> list[dict]:
        """Return ``[{"tag": str, "threshold": float}, ...]`` in the order of the model's labels."""
        return self._first("tags")[0]

    def ping(self) -> None:
        """Raise SpaceUnavailable unless the Space answers; a local model does not count."""
        self._taggers[0].tags()

    def _first(self, method: str, *arguments) -> tuple:
        """Return the first answer that is available, and its source; if there is none, raise the error of the Space."""
        reasons = []
        for tagger in self._taggers:
            try:
                return getattr(tagger, method)(*arguments), tagger.source
            except SpaceUnavailable as error:
                self._log.warning(str(error))
                reasons.append(error)
        raise reasons[0]


def as_read(tagger, question: Question) -> tuple[str, str]:
    """Return title and description as ``tagger`` reads them, which is how the Space reads them."""
    from tagging.html_text import question_text

    return question_text(question.title, question.description, tagger.settings.max_length)


def check_answer(answer: dict) -> dict:
    """Validate an answer of the endpoint /predict. Unknown fields are passed on, and no link but one to a web page.

    Raises
    ------
    TypeError, KeyError, ValueError
        If it does not have the documented form.
    """
    rows = {
        kind: [row | {"tag": str(row["tag"]), "probability": float(row["probability"])} for row in answer[kind]]
        for kind in ("suggested", "others")
    }
    similar = {"similar": [check_similar(row) for row in answer["similar"]]} if "similar" in answer else {}
    return answer | rows | {"fits": bool(answer["fits"])} | similar


def check_similar(row: dict) -> dict:
    """Validate a similar question of an answer. Raises what :func:`check_answer` raises."""
    if not str(row["url"]).startswith(("https://", "http://")):
        raise ValueError(f"{row['url']!r} is no address of a question")
    texts = {"url": str(row["url"]), "title": str(row["title"]), "tags": [str(tag) for tag in row["tags"]]}
    return row | texts | {"similarity": float(row["similarity"]), "duplicate": bool(row["duplicate"])}


def check_explanation(explanation: dict) -> dict[str, list[dict]]:
    """Validate an answer of the endpoint /explain. Raises what :func:`check_answer` raises."""
    return explanation | {
        name: [
            piece
            | {"text": str(piece["text"]), "tag": piece["tag"] and str(piece["tag"]), "weight": float(piece["weight"])}
            for piece in explanation[name]
        ]
        for name in Question._fields
    }


def check_tags(tags: list) -> list[dict]:
    """Validate an answer of the endpoint /tags. Raises what :func:`check_answer` raises."""
    return [row | {"tag": str(row["tag"]), "threshold": float(row["threshold"])} for row in tags]
