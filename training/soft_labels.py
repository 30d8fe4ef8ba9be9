"""The probabilities that trained models, the teachers, give to questions, and the labels that are made of them.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network".
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tagging.decision import calibrate_logits, sigmoid
from tagging.encoding import is_blank
from tagging.model_folder import read_settings, read_tags
from training.array_cache import cached_array
from training.dataset import Part
from training.provenance import file_hash
from training.trainers import load_backbone_tokenizer, question_logits


def check_teacher(folder: Path, tags: Sequence[str]) -> None:
    """Raise ValueError unless ``folder`` is that of a trained model with these tags, in this order."""
    missing = [name for name in ("run.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"--teacher {folder}: {missing[0]} not found; train it with  python training/finetune.py")
    if read_tags(folder / "tag_types_encoded.json") != list(tags):
        raise ValueError(f"--teacher {folder}: its tags are not those of the data; train it on these")


def teacher_probabilities(folder: Path, part: Part, fields: Sequence[str], batch_size: int) -> np.ndarray:
    """Return what a trained model gives to the questions, float16 array of shape (n, num_labels).

    They are kept in the user's cache, so that an interrupted distillation resumes without them being computed again.

    Parameters
    ----------
    folder : of the trained model
    fields : those of a question that it reads
    """
    lines = str(read_settings(folder).alone)
    key = hashlib.sha256("\0".join([file_hash(folder / "model.safetensors"), lines, *fields]).encode())
    for text in (*part.titles, *part.descriptions):
        key.update(f"{text}\0".encode(errors="replace"))
    return cached_array(
        "soft_labels", key.hexdigest(), lambda: sigmoid(_logits(folder, part, fields, batch_size)).astype(np.float16)
    )


def _logits(folder: Path, part: Part, fields: Sequence[str], batch_size: int) -> np.ndarray:
    from training.model import load_trained

    settings = replace(read_settings(folder), fields=tuple(fields))
    tokenizer = load_backbone_tokenizer(folder, settings.max_length)
    logits = question_logits(load_trained(folder), tokenizer, part, fields, batch_size)
    return calibrate_logits(logits, part.titles, part.descriptions, settings)


def soft_labels(part: Part, probabilities: np.ndarray, fields: Sequence[str], teacher_weight: float) -> Part:
    """Return the questions with the mean of their tags and a teacher's probabilities as targets.

    A question without tags has the probabilities alone, and one in which the teacher reads nothing the tags alone;
    without either, it is left out.

    Parameters
    ----------
    probabilities : float array of shape (n, num_labels)
    fields : those that the teacher reads
    teacher_weight : of the probabilities in the mean, in [0, 1]
    """
    texts = zip(part.titles, part.descriptions, strict=True)
    read = np.array([not is_blank(title, description, fields) for title, description in texts])
    tagged = part.targets.any(axis=1)
    weight = np.where(tagged, teacher_weight, 1.0)[:, np.newaxis] * read[:, np.newaxis]
    targets = ((1 - weight) * part.targets + weight * probabilities).astype(np.float32)
    return replace(part, targets=targets).take(np.flatnonzero(tagged | read))
