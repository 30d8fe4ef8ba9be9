"""From the probabilities of one question to what an answer shows: the decision rule, then the rules of the site.

The twin of ``deployment/browser/selection.js``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tagging.decision import DecisionRule
from tagging.rules import Rules
from tagging.tiers import SHOWN, TICKED, Tiers

NUM_OTHERS = 5  # tags of an answer beside the suggested ones
# How a rule of the site decided about a tag.
IMPLIED, REQUIRED, PEOPLE, AT_MOST = "implied", "required", "people", "at_most"


class Choice(NamedTuple):
    """A tag of an answer.

    Attributes
    ----------
    tag : str
    probability : float
        Calibrated. That of an implied tag is at least that of a tag that implies it.
    label : int
        The label of the model that the probability comes from.
    rule : str
        IMPLIED or REQUIRED: it would not be suggested otherwise. PEOPLE or AT_MOST: not suggested for that reason. ""
        if no rule decided.
    tier : str
        TICKED or SHOWN; "" if the model folder has no tiers.
    """

    tag: str
    probability: float
    label: int
    rule: str = ""
    tier: str = ""


class Selection:
    """Selects the tags of an answer.

    Without rules, the suggested tags are those of :func:`tagging.decision.suggest`. Rules are applied in this order:

    - A synonym's probability counts for the tag that it stands for: the higher one of both.
    - The probability of an implied tag is at least that of a tag that implies it. So where a tag is suggested, the tags
      that it implies are, too; they count for ``max_tags``.
    - Of tags that a question needs one of, the most probable is suggested, whatever its probability.
    - Then the most probable tags that reach the threshold, except those that a rule excludes.

    With tiers, a suggested tag is ticked if its probability reaches the threshold of the label that it comes from. Tags
    that are not suggested are hidden if their probability is too low.

    Parameters
    ----------
    tags
        Those of the model, in the order of its labels.
    rule
    rules
    tiers

    Attributes
    ----------
    names : list of str
        The tags that can be in an answer.
    """

    def __init__(
        self,
        tags: Sequence[str],
        rule: DecisionRule,
        rules: Rules = Rules(),  # noqa: B008 (immutable)
        tiers: Tiers | None = None,
    ):
        own: dict[str, list[int]] = {}
        for label, tag in enumerate(tags):
            own.setdefault(rules.synonyms.get(tag, tag), []).append(label)
        labels = {tag: list(numbers) for tag, numbers in own.items()}
        for tag, numbers in own.items():
            for implied in rules.all_implied(tag):
                labels.setdefault(implied, []).extend(numbers)
        self.names = [tag for tag in labels if tag not in rules.never_suggest]
        place = {tag: index for index, tag in enumerate(self.names)}
        self._own = [np.array(own.get(tag, []), dtype=int) for tag in self.names]
        self._labels = [np.array(labels[tag], dtype=int) for tag in self.names]
        self._all_labels = np.concatenate(self._labels)
        self._starts = np.cumsum([0, *map(len, self._labels[:-1])])
        self._with_implied = [
            {index} | {place[other] for other in rules.all_implied(tag) if other in place}
            for index, tag in enumerate(self.names)
        ]
        self._depth = np.array([len(implied) for implied in self._with_implied])
        self._people = {place[tag] for tag in rules.only_for_people if tag in place}
        self._required = [{place[tag] for tag in group if tag in place} for group in rules.at_least_one_of]
        self._at_most = [(group.number, {place[tag] for tag in group.tags if tag in place}) for group in rules.at_most]
        self._rule = rule
        self._least_shown = tiers.shown if tiers else 0.0
        self._ticked = tiers.thresholds(tags) if tiers else np.array([])

    def select(self, probabilities: np.ndarray) -> tuple[list[Choice], list[Choice]]:
        """Return the suggested tags, at least one, and the next NUM_OTHERS that are not hidden, most probable first.

        Parameters
        ----------
        probabilities : float array of shape (num_labels,), calibrated
        """
        merged, ranked = self._rank(probabilities)
        chosen: set[int] = set()
        for group in self._required:
            if not group & chosen:
                chosen |= self._first_that_fits(ranked, chosen, group)
        required = set(chosen)
        for tag in ranked:
            if merged[tag] < self._rule.threshold or len(chosen) == self._rule.max_tags:
                break
            if self._fits(tag, chosen):
                chosen |= self._with_implied[tag]
        if not chosen:
            chosen = self._first_that_fits(ranked, chosen, set(ranked))
        suggested = [
            self._choice(tag, merged, probabilities, self._reason(tag, merged, probabilities, required))
            for tag in ranked
            if tag in chosen
        ]
        rest = [tag for tag in ranked if tag not in chosen and merged[tag] >= self._least_shown][:NUM_OTHERS]
        others = [self._choice(tag, merged, probabilities, self._obstacle(tag, chosen)) for tag in rest]
        if len(self._ticked):
            suggested = [self._in_its_tier(choice) for choice in suggested]
            others = [choice._replace(tier=SHOWN) for choice in others]
        return suggested, others

    def _in_its_tier(self, choice: Choice) -> Choice:
        return choice._replace(tier=TICKED if choice.probability >= self._ticked[choice.label] else SHOWN)

    def ranking(self, probabilities: np.ndarray) -> list[Choice]:
        """Return all tags but those that are only for people, the most probable first, whatever the other rules say."""
        merged, ranked = self._rank(probabilities)
        return [self._choice(tag, merged, probabilities) for tag in ranked if tag not in self._people]

    def _rank(self, probabilities: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Return the probability of each name, and the names by it; an implied tag comes before those that imply it."""
        merged = np.maximum.reduceat(probabilities[self._all_labels], self._starts)
        return merged, np.lexsort((self._depth, -merged)).tolist()

    def _choice(self, tag: int, merged: np.ndarray, probabilities: np.ndarray, rule: str = "") -> Choice:
        labels = self._labels[tag]
        return Choice(self.names[tag], float(merged[tag]), int(labels[probabilities[labels].argmax()]), rule)

    def _fits(self, tag: int, chosen: set[int]) -> bool:
        """Return whether the rules let a tag, with those that it implies, join the chosen ones."""
        joined = chosen | self._with_implied[tag]
        return len(joined) <= self._rule.max_tags and tag not in self._people and not self._is_over(joined)

    def _is_over(self, tags: set[int]) -> bool:
        return any(len(tags & group) > number for number, group in self._at_most)

    def _first_that_fits(self, ranked: list[int], chosen: set[int], among: set[int]) -> set[int]:
        best = next((tag for tag in ranked if tag in among and self._fits(tag, chosen)), None)
        return set() if best is None else self._with_implied[best]

    def _reason(self, tag: int, merged: np.ndarray, probabilities: np.ndarray, required: set[int]) -> str:
        threshold = self._rule.threshold
        if tag in required and merged[tag] < threshold:
            return REQUIRED
        return IMPLIED if probabilities[self._own[tag]].max(initial=0.0) < threshold <= merged[tag] else ""

    def _obstacle(self, tag: int, chosen: set[int]) -> str:
        if tag in self._people:
            return PEOPLE
        return AT_MOST if self._is_over(chosen | self._with_implied[tag]) else ""
