"""Read one part of the split, with its targets, for training and evaluation."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from data.files import FRACTIONS, read_questions, read_table, require
from tagging.model_folder import ModelFolderError, read_json, read_tags
from tagging.stack_exchange import DEFAULT_SITE
from training.metrics import multi_hot

FILES = ("ques_filtered.csv", "tag_types_encoded.json", "split.csv")
EXTRA, EXTRA_RECORD = "extra_questions.csv", "extra_questions.json"  # of training/extra_questions.py
MAX_BLANK = 0.05
MIN_DESCRIBED = 10  # questions with title and description, from which on a model is judged by each field alone, too
RECORD = "filter_tags.json"  # how training/filter_tags.py made them


@dataclass(frozen=True)
class Part:
    """Questions of one part of the split: n titles, descriptions and urls, and targets of shape (n, num_labels).

    Targets are bool, or, as soft labels of a teacher, float in [0, 1]. ``weights``, of shape (n,), are those of the
    questions in the loss; without them, all are 1.
    """

    titles: list[str]
    descriptions: list[str]
    targets: np.ndarray
    tags: list[str]
    urls: list[str]
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.titles)

    def take(self, rows: np.ndarray) -> "Part":
        """Return the questions of ``rows``, an integer array."""
        titles, descriptions, urls = (
            [texts[row] for row in rows] for texts in (self.titles, self.descriptions, self.urls)
        )
        weights = None if self.weights is None else self.weights[rows]
        return Part(titles, descriptions, self.targets[rows], self.tags, urls, weights)


def as_part(questions, tags: list[str]) -> Part:
    """Return a DataFrame of questions, as data.files reads it, with targets for ``tags``."""
    titles, descriptions, urls = (list(questions[column]) for column in ("title", "description", "url"))
    return Part(titles, descriptions, multi_hot(questions["tags"].tolist(), tags), tags, urls)


def read_part(data_dir: Path, split: str) -> Part:
    """Read the questions of one part of the split, see :func:`read_parts`."""
    return read_parts(data_dir, split)[0]


def read_parts(data_dir: Path, *wanted: str) -> list[Part]:
    """Read the questions of parts of the split from the outputs of training/filter_tags.py.

    The part "test" is for onnx_export/compare.py and benchmarks/frontier.py: nothing is tuned or trained on it.

    Raises
    ------
    ValueError : a file is missing or broken, or the files do not belong together; the message says what to run
    """
    missing = [name for name in FILES if not (data_dir / name).is_file()]
    if missing:
        raise ValueError(f"{', '.join(missing)} not found in {data_dir}: run  python training/filter_tags.py  first")
    try:
        tags = read_tags(data_dir / "tag_types_encoded.json")
    except ModelFolderError as error:
        raise ValueError(f"{error}: run  python training/filter_tags.py --force") from error
    questions = read_questions(data_dir / "ques_filtered.csv")
    splits = read_table(data_dir / "split.csv", ["url", "split"])
    if set(splits["url"]) != set(questions["url"]) or not set(questions["tags"].explode()) <= set(tags):
        raise ValueError(
            f"the files {', '.join(FILES)} of {data_dir} do not belong together: make them anew with  "
            "python training/filter_tags.py --force"
        )
    if len(tags) < 2:
        raise ValueError(f"{data_dir / 'tag_types_encoded.json'}: only the tag {tags[0]}; two or more are needed")
    empty = [
        part for part in FRACTIONS if part not in set(splits["split"])
    ]  # of all: a later stage will want the others
    if empty:
        raise ValueError(f"{data_dir / 'split.csv'}: no question is in the part {empty[0]!r}; more are needed")
    part_of = questions["url"].map(dict(zip(splits["url"], splits["split"], strict=True)))
    return [as_part(questions[part_of == part], tags) for part in wanted]


def read_whole(data_dir: Path) -> tuple:
    """Read the questions of all parts of the split, as a DataFrame and as a :class:`Part`.

    Exits with a one-line message if a file is missing.

    Raises
    ------
    ValueError : a file is broken, or the files do not belong together
    """
    made_by = "python training/filter_tags.py"
    files = [require(data_dir / name, made_by) for name in ("ques_filtered.csv", "tag_types_encoded.json")]
    questions, tags = read_questions(files[0]), read_tags(files[1])
    if not set(questions["tags"].explode().dropna()) <= set(tags):
        raise ValueError(f"{files[0]} and {files[1]} do not belong together: make them anew with  {made_by} --force")
    return questions, as_part(questions, tags)


def read_extra(data_dir: Path, tags: list[str]) -> Part:
    """Read the output of training/extra_questions.py: questions with the weights of their sources.

    A question without a tag has no target.

    Raises
    ------
    ValueError : a file is missing or broken, or was made for other questions than those of ``data_dir``
    """
    table, record = read_extra_table(data_dir)
    if not record:
        raise ValueError(f"{data_dir / EXTRA} not found: run  python training/extra_questions.py  first")
    weights = np.array([record["sources"][source]["weight"] for source in table["source"]])
    return replace(as_part(table, tags), weights=weights)


def read_extra_table(data_dir: Path) -> tuple:
    """Return extra_questions.csv as a DataFrame with the column ``source``, and its record; (None, {}) without it.

    Raises
    ------
    ValueError : as in :func:`read_extra`
    """
    file = data_dir / EXTRA
    if not file.is_file():
        return None, {}
    try:
        record = read_json(data_dir / EXTRA_RECORD)
    except ModelFolderError as error:
        raise ValueError(f"{error}: make {file} anew with  python training/extra_questions.py") from error
    table = read_questions(file, further=["source"])
    if record.get("data_sha256") != data_hash(data_dir) or set(table["source"]) - set(record.get("sources", {})):
        raise ValueError(
            f"{file} was made for other questions than those of {data_dir}: remove it, and make it anew with  "
            "python training/extra_questions.py"
        )
    return table, record


def joined(part: Part, extra: Part) -> Part:
    """Return the questions of two parts as one, with weights."""
    weights = [np.ones(len(one)) if one.weights is None else one.weights for one in (part, extra)]
    titles, descriptions, urls = (
        getattr(part, name) + getattr(extra, name) for name in ("titles", "descriptions", "urls")
    )
    targets = np.concatenate([part.targets, extra.targets])
    return Part(titles, descriptions, targets, part.tags, urls, np.concatenate(weights))


def check_tags(part: Part, tags: list[str], model: Path, data_dir: Path) -> None:
    """Raise ValueError unless ``tags``, those of the model in the folder ``model``, are those of the data."""
    if part.tags != tags:
        raise ValueError(f"{model} and {data_dir} have other tags: name the data that it was trained on")


def check_fields(part: Part, fields: Sequence[str], reader: str) -> None:
    """Raise ValueError if more than MAX_BLANK of the questions are blank in all ``fields``, which ``reader`` reads.

    All that are blank get one and the same answer, which would pass for the model's.
    """
    texts = zip(*(part.titles if field == "title" else part.descriptions for field in fields), strict=True)
    blank = sum(all(map(is_blank, read)) for read in texts) / len(part)
    if blank > MAX_BLANK:
        raise ValueError(
            f"{reader} reads {' and '.join(fields)} alone, blank in {blank:.0%} of {len(part)} questions: take "
            "questions that have it, or what reads the title, too"
        )


def site_of(urls: Sequence[str]) -> str:
    """Return the address of the site that most urls of questions belong to, the default site if none has an address.

    Examples
    --------
    >>> site_of(["https://cooking.stackexchange.com/questions/1", "https://cooking.stackexchange.com/questions/2"])
    'https://cooking.stackexchange.com'
    """
    parts = map(urlsplit, urls)
    sites = Counter(f"{url.scheme}://{url.netloc}" for url in parts if url.scheme in ("http", "https") and url.netloc)
    return max(sites, key=lambda site: sites[site], default=DEFAULT_SITE)


def is_blank(text: str) -> bool:
    """Return whether ``text`` contains only whitespace and invisible characters, such as zero-width spaces."""
    return all(unicodedata.category(sign)[0] in "ZC" for sign in text)


def by_length(part: Part) -> Part:
    """Return the questions, the longest text first."""
    texts = zip(part.titles, part.descriptions, strict=True)
    return part.take(np.argsort([-sum(map(len, fields)) for fields in texts], kind="stable"))


def described(part: Part) -> np.ndarray:
    """Return the rows of the questions that have a title and a description, an int array."""
    texts = zip(part.titles, part.descriptions, strict=True)
    return np.flatnonzero([not any(map(is_blank, fields)) for fields in texts])


def inputs_of(part: Part) -> tuple[Part, dict[str, tuple[list[str], list[str]]]]:
    """Return the questions that have a title and a description, and the titles and descriptions to read of them.

    Returns
    -------
    the questions, and {"title": (titles, blanks), "description": (blanks, descriptions), "both": (titles,
    descriptions)}; no inputs where fewer than MIN_DESCRIBED questions have both fields
    """
    both = part.take(described(part))
    if len(both) < MIN_DESCRIBED:
        return both, {}
    blank = [""] * len(both)
    return both, {
        "title": (both.titles, blank),
        "description": (blank, both.descriptions),
        "both": (both.titles, both.descriptions),
    }


def data_hash(data_dir: Path) -> str:
    """Return the SHA-256 of the files that define the data, the same for the same questions, tags and split."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update((data_dir / name).read_bytes())
    return digest.hexdigest()
