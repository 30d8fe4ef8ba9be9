"""The files of a model folder that go with every form of the model."""

import shutil
from pathlib import Path

from data.files import write_json
from tagging.model_folder import SETTINGS, TAGS, THRESHOLDS, TOKENIZER, read_settings


def copy_settings(folder: Path, output: Path) -> None:
    """Copy a model folder without its model; older folders have the settings in thresholds.json and tokenizer.json."""
    for name in (TOKENIZER, TAGS, THRESHOLDS):
        shutil.copyfile(folder / name, output / name)
    write_json(output / SETTINGS, read_settings(folder).as_json())
