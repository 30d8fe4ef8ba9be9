"""Check the files of a data folder, and describe the questions in them on one page.

In: data/, whatever of its files is there. Out: reports/data.md and reports/tag_frequencies.png; status 1 and one line
with file, row and column if something in a file is not as data/README.md says.

    python data/validate.py
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from tagging.console import run_script
from tagging.files import atomic_path
from tagging.model_folder import read_tags
from tagging.options import script_parser

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

SCRIPT = "data/validate.py"
QUESTION_FILES = ("ques_details.csv", "ques_filtered.csv")
FEWEST_WORDS = 20  # of a text whose language can be told
MOST_TAGS, LONGEST_TITLE = 5, 150  # of a question, on Stack Exchange sites
EXAMPLES = 3  # urls named of what is odd


def check_folder(folder: Path) -> list[str]:
    """Return the names of the files that are there, all of them sound.

    Raises
    ------
    ValueError : a file is not; the message names file, row and column
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
    """Raise ValueError unless split.csv names a known part for each question of ques_filtered.csv, each once."""
    table = read_table(path, ["url", "split"])
    check_urls(table, path)
    wrong = ~table["split"].isin([*FRACTIONS, REPOST]).to_numpy()
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(f"{path}, row {row + 1}, column split: {table['split'].iloc[row]!r} is no part of the split")
    filtered = path.with_name("ques_filtered.csv")
    if filtered.is_file() and set(read_questions(filtered)["url"]) != set(table["url"]):
        raise ValueError(f"{path}: not the questions of {filtered}; run  python training/filter_tags.py --force")


def languages(texts: list[str]) -> Counter:
    """Count the languages of the texts that are long enough to tell (py3langid, after Lui & Baldwin 2012)."""
    import py3langid

    return Counter(py3langid.classify(text)[0] for text in texts if len(text.split()) >= FEWEST_WORDS)


def oddities(questions) -> dict[str, np.ndarray]:
    """Return what a site would hardly have, each with the rows that have it, bool arrays of shape (n,)."""
    titles, tags = questions["title"], questions["tags"]
    return {
        "a url that is no web address": ~questions["url"].str.match(r"https?://\S+$").to_numpy(),
        "no title": (titles.str.strip() == "").to_numpy(),
        "no description": (questions["description"].str.strip() == "").to_numpy(),
        "no tag": (tags.str.len() == 0).to_numpy(),
        f"more than {MOST_TAGS} tags": (tags.str.len() > MOST_TAGS).to_numpy(),
        f"a title of more than {LONGEST_TITLE} characters": (titles.str.len() > LONGEST_TITLE).to_numpy(),
        "a title on several lines": titles.str.contains("\n").to_numpy(),
        "characters that an encoding lost": (titles + questions["description"]).str.contains("\ufffd").to_numpy(),
    }


def describe(questions, name: str) -> list[str]:
    """Return a section of the page: counts, lengths, tags, dates, duplicates, languages, and what looks odd."""
    counts = Counter(tag for tags in questions["tags"] for tag in tags)
    sizes = np.bincount(duplicate_groups(questions["title"], questions["description"]))
    words = questions["description"].str.split().str.len()
    texts = [f"{title}\n{text}" for title, text in zip(questions["title"], questions["description"], strict=True)]
    known = languages(texts)
    lines = [
        f"## {name}",
        "",
        f"- {len(questions)} questions, {len(counts)} tags, {sum(counts.values()) / len(questions):.2f} a question; "
        f"{sum(count == 1 for count in counts.values())} tags come once",
        f"- words of a description: median {words.median():.0f}, 99 % have at most {words.quantile(0.99):.0f}",
        f"- duplicates: {sizes[sizes > 1].sum()} questions in {(sizes > 1).sum()} groups of equal or nearly equal text",
        "- most frequent tags: " + ", ".join(f"{tag} ({count})" for tag, count in counts.most_common(10)),
    ]
    if known:
        shares = ", ".join(f"{code} {count / known.total():.1%}" for code, count in known.most_common(4))
        lines.append(f"- languages of the {known.total()} texts of {FEWEST_WORDS} words or more: {shares}")
    if DATE_COLUMN in questions and questions[DATE_COLUMN].notna().any():
        dates = questions[DATE_COLUMN].dropna()
        lines.append(
            f"- asked from {dates.min():%Y-%m-%d} to {dates.max():%Y-%m-%d}, {len(questions) - len(dates)} undated"
        )
    for what, rows in oddities(questions).items():
        if rows.any():
            lines.append(f"- {rows.sum()} with {what}, e.g. {', '.join(questions['url'][rows].head(EXAMPLES))}")
    return [*lines, ""]


def plot_frequencies(questions, path: Path) -> None:
    """Plot how many questions each tag has, by rank, both on log scales."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    counts = sorted(Counter(tag for tags in questions["tags"] for tag in tags).values(), reverse=True)
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.loglog(range(1, len(counts) + 1), counts, ".", color="#4f46e5")
    axes.set(xlabel="rank of the tag", ylabel="questions", title="Tag frequencies")
    axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot.close(figure)


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
            raise ValueError(f"{args.data_dir} holds none of the files: run a script of scraper/ first")
        source = args.data_dir / NAME
        told = read_source(source) if source.is_file() else None
    except ValueError as error:
        sys.exit(str(error))
    lines = [f"# The data in {args.data_dir}", "", f"Sound: {', '.join(found)}", ""]
    if told:
        lines += ["From {site}, {source}, {retrieved}; {licence}.".format(**told), ""]
    for name in QUESTION_FILES:
        if name in found:
            questions = read_questions(args.data_dir / name)
            lines += describe(questions, name)
            plot_frequencies(questions, args.reports_dir / "tag_frequencies.png")
    write_report(args.reports_dir / "data.md", "\n".join(lines), SCRIPT)
    print(f"{len(found)} files are sound: {', '.join(found)} -> {args.reports_dir / 'data.md'}")


if __name__ == "__main__":
    run_script(main)
