"""Frequent tags, and questions with those only. Pure functions."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from data.decisions import Decision, changed_tags


def frequent_tags(tag_lists: Sequence[Iterable[str]], min_frequency: float) -> list[str]:
    """Return the tags that at least int(n * min_frequency) of the n questions carry, the most frequent first."""
    counts = Counter(tag for tags in tag_lists for tag in set(tags))
    least = int(len(tag_lists) * min_frequency)
    return sorted((tag for tag, count in counts.items() if count >= least), key=lambda tag: (-counts[tag], tag))


def keep_tags(questions, tags: Sequence[str]):
    """Return the questions that carry at least one of ``tags``, each with those of its tags only."""
    kept = set(tags)
    filtered = questions.assign(tags=[[tag for tag in row if tag in kept] for row in questions["tags"]])
    return filtered[filtered["tags"].str.len() > 0].reset_index(drop=True)


def rename_synonyms(questions, synonyms: dict[str, str]):
    """Return the questions with every synonym replaced by its tag, each tag of a question once and in its place."""
    renamed = [list(dict.fromkeys(synonyms.get(tag, tag) for tag in tags)) for tags in questions["tags"]]
    return questions.assign(tags=renamed)


def map_tags(tags: Iterable[str], renamed: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Return the tags of another site's question by their names on this one, without those that are not ``known``.

    Examples
    --------
    >>> map_tags(["cart", "keras", "ethics"], {"cart": "decision-trees"}, {"decision-trees", "keras"})
    ['decision-trees', 'keras']
    """
    return [tag for tag in dict.fromkeys(renamed.get(tag, tag) for tag in tags) if tag in known]


def decided_tags(
    urls: Sequence[str], tag_lists: Sequence[list[str]], decisions: Iterable[Decision], known: Collection[str]
) -> list[list[str]]:
    """Return the tags of questions with those that were decided to be added, and without those to be removed.

    What else has changed since a decision stays, and so does a question that would be left without a tag. Tags that are
    not ``known`` are not added.
    """
    changed = dict(zip(urls, tag_lists, strict=True))
    for decision in decisions:
        if decision.url in changed:
            removed = set(decision.tags) - set(decision.tags_after)
            present = (*decision.tags, *changed[decision.url])
            added = [tag for tag in decision.tags_after if tag not in present and tag in known]
            changed[decision.url] = changed_tags(changed[decision.url], added, removed) or changed[decision.url]
    return [changed[url] for url in urls]
