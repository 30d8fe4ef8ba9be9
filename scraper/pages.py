"""Parse Stack Exchange pages. Pure functions from HTML to plain Python, for the markup from 2012 to today."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypedDict
from urllib.parse import urljoin, urlsplit

from bs4 import BeautifulSoup
from bs4.element import Tag

from scraper.details import clean_title
from tagging.html_text import html_to_text
from tagging.stack_exchange import STACK_EXCHANGE, canonical_url, question_key

# A question's link in a listing: `.s-post-summary` since 2022, `.question-summary` before.
SUMMARY_LINKS = (
    ".s-post-summary :is(h2, h3, h4) a[href], "
    ".s-post-summary :is(.s-post-summary--content-title, .s-post-summary--title) a[href], "
    ".s-post-summary a:is(.s-post-summary--content-title, .s-post-summary--title)[href], "
    ".question-summary h3 a[href], "
    ".question-summary a.question-hyperlink[href]"
)
LISTING_TIMES = ":is(.s-post-summary, .question-summary) .relativetime[title]"
QUESTION = "#question, .question[data-questionid]"
QUESTION_TITLES = ("#question-header h1 .question-hyperlink", "#question-header h1", 'h1[itemprop="name"]')
QUESTION_BODIES = (".js-post-body", ".post-text", '[itemprop="text"]', '[itemprop="description"]', ".s-prose")
QUESTION_TAGS = (".post-taglist a.post-tag", ".post-taglist a.s-tag", ".js-post-tag-list-wrapper a[rel~=tag]")
QUESTION_DATES = ('time[itemprop="dateCreated"][datetime]:not(#answers *, .answer *)', ".owner .relativetime[title]")
PAGE_LINKS = ".s-pagination a[href], .pager a[href], .js-pagination a[href]"

# The browser waits until one of these is present.
LISTING_READY = ".s-post-summary, .question-summary"
QUESTION_READY = "#question .js-post-body, #question .post-text"

CHALLENGE_TITLE = re.compile(
    r"^\s*(just a moment|attention required|human verification|access denied|are you (?:a )?human|checking your browser"
    r"|verify(?:ing)? you are (?:a )?human|security check|one more step|ddos.guard)",
    re.IGNORECASE,
)
CHALLENGE_MARKS = (
    "#challenge-form, #challenge-running, #challenge-stage, #challenge-error-text, #cf-challenge-running, "
    "#cf-wrapper, .cf-browser-verification, .cf-turnstile, .g-recaptcha, .h-captcha, form[action*=captcha], "
    "script[src*='/cdn-cgi/challenge-platform/h/'], meta[http-equiv=refresh][content*='__cf_chl']"
)


@dataclass(frozen=True)
class Page:
    """A response: URL, HTTP status, headers, HTML, and the target of a redirect."""

    url: str
    status: int
    headers: Mapping[str, str]
    html: str
    redirect: str | None = None


class Link(TypedDict):
    """A question in a listing."""

    title: str
    url: str


class QuestionPage(TypedDict):
    """The content of a question page."""

    title: str
    description: str
    tags: list[str]
    url: str
    creation_date: str


class PageError(ValueError):
    """The page is not of the expected kind; the message gives its url and what is missing."""


class ElsewhereError(PageError):
    """The site has redirected to another page; ``instead`` is a URL that may give the requested page."""

    def __init__(self, reason: str, instead: str) -> None:
        super().__init__(reason)
        self.instead = instead


def parse_question_list(html: str, base_url: str) -> list[Link]:
    """Return the questions of a listing page in order, without repetitions; an empty list if there are none.

    Parameters
    ----------
    html
        The page.
    base_url
        URL of the page or the site; links are resolved against it, and links to other sites are ignored.
    """
    links: dict[str, Link] = {}
    for anchor in _soup(html).select(SUMMARY_LINKS):
        url = _question_url(str(anchor["href"]), base_url)
        if url and (title := clean_title(anchor.get_text(), STACK_EXCHANGE)):
            links.setdefault(question_key(url), Link(title=title, url=url))
    return list(links.values())


def parse_question(html: str, url: str) -> QuestionPage:
    """Return title, description (plain text), tags, canonical url and creation date of a question page.

    The date is ISO 8601 in UTC, '' if the page does not contain it. Answers, comments, notices and the sidebar are
    ignored.

    Raises
    ------
    PageError
        The page has no question, or the question has no title, body or tags.
    """
    soup = _soup(html)
    question = soup.select_one(QUESTION)
    if question is None:
        raise PageError(f"{url}: not a question page: no #question in it")
    title = _title(soup)
    body = next((body for selector in QUESTION_BODIES if (body := question.select_one(selector))), None)
    tags = _tags(question)
    found = {"title": bool(title), "body": body is not None, "tags": bool(tags)}
    if missing := [name for name, there in found.items() if not there]:
        raise PageError(f"{url}: the question has no {', no '.join(missing)}")
    return QuestionPage(
        title=title,
        description=html_to_text(body.decode()),
        tags=tags,
        url=canonical_url(url),
        creation_date=_creation_date(soup, question),
    )


def page_count(html: str) -> int:
    """Return the number of pages of a listing according to its pagination links; 1 if there are none."""
    links = (str(anchor["href"]) for anchor in _soup(html).select(PAGE_LINKS))
    return max((int(number) for link in links for number in re.findall(r"[?&]page=(\d+)", link)), default=1)


def oldest_activity(html: str) -> str:
    """Return the earliest activity time on a listing page in ISO 8601, '' if the page contains none."""
    stamps = (iso_date(str(stamp["title"])) for stamp in _soup(html).select(LISTING_TIMES))
    return min(filter(None, stamps), default="")


def is_challenge(html: str) -> bool:
    """Return whether the page is a bot check (CAPTCHA) instead of the requested content."""
    soup = _soup(html)
    if soup.select_one(f"{QUESTION}, #question-header, {LISTING_READY}"):
        return False
    title = soup.title.get_text() if soup.title else ""
    return bool(CHALLENGE_TITLE.match(title) or soup.select_one(CHALLENGE_MARKS))


def iso_date(text: str) -> str:
    """Return a date of a page, a dump or the API as ISO 8601 in UTC, in seconds; '' if it cannot be parsed.

    Examples
    --------
    >>> iso_date("2024-05-31 12:30:00Z"), iso_date("yesterday")
    ('2024-05-31T12:30:00Z', '')
    """
    try:
        date = datetime.fromisoformat(text.strip())
        in_utc = date.replace(tzinfo=date.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return in_utc.strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_now() -> str:
    """Return the current time in the format of :func:`iso_date`."""
    return iso_date(datetime.now(UTC).isoformat())


def _question_url(href: str, base_url: str) -> str | None:
    """Return the canonical URL of a link, None unless it is a question of the same site."""
    try:
        url = canonical_url(urljoin(base_url, href))
        same_site = urlsplit(url).netloc == urlsplit(base_url).netloc.lower()
    except ValueError:
        return None
    return url if same_site and STACK_EXCHANGE.is_question(url) else None


def _soup(html: str) -> BeautifulSoup:
    # lxml stops at a null byte and rejects lone surrogates; neither is valid in HTML.
    return BeautifulSoup(re.sub(r"[\x00\ud800-\udfff]", "", html), "lxml")


def _title(soup: BeautifulSoup) -> str:
    for selector in QUESTION_TITLES:
        if (heading := soup.select_one(selector)) and (title := clean_title(heading.get_text(), STACK_EXCHANGE)):
            return title
    meta = soup.select_one('meta[property="og:title"][content]')
    return clean_title(str(meta["content"]), STACK_EXCHANGE) if meta else ""


def _creation_date(soup: BeautifulSoup, question: Tag) -> str:
    stamp = soup.select_one(QUESTION_DATES[0]) or question.select_one(QUESTION_DATES[1])
    return iso_date(str(stamp.get("datetime") or stamp.get("title"))) if stamp else ""


def _tags(question: Tag) -> list[str]:
    """Return the tags below the question without repetitions; tag links within the body do not count."""
    anchors = next(filter(None, map(question.select, QUESTION_TAGS)), [])
    names = (anchor.get_text().strip() for anchor in anchors)
    return list(dict.fromkeys(name for name in names if name))
