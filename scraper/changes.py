"""ques_changed.csv: the questions that may have changed since they were fetched, which --since-last fetches again."""

from pathlib import Path

from data.files import URL_COLUMNS, write_table

CHANGED = "ques_changed.csv"
LISTED = "listed"  # time of the run that listed the question
CHANGED_COLUMNS = [*URL_COLUMNS, LISTED]


def write_changed(path: Path, rows: list[dict[str, str]]) -> None:
    """Write ques_changed.csv, or remove it if there are no rows."""
    if rows:
        write_table(path, CHANGED_COLUMNS, ([row.get(name, "") for name in CHANGED_COLUMNS] for row in rows))
    else:
        path.unlink(missing_ok=True)
