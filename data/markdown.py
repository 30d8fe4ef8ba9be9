"""Markdown. Pure functions."""

from collections.abc import Iterable, Sequence


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence], num_text: int = 1) -> str:
    """Return a table whose first ``num_text`` columns are aligned left, as text, and the others right, as numbers.

    Examples
    --------
    >>> print(markdown_table(["model", "micro F1"], [["roberta-base", "0.512"]]))
    | model | micro F1 |
    |---|---:|
    | roberta-base | 0.512 |
    """
    alignments = ["---"] * num_text + ["---:"] * (len(headings) - num_text)
    head = "".join(f" {heading} |" if heading else " |" for heading in headings)
    body = ["| " + " | ".join(str(cell).replace("|", r"\|") for cell in row) + " |" for row in rows]
    return "\n".join([f"|{head}", f"|{'|'.join(alignments)}|", *body])
