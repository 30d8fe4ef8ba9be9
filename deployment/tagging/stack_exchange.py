"""What is particular to the sites of Stack Exchange: URLs, statuses, notices, limits and licences.

The formats of its pages, its API and its data dump are in scraper/, each beside its parser.

Examples
--------
>>> canonical_url("https://Cooking.stackexchange.com/questions/12/rye-bread/34?sort=votes#34")
'https://cooking.stackexchange.com/questions/12/rye-bread'
>>> question_key("https://cooking.stackexchange.com/q/12")
'cooking.stackexchange.com/12'
>>> STACK_EXCHANGE.tag_url("https://stackoverflow.com", "c++")
'https://stackoverflow.com/questions/tagged/c%2B%2B'
>>> STACK_EXCHANGE.without_status("How to join two data frames? [duplicate]")
'How to join two data frames?'
>>> STACK_EXCHANGE.licence_of("2015-05-20T12:00:00")
'CC BY-SA 3.0'
"""

import re

from tagging.platforms import Platform

NETWORK = "stackexchange.com"
OWN_HOSTS = {name: f"{name}.com" for name in ("stackoverflow", "serverfault", "superuser", "askubuntu", "stackapps")}
OWN_HOSTS |= {"mathoverflow": "mathoverflow.net"}
DEFAULT_SITE = f"https://datascience.{NETWORK}"  # the site of the model in deployment/model
API = f"https://api.{NETWORK}/2.3"
API_PAGE_SIZE = 100  # questions of an answer of the API, and ids of a call: the maximum
API_CALLS_A_DAY = 300  # without a key
MAX_ID = 2**31 - 1  # the API rejects larger ids
LOGIN_PATH = "/users/login"
PAGE_SIZE = 50  # questions of a listing page, the sites' maximum

STACK_EXCHANGE = Platform(
    # /questions/ID/SLUG, its short form /q/ID, or with an answer's id after the slug.
    question_path=re.compile(r"^(?P<path>/(?:questions|q)/(?P<id>\d+)(?:/[^/]+)?)(?:/\d*)?$"),
    question_page="{site}/questions/{id}",
    tag_page="{site}/questions/tagged/{tag}",
    licence_terms="CC BY-SA (4.0, or an earlier version by date: <https://stackoverflow.com/help/licensing>)",
    attribution="CC BY-SA; the page at a question's url lists its authors",
    # https://stackoverflow.com/help/licensing. An edit puts a text under the licence of the day of the edit.
    licences={"": "CC BY-SA 2.5", "2011-04-08": "CC BY-SA 3.0", "2018-05-02": "CC BY-SA 4.0"},
    undated_licence="CC BY-SA, version unknown",
    max_tags=5,
    max_title=150,
    # In the language of the site. Brackets with any other words are the author's.
    title_statuses=(
        *("closed", "duplicate", "on hold", "migrated", "locked", "protected"),
        *("закрыт", "закрыто", "закрытый", "дубликат", "отложен", "отложено", "на удержании"),
        *("перенесён", "перенесено"),
        *("cerrada", "cerrado", "duplicada", "duplicado", "en espera", "migrada", "migrado"),
        *("fechada", "fechado", "em espera", "pendente", "encerrada"),
        *("クローズ済み", "クローズ", "終了", "閉鎖", "重複", "保留", "保留中", "移行済み"),
    ),
    # The notices (closed, duplicate, locked ...), in every language.
    dropped_tags=frozenset({"aside"}),
    dropped_classes=frozenset(
        {
            *("s-notice", "js-post-notice", "js-post-notices", "post-notice", "post-notices", "special-status"),
            *("question-status", "question-originals-of-duplicate"),
            *("snippet-ctas", "snippet-result"),  # the buttons and the output of runnable code
        }
    ),
    # Until 2013, when all sites were in English, the notice of a duplicate was a quote at the beginning of the text.
    notice_quotes=re.compile(r"\A\s*Possible Duplicates?:"),
    image_placeholders=frozenset(
        {
            "alt text",
            "image",
            "enter image description here",
            "введите сюда описание изображения",
            "introducir la descripción de la imagen aquí",
            "insira a descrição da imagem aqui",
            "inserir a descrição da imagem aqui",
            "画像の説明をここに入力",
        }
    ),
)
canonical_url, question_key = STACK_EXCHANGE.canonical_url, STACK_EXCHANGE.question_key


def site_url(name: str) -> str:
    """Return the URL of a site that is given by its URL, its host, or its name.

    Examples
    --------
    >>> site_url("ru.stackoverflow.com"), site_url("cooking"), site_url("askubuntu")
    ('https://ru.stackoverflow.com', 'https://cooking.stackexchange.com', 'https://askubuntu.com')
    """
    address = name.strip().rstrip("/")
    if "://" in address:
        return address
    host = OWN_HOSTS.get(address, f"{address}.{NETWORK}")
    return f"https://{address}" if "." in address else f"https://{host}"


def listing_url(site: str, tab: str, page: int) -> str:
    """Return the URL of a page of a site's list of questions.

    Parameters
    ----------
    site
        URL of the site.
    tab
        Order of the list: "newest" or "active", the latter by last activity.
    page
        Number of the page, from 1.
    """
    return f"{site}/questions?tab={tab}&pagesize={PAGE_SIZE}&page={page}"
