"""What differs between the platforms that sites of questions run on. Pure functions.

A platform is one object: Stack Exchange is :data:`tagging.stack_exchange.STACK_EXCHANGE`. Everything that needs to know
the form of a question's URL, a licence or a tag's page takes it from there.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, urlsplit, urlunsplit


@dataclass(frozen=True)
class Platform:
    """A platform that sites of questions run on.

    Attributes
    ----------
    question_path : re.Pattern
        Matches the path of a question's URL. Its group ``path`` is the path without what does not identify the
        question, such as the id of an answer; its group ``id`` is the id of the question on its site.
    question_page : str
        Shortest URL of a question, with the fields ``{site}`` and ``{id}``.
    tag_page : str
        URL of the page that lists the questions of a tag, with the fields ``{site}`` and ``{tag}``.
    licence_terms : str
        The licence of the questions, and where it is explained.
    attribution : str
        The licence of the questions, and where their authors are named.
    licences : Mapping of str to str
        {first day, ISO 8601: licence of the questions asked from then on}, in order; the first day is ''.
    undated_licence : str
        The licence of a question whose date is unknown.
    max_tags : int
        Maximum number of tags of a question.
    max_title : int
        Maximum number of characters of a title.
    title_statuses : tuple of str
        What the platform appends to a title in brackets, in all languages of its sites, such as "closed".
    dropped_tags, dropped_classes : frozenset of str
        HTML elements, and classes of elements, within the text of a question that are not part of it: notices such as
        "closed", and buttons.
    notice_quotes : re.Pattern, optional
        Matches the beginning of a notice that the platform inserts into the text of a question as a quote.
    image_placeholders : frozenset of str
        What the platform's editor inserts for the description of an image, in lower case.
    """

    question_path: re.Pattern[str]
    question_page: str
    tag_page: str
    licence_terms: str
    attribution: str
    licences: Mapping[str, str]
    undated_licence: str
    max_tags: int
    max_title: int
    title_statuses: tuple[str, ...] = ()
    dropped_tags: frozenset[str] = frozenset()
    dropped_classes: frozenset[str] = frozenset()
    notice_quotes: re.Pattern[str] | None = None
    image_placeholders: frozenset[str] = frozenset()

    def canonical_url(self, url: str) -> str:
        """Return a URL without query and fragment; for a question, also without what does not identify it.

        Raises
        ------
        ValueError
            An invalid URL, such as ``http://[``.
        """
        scheme, host, path, _, _ = urlsplit(url.strip())
        if question := self.question_path.match(path):
            path = question["path"]
        return urlunsplit((scheme.lower(), host.lower(), path, "", ""))

    def question_key(self, url: str) -> str:
        """Return the identity of a question: host and id, because the rest of its URL changes with the title.

        The key of any other URL is its canonical form, that of an invalid URL the URL.
        """
        try:
            parts = urlsplit(self.canonical_url(url))
        except ValueError:
            return url
        question = self.question_path.match(parts.path)
        return f"{parts.netloc}/{question['id']}" if question else urlunsplit(parts)

    def is_question(self, url: str) -> bool:
        """Return whether a valid URL is that of a question."""
        return self.question_path.match(urlsplit(url).path) is not None

    def question_url(self, site: str, number: int | str) -> str:
        """Return the shortest URL of the question with this id."""
        return self.question_page.format(site=site, id=number)

    def tag_url(self, site: str, tag: str) -> str:
        """Return the URL of the page that lists the questions of a tag."""
        return self.tag_page.format(site=site, tag=quote(tag, safe=""))

    def without_status(self, title: str) -> str:
        """Return a title without the status that the platform has appended, such as " [closed]"."""
        return self._status_suffix.sub("", title) if self.title_statuses else title

    def licence_of(self, date: str) -> str:
        """Return the licence of a question asked on an ISO 8601 date; '' stands for an unknown date."""
        if not date:
            return self.undated_licence
        return list(self.licences.values())[bisect_right(list(self.licences), date[:10]) - 1]

    @cached_property
    def _status_suffix(self) -> re.Pattern[str]:
        return re.compile(rf"\s+\[(?:{'|'.join(map(re.escape, self.title_statuses))})\]$")
