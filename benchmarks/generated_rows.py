"""Generated questions: random words of real ones, at real lengths."""

import random
from typing import TYPE_CHECKING

from tagging.stack_exchange import STACK_EXCHANGE

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION_WORDS = 80


def make_rows(questions: "pd.DataFrame", rows: int) -> "pd.DataFrame":
    """Return ``rows`` questions with the tags of real questions, and texts of random words of real questions.

    Every second one has a title only, because filter_tags.py compares short texts in a different way.
    """
    import pandas as pd

    rng = random.Random(0)
    words = " ".join(questions["title"] + " " + questions["description"]).split()
    titles = [" ".join(rng.choices(words, k=9)) for _ in range(rows)]
    descriptions = [" ".join(rng.choices(words, k=DESCRIPTION_WORDS)) if row % 2 else "" for row in range(rows)]
    tags = rng.choices(questions["tags"].tolist(), k=rows)
    urls = [STACK_EXCHANGE.question_url("https://site.example", row) for row in range(rows)]
    return pd.DataFrame({"title": titles, "description": descriptions, "tags": tags, "url": urls})
