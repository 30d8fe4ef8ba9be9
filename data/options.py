"""The options that several stages share: their folders, and the model that an earlier stage has made."""

import argparse
from pathlib import Path

DEFAULT_BACKBONE = "distilroberta-base"


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


def add_trained_model_option(parser: argparse.ArgumentParser, last_step: str) -> None:
    """Add ``--model``, a trained model on which the script ``last_step`` has been run."""
    parser.add_argument(
        "--model",
        default=DEFAULT_BACKBONE,
        help=f"trained model: folder name in --models-dir, or Hub id of the backbone; run {last_step} on it first",
    )
