"""Validate the files of a data folder, and write a report about the questions in them.

Input: the files that exist in data/. Output: reports/data.md and reports/tag_frequencies.png; or exit status 1 and one
line with file, row and column if a file does not have the format described in data/README.md.

    python data/validate.py
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.duplicates import duplicate_groups
from data.files import (
    DATE_COLUMN,
    FRACTIONS,
    REPOST,
    URL_COLUMNS,
    check_urls,
    read_questions,
    read_synonyms,
    read_table,
    refuse_foreign,
    write_report,
)
from data.options import add_folder_options
from data.source import NAME, read_source
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.model_folder import read_tags
from tagging.options import script_parser
from tagging.platforms import Platform
from tagging.stack_exchange import STACK_EXCHANGE

SCRIPT = "data/validate.py"
QUESTION_FILES = ("ques_details.csv", "ques_filtered.csv")
MIN_WORDS = 20  # of a text, to detect its language
EXAMPLES = 3  # urls shown for each anomaly


def check_folder(folder: Path) -> list[str]:
    """Validate the files that exist, and return their names.

    Raises
    ------
    ValueError
        A file is invalid; the message gives file, row and column.
    """
    checks = {
        "ques_urls.csv": lambda path: check_urls(read_table(path, URL_COLUMNS), path),
        "ques_details.csv": read_questions,
        "ques_filtered.csv": read_questions,
        "tag_synonyms.csv": read_synonyms,
        "tag_types_encoded.json": read_tags,
        "split.csv": check_split,
    }
    found = [name for name in checks if (folder / name).is_file()]
    for name in found:
        checks[name](folder / name)
    return found


def check_split(path: Path) -> None:
    """Raise ValueError unless split.csv has exactly one row with a valid part for each row of ques_filtered.csv."""
    table = read_table(path, ["url", "split"])
    check_urls(table, path)
    wrong = ~table["split"].isin([*FRACTIONS, REPOST]).to_numpy()
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(f"{path}, row {row + 1}, column split: {table['split'].iloc[row]!r} is not a valid part")
    filtered = path.with_name("ques_filtered.csv")
    if filtered.is_file() and set(read_questions(filtered)["url"]) != set(table["url"]):
        raise ValueError(f"{path}: not the questions of {filtered}; run  python training/filter_tags.py --force")


def languages(texts: list[str]) -> Counter:
    """Count the languages of the texts of at least MIN_WORDS words, detected by py3langid (Lui & Baldwin 2012)."""
    import py3langid

    return Counter(py3langid.classify(text)[0] for text in texts if len(text.split()) >= MIN_WORDS)


def anomalies(questions, platform: Platform) -> dict[str, np.ndarray]:
    """Return {anomaly on this platform: rows that have it}, bool arrays of shape (n,)."""
    titles, tags = questions["title"], questions["tags"]
    return {
        "an invalid url": ~questions["url"].str.match(r"https?://\S+$").to_numpy(),
        "no title": (titles.str.strip() == "").to_numpy(),
        "no description": (questions["description"].str.strip() == "").to_numpy(),
        "no tag": (tags.str.len() == 0).to_numpy(),
        f"more than {platform.max_tags} tags": (tags.str.len() > platform.max_tags).to_numpy(),
        f"a title of more than {platform.max_title} characters": (titles.str.len() > platform.max_title).to_numpy(),
        "a title on several lines": titles.str.contains("\n").to_numpy(),
        "replacement characters (U+FFFD)": (titles + questions["description"]).str.contains("\ufffd").to_numpy(),
    }


def describe(questions, name: str, platform: Platform) -> list[str]:
    """Return a section of the report: counts, lengths, tags, dates, duplicates, languages and anomalies."""
    counts = Counter(tag for tags in questions["tags"] for tag in tags)
    sizes = np.bincount(duplicate_groups(questions["title"], questions["description"]))
    words = questions["description"].str.split().str.len()
    texts = [f"{title}\n{text}" for title, text in zip(questions["title"], questions["description"], strict=True)]
    known = languages(texts)
    lines = [
        f"## {name}",
        "",
        f"- {len(questions)} questions, {len(counts)} tags, {sum(counts.values()) / len(questions):.2f} per question; "
        f"{sum(count == 1 for count in counts.values())} tags occur once",
        f"- words per description: median {words.median():.0f}, 99th percentile {words.quantile(0.99):.0f}",
        f"- duplicates: {sizes[sizes > 1].sum()} questions in {(sizes > 1).sum()} groups of equal or nearly equal text",
        "- most frequent tags: " + ", ".join(f"{tag} ({count})" for tag, count in counts.most_common(10)),
    ]
    if known:
        shares = ", ".join(f"{code} {count / known.total():.1%}" for code, count in known.most_common(4))
        lines.append(f"- languages of the {known.total()} texts of {MIN_WORDS} words or more: {shares}")
    if DATE_COLUMN in questions and questions[DATE_COLUMN].notna().any():
        dates = questions[DATE_COLUMN].dropna()
        lines.append(
            f"- asked from {dates.min():%Y-%m-%d} to {dates.max():%Y-%m-%d}; {len(questions) - len(dates)} have no date"
        )
    for what, rows in anomalies(questions, platform).items():
        if rows.any():
            lines.append(f"- {rows.sum()} with {what}, e.g. {', '.join(questions['url'][rows].head(EXAMPLES))}")
    return [*lines, ""]


def plot_frequencies(questions, path: Path) -> None:
    """Plot the number of questions of each tag by its rank, both axes logarithmic."""
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure in memory

    counts = sorted(Counter(tag for tags in questions["tags"] for tag in tags).values(), reverse=True)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.loglog(range(1, len(counts) + 1), counts, ".", color="#4f46e5")
    axes.set(xlabel="rank of the tag", ylabel="number of questions", title="Tag frequencies")
    axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_folder_options(parser, data_dir="folder of the files", reports_dir="folder of the page and the plot")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    refuse_foreign(args.reports_dir / "data.md", SCRIPT)
    try:
        found = check_folder(args.data_dir)
        if not found:
            raise ValueError(f"{args.data_dir} contains none of the files: run a script of scraper/ first")
        source = args.data_dir / NAME
        provenance = read_source(source) if source.is_file() else None
    except ValueError as error:
        sys.exit(str(error))
    lines = [f"# The data in {args.data_dir}", "", f"Valid: {', '.join(found)}", ""]
    if provenance:
        lines += ["From {site}, {source}, {retrieved}; {licence}.".format(**provenance), ""]
    for name in QUESTION_FILES:
        if name in found:
            questions = read_questions(args.data_dir / name)
            lines += describe(questions, name, STACK_EXCHANGE)
            plot_frequencies(questions, args.reports_dir / "tag_frequencies.png")
    write_report(args.reports_dir / "data.md", "\n".join(lines), SCRIPT)
    print(f"{len(found)} files are valid: {', '.join(found)} -> {args.reports_dir / 'data.md'}")


if __name__ == "__main__":
    run_script(main)
