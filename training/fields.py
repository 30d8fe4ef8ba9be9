"""The calibration of a trained network for each input: title and description, or one of them alone."""

from dataclasses import replace

import numpy as np

from tagging.decision import calibrate_logits
from tagging.settings import FIELDS, UNCHANGED, Settings
from training.calibration import line_that_generalizes, shown_error
from training.dataset import MIN_DESCRIBED, Part, described
from training.recipes import TrainingSettings

MAX_QUESTIONS = 1000  # read by each field; they fix the two numbers of a line closely


def questions_with_both(validation: Part) -> np.ndarray:
    """Return the rows of the questions that are read by each field, an int array.

    None if fewer than half of all questions, or than MIN_DESCRIBED, have a title and a description.
    """
    rows = described(validation)
    if len(rows) < max(MIN_DESCRIBED, len(validation) / 2):
        return rows[:0]
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_QUESTIONS)).astype(int)]


def logits_by_field(trainer, settings: TrainingSettings, precision: str, validation: Part) -> dict[str, np.ndarray]:
    """Return {field: the logits by this field alone, shape (n, num_labels)} of the :func:`questions_with_both`.

    Empty if there is no such question. The recipe is one that reads both fields.

    Parameters
    ----------
    trainer : after the training
    precision : as in :func:`training.trainers.training_arguments`
    """
    from training.trainers import question_logits

    both = validation.take(questions_with_both(validation))
    if not len(both):
        return {}
    return {
        field: question_logits(trainer.model, trainer.processing_class, both, [field], settings.batch_size, precision)
        for field in FIELDS
    }


def calibrate(
    model, validation: Part, targets: np.ndarray, logits: np.ndarray, by_field: dict[str, np.ndarray], served: Settings
) -> tuple[np.ndarray, Settings, dict]:
    """Calibrate the head, on questions with both fields if there are such, and a line for each field alone.

    Parameters
    ----------
    targets, logits : bool and float array of shape (n, num_labels)
    by_field : from :func:`logits_by_field`

    Returns
    -------
    the calibrated logits, the settings with the lines that generalize, and what run.json records
    """
    from training.model import calibrate_head  # here, so that --help need not load torch

    rows = described(validation) if by_field else np.arange(len(targets))
    record: dict = dict(calibrate_head(model, targets[rows], logits[rows]))
    of_both = targets[questions_with_both(validation)]
    lines = {}
    for field, scores in by_field.items():
        scores = record["slope"] * scores + record["intercept"]
        line = line_that_generalizes(of_both, scores)
        if line:
            lines[field] = line
        slope, intercept = line or UNCHANGED
        record[f"{field}_alone"] = {
            "slope": slope,
            "intercept": intercept,
            "error_before": shown_error(of_both, scores),
            "error_after": shown_error(of_both, slope * scores + intercept),
        }
    served = replace(served, alone=lines)
    logits = record["slope"] * logits + record["intercept"]
    return calibrate_logits(logits, validation.titles, validation.descriptions, served), served, record
