"""The options that give the folders of the stages."""

import argparse
from pathlib import Path


def add_folder_options(
    parser: argparse.ArgumentParser,
    data_dir: str | None = None,
    models_dir: str | None = None,
    reports_dir: str | None = None,
) -> None:
    """Add ``--data-dir``, ``--models-dir`` and ``--reports-dir``: those for which a help text is given."""
    for folder, help_text in (("data", data_dir), ("models", models_dir), ("reports", reports_dir)):
        if help_text:
            parser.add_argument(f"--{folder}-dir", type=Path, default=Path(folder), help=help_text)
