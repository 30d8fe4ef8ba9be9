"""The baseline: TF-IDF and one logistic regression per tag."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tagging.decision import DecisionRule, sigmoid
from tagging.model_folder import read_tags, read_thresholds
from training.dataset import Part

NAME = "tfidf-baseline"
ANALYZER = {"ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w[\w+#.-]*\b"}  # keeps c++, k-means
MAX_FEATURES = 100_000
MAX_QUESTIONS = 100_000  # to fit on: with more, the pairs of words and the solver's copies fill the memory
# Weak regularization suits short, sparse texts; the dual form is the fast one with fewer questions than terms.
CLASSIFIER = {"C": 10, "solver": "liblinear", "dual": True, "tol": 0.1, "max_iter": 1000, "random_state": 0}


class TfidfTagger:
    """The baseline, made of the arrays that :func:`fit` returns. It has the interface of tagging.tagger.Tagger."""

    tags: list[str]
    rule: DecisionRule

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(vocabulary={term: i for i, term in enumerate(arrays["terms"])}, **ANALYZER)
        self._vectorizer.idf_ = arrays["idf"]
        # In the order and precision in which a product needs no copy of them.
        self._coefficients, self._intercepts = np.ascontiguousarray(arrays["coefficients"].T), arrays["intercepts"]

    @classmethod
    def load(cls, folder: Path) -> "TfidfTagger":
        """Read the folder that baseline.py wrote. Its model.npz holds numbers and words, no pickled objects."""
        with np.load(folder / "model.npz", allow_pickle=False) as arrays:
            tagger = cls(arrays)
        tagger.tags = read_tags(folder / "tag_types_encoded.json")
        tagger.rule = DecisionRule.of(read_thresholds(folder / "thresholds.json", tagger.tags), tagger.tags)
        return tagger

    def probabilities(self, titles: Sequence[str], descriptions: Sequence[str], batch_size: int = 1) -> np.ndarray:
        """Return the tags' probabilities as shown, shape (n, num_labels), the same for every ``batch_size``."""
        return self.rule.probabilities(self.raw_probabilities(titles, descriptions))

    def raw_probabilities(self, titles: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
        """Return the regressions' own probabilities, on which thresholds are tuned, shape (n, num_labels)."""
        features = self._vectorizer.transform(_texts(titles, descriptions))
        return sigmoid(features.astype(np.float32) @ self._coefficients + self._intercepts)


def _texts(titles: Sequence[str], descriptions: Sequence[str]) -> list[str]:
    return [f"{title}\n{description}" for title, description in zip(titles, descriptions, strict=True)]


def fit(train: Part, **settings) -> dict[str, np.ndarray]:
    """Fit terms and idf (num_terms,), coefficients (num_labels, num_terms) and intercepts (num_labels,).

    A tag that none or all of the training questions carry gets its prior odds, by Laplace's rule. Of more than
    MAX_QUESTIONS, as many are drawn at random. ``settings`` of scikit-learn's LogisticRegression take the place of
    ``CLASSIFIER``'s.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from tqdm import tqdm

    if len(train) > MAX_QUESTIONS:
        print(f"baseline: fitted on {MAX_QUESTIONS:,} of {len(train):,} questions, drawn at random")
        train = train.take(np.sort(np.random.default_rng(0).choice(len(train), MAX_QUESTIONS, replace=False)))
    vectorizer = TfidfVectorizer(max_features=MAX_FEATURES, **ANALYZER)
    features = vectorizer.fit_transform(_texts(train.titles, train.descriptions))
    coefficients = np.zeros((len(train.tags), features.shape[1]), dtype=np.float32)
    positives = train.targets.sum(axis=0)
    intercepts = np.log((positives + 1) / (len(train) - positives + 1)).astype(np.float32)
    classifier = LogisticRegression(**CLASSIFIER | settings)
    for index in tqdm(np.flatnonzero((positives > 0) & (positives < len(train))), desc="baseline", unit="tag"):
        classifier.fit(features, train.targets[:, index])
        coefficients[index], intercepts[index] = classifier.coef_[0], classifier.intercept_[0]
    terms = vectorizer.get_feature_names_out().astype(str)
    return {"terms": terms, "idf": vectorizer.idf_, "coefficients": coefficients, "intercepts": intercepts}
