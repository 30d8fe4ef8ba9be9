"""How long a training takes, measured on a few of its steps, and the training that fits into a given time."""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagging.settings import FIELDS
from training.dataset import Part
from training.fields import questions_with_both
from training.recipes import RECIPES, TrainingSettings, learning_rates
from training.trainers import make_trainer

STEPS = 12  # measured in each phase, the first of which is slower and does not count
SAMPLE = 2000  # questions, of which the steps are taken; a million would be tokenized for minutes
LONGEST_MEASUREMENT = 60.0  # seconds, after which no further step is measured
SHORTEST_TRAINING = 0.1  # epochs


@dataclass(frozen=True)
class Speed:
    """Seconds that a training takes: an epoch of one run, over all phases and learning rates, with its validation; the
    answers to the validation questions at its end, also by each field alone; the vectors of all questions. ``steps`` is
    the number of steps of an epoch, and ``place`` what was measured: cores or GPUs."""

    epoch: float
    validation: float
    vectors: float
    steps: int
    place: str


def measure(settings: TrainingSettings, precision: str, backbone: Path, train: Part, validation: Part) -> Speed:
    """Measure a few steps of each phase, on a random sample of the questions.

    Every process of a distributed training gets the figures of the first one.
    """
    from accelerate.utils import broadcast_object_list

    sample = train.take(np.random.default_rng(0).permutation(len(train))[:SAMPLE])
    epoch = answer = 0.0
    for phase in RECIPES[settings.recipe].phases:
        with tempfile.TemporaryDirectory(prefix="measured-") as folder:
            place = Path(folder)
            trainer = make_trainer(settings, settings.seed, place, backbone, sample, sample, phase, precision=precision)
            steps = math.ceil(len(train) / (trainer.args.train_batch_size * trainer.args.world_size))
            step, answer = _seconds(trainer)
        epoch += len(learning_rates(settings, phase)) * (steps * step + len(validation) * answer)
    answers = len(validation) + len(FIELDS) * len(questions_with_both(validation))
    speed = Speed(epoch, answers * answer, (len(train) + len(validation)) * answer, steps, _place(trainer))
    return broadcast_object_list([speed])[0]


def _seconds(trainer) -> tuple[float, float]:
    """Return the seconds of one step of the training, and those of the answer to one question.

    The Trainer is of no use afterwards.
    """
    from transformers import EarlyStoppingCallback, TrainerCallback
    from transformers.trainer_callback import ProgressCallback

    class Clock(TrainerCallback):
        def __init__(self):
            self.seconds: list[float] = []

        def on_step_begin(self, args, state, control, **kwargs):
            self.started = time.monotonic()

        def on_step_end(self, args, state, control, **kwargs):
            self.seconds.append(time.monotonic() - self.started)
            control.should_training_stop |= sum(self.seconds) > LONGEST_MEASUREMENT

    arguments, clock = trainer.args, Clock()
    arguments.max_steps, arguments.load_best_model_at_end = STEPS, False
    arguments.eval_strategy = arguments.save_strategy = "no"
    trainer.remove_callback(EarlyStoppingCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(clock)
    # Questions of similar length share a batch, as in the training itself.
    sample = trainer.train_dataset[: STEPS * arguments.train_batch_size * arguments.world_size]
    trainer.train_dataset = sample
    trainer.train()
    started, answered = time.monotonic(), sample[::4]
    trainer.predict(answered)
    return float(np.mean(clock.seconds[1:] or clock.seconds)), (time.monotonic() - started) / len(answered)


def _place(trainer) -> str:
    import torch

    if trainer.args.device.type != "cpu":
        number, unit = trainer.args.world_size, "GPU"
    else:
        number, unit = torch.get_num_threads(), "core"
    return f"{number} {unit}{'s' if number > 1 else ''}"


def fit(settings: TrainingSettings, speed: Speed, minutes: float) -> tuple[float, int]:
    """Return the numbers of epochs and runs, at most those of ``settings``, that take at most ``minutes``.

    There are fewer runs before there are fewer epochs, and whole epochs where one fits.

    Raises
    ------
    ValueError : not even a part of an epoch fits
    """
    affordable = (60 * minutes - speed.validation) / speed.epoch
    shortest = min(SHORTEST_TRAINING, settings.epochs)
    if affordable < shortest:
        least = math.ceil((shortest * speed.epoch + speed.validation) / 60)
        raise ValueError(
            f"too little time is left for a training, which takes at least {least} minute{'s' if least > 1 else ''}; "
            f"--freeze-encoder trains only the head in {spoken(speed.vectors)}"
        )
    runs = max(1, min(settings.runs, math.floor(affordable / settings.epochs)))
    epochs = affordable / runs
    return min(settings.epochs, math.floor(epochs) if epochs >= 1 else math.floor(100 * epochs) / 100), runs


def describe(epochs: float, runs: int, speed: Speed) -> str:
    """Return a training and its time in words."""
    time_taken = spoken(runs * epochs * speed.epoch + speed.validation)
    return (
        f"{time_taken} for {epochs:g} epoch{'s' if epochs != 1 else ''} x {runs} run{'s' if runs > 1 else ''} "
        f"on {speed.place}"
    )


def spoken(seconds: float) -> str:
    """Return a duration in words.

    >>> spoken(20), spoken(2700), spoken(9000)
    ('about 1 minute', 'about 45 minutes', 'about 2.5 hours')
    """
    minutes = max(1, round(seconds / 60))
    if minutes >= 120:
        return f"about {seconds / 3600:.1f} hours"
    return f"about {minutes} minute{'s' if minutes > 1 else ''}"


def plan(
    settings: TrainingSettings, precision: str, backbone: Path, train: Part, validation: Part, minutes: float | None
) -> dict[str, float | int]:
    """Print how long the training takes, and return the epochs and runs to train: those that fit into ``minutes``.

    ``precision`` is that of :func:`training.trainers.training_arguments`. The time of the measurement is part of the
    minutes. Without ``minutes``, epochs and runs are those of ``settings``.

    Raises
    ------
    ValueError : not even a part of an epoch fits
    """
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    started = time.monotonic()
    speed = measure(settings, precision, backbone, train, validation)
    asked = settings.epochs if settings.max_steps < 1 else settings.max_steps / speed.steps
    if minutes is None:
        PartialState().print(
            f"{describe(round(asked, 2), settings.runs, speed)}, or less with early stopping; --minutes N fits the "
            f"training into a budget, --freeze-encoder trains only the head in {spoken(speed.vectors)}"
        )
        return {"epochs": settings.epochs, "runs": settings.runs}
    measured = broadcast_object_list([time.monotonic() - started])[0]  # every process decides alike
    try:
        epochs, runs = fit(settings, speed, minutes - measured / 60)
    except ValueError as error:
        raise ValueError(f"--minutes {minutes:g}: {error}") from error
    text = f"--minutes {minutes:g}: {describe(epochs, runs, speed)}"
    if (epochs, runs) != (settings.epochs, settings.runs):
        text += f"; without it, {describe(settings.epochs, settings.runs, speed)}"
    PartialState().print(text)
    return {"epochs": epochs, "runs": runs}
