"""Fetch a site's tag synonyms from the Stack Exchange API 2.3.

Output: data/tag_synonyms.csv with the columns from and to, by which training/filter_tags.py renames tags.

    python scraper/tag_synonyms.py --site https://datascience.stackexchange.com
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from data.files import SYNONYM_COLUMNS, refuse_overwrite, write_table
from scraper.api_client import Api
from scraper.crawl import add_polite_options, add_site_option, api_address, orderly_end
from tagging.console import run_script
from tagging.options import script_parser
from tagging.stack_exchange import API


def read_synonyms(api: Api) -> dict[str, str]:
    """Fetch all synonyms as {synonym: tag}."""
    synonyms: dict[str, str] = {}
    page, more = 1, True
    while more:
        answer = api.get("tags/synonyms", sort="creation", order="asc", page=page)
        synonyms |= {item["from_tag"]: item["to_tag"] for item in answer["items"]}
        page, more = page + 1, bool(answer.get("has_more"))
    return synonyms


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = script_parser(__doc__)
    add_site_option(parser)
    parser.add_argument("--output", type=Path, default=Path("data/tag_synonyms.csv"), help="CSV file to write")
    parser.add_argument("--api", type=api_address, default=API, help="base URL of the API")
    add_polite_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Fetch the synonyms."""
    args = parse_args(argv)
    refuse_overwrite(args.output, force=args.force)
    with orderly_end():
        try:
            synonyms = read_synonyms(Api(args.api, args.site, args.delay, args.contact))
        except (KeyError, TypeError) as error:
            sys.exit(f"{args.api}: a synonym without {error}; nothing was written")
        if synonyms:
            write_table(args.output, SYNONYM_COLUMNS, sorted(synonyms.items()))
            print(f"{len(synonyms)} synonyms in {args.output}")
        else:  # filter_tags.py expects rows in the file
            print(f"{args.site} has no synonyms: nothing was written")


if __name__ == "__main__":
    run_script(main)
