"""Measure the training speed of finetune.py, compared to a bare PyTorch loop and to transformers' Trainer by default.

Input: the output of filter_tags.py and a backbone. Output: questions per second, relative to the bare loop. All three
train for one epoch on the same questions with the same model, in ROUNDS rounds, of which the fastest counts; the bare
loop gets finetune.py's batches, already tokenized and padded.

    python benchmarks/fine_tuning.py --model all-minilm-l6-v2    # -> reports/fine_tuning.md
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deployment"))  # where the package tagging is
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's modules, whatever is installed
from benchmarks.measure import add_output_option, seconds, write_report
from data.markdown import markdown_table
from data.options import add_folder_options
from tagging.console import run_script
from tagging.options import at_least_one, script_parser, text_length
from tagging.settings import FIELDS
from training.backbones import find_backbone
from training.dataset import Part, read_part
from training.options import add_backbone_option
from training.recipes import TrainingSettings
from training.tokenized import TokenizedQuestions
from training.trainers import longest_input
from training.trainers import make_trainer as recipe_trainer

ROUNDS = 2
MIN_SHARE = 0.9  # of the speed of the bare loop
MIN_SPEED_UP = 1.4  # over Trainer with its default settings


def make_trainer(args: argparse.Namespace, folder: Path, train: Part, defaults: bool):
    """Return finetune.py's Trainer without evaluation and checkpoints, or one with Trainer's default settings."""
    from transformers import EarlyStoppingCallback, TrainingArguments

    settings = TrainingSettings(
        args.model, max_length=args.max_length, batch_size=args.batch_size, epochs=1, consistency=0, learning_rate=1e-5
    )
    trainer = recipe_trainer(settings, settings.seed, folder, find_backbone(args.model), train, train)
    trainer.remove_callback(EarlyStoppingCallback)
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    if not defaults:
        return trainer
    as_it_comes = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=args.batch_size,
        use_cpu=trainer.args.use_cpu,
        save_strategy="no",
        report_to="none",
        log_level="error",
    )
    return type(trainer)(
        model=trainer.model,
        args=as_it_comes,
        train_dataset=trainer.train_dataset,
        data_collator=trainer.data_collator,
        processing_class=trainer.processing_class,
        optimizers=(trainer.optimizer, None),
    )


def bare_loop(trainer) -> Callable[[], None]:
    """Return a function that trains for one epoch (forward, backward, AdamW) on the batches of ``trainer``."""
    import torch

    device = trainer.args.device
    batches = [{name: values.to(device) for name, values in batch.items()} for batch in trainer.get_train_dataloader()]
    precision = torch.bfloat16 if trainer.args.bf16 else torch.float16
    mixed = trainer.args.bf16 or trainer.args.fp16

    def run() -> None:
        trainer.model.train()
        for batch in batches:
            with torch.autocast(device.type, dtype=precision, enabled=mixed):
                loss = trainer.model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
            trainer.optimizer.step()
            trainer.optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def padding(trainer) -> tuple[int, int]:
    """Return the number of tokens of an epoch, and the number of padding tokens."""
    masks = [batch["attention_mask"] for batch in trainer.get_train_dataloader()]
    read = sum(int(mask.sum()) for mask in masks)
    return read, sum(mask.numel() for mask in masks) - read


def report(
    args: argparse.Namespace, questions: int, taken: dict[str, float], tokenizing: float, trainers: dict
) -> list:
    """Return the lines of the report."""
    ours = trainers["finetune.py"].args
    tokens = {name: padding(trainer) for name, trainer in trainers.items()}
    bare, mine, plain = taken.values()
    padded = (f"padding {pad / (pad + read):.0%} of the tokens in {name}" for name, (read, pad) in tokens.items())
    return [
        f"# {args.model}, {questions} questions of up to {args.max_length} tokens, batches of {args.batch_size}, "
        f"{'bf16' if ours.bf16 else 'fp16' if ours.fp16 else 'fp32'} on {ours.device.type}\n",
        markdown_table(
            ["", "questions per second, against the bare loop"],
            [(name, f"{bare / spent:.2f}") for name, spent in taken.items()],
        ),
        "",
        f"Speed-up of finetune.py over Trainer's defaults (fp32, random batches, dynamic padding): {plain / mine:.2f}; "
        + ", ".join(padded)
        + ".\n",
        f"{tokens['finetune.py'][0] / mine:.0f} tokens per second, without padding. Tokenization, done once for all "
        f"epochs, takes {tokenizing / mine:.1%} of the time of an epoch.",
    ]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_backbone_option(parser, default="all-minilm-l6-v2")
    add_folder_options(parser, data_dir="folder of the output of filter_tags.py")
    parser.add_argument("--max-length", type=text_length, default=256, help="maximum tokens of title and description")
    parser.add_argument("--batch-size", type=at_least_one, default=16, help="number of questions per update")
    parser.add_argument("--num-questions", type=at_least_one, default=400, help="maximum number of training questions")
    add_output_option(parser, "fine_tuning")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        train = read_part(args.data_dir, "train")
        args.max_length = longest_input(
            TrainingSettings(args.model, max_length=args.max_length), find_backbone(args.model)
        )
    except ValueError as error:
        sys.exit(str(error))
    train = train.take(np.arange(min(len(train), args.num_questions)))
    with tempfile.TemporaryDirectory() as folder:
        taken: dict[str, float] = {}
        for _ in range(ROUNDS):
            ours, defaults = (make_trainer(args, Path(folder), train, defaults=way) for way in (False, True))
            tokenizing = seconds(partial(TokenizedQuestions, ours.processing_class, train, FIELDS, FIELDS))
            methods = {"bare loop": bare_loop(ours), "finetune.py": ours.train, "Trainer's defaults": defaults.train}
            taken = {name: min(seconds(run), taken.get(name, math.inf)) for name, run in methods.items()}
    lines = report(args, len(train), taken, tokenizing, {"finetune.py": ours, "Trainer's defaults": defaults})
    write_report("fine_tuning", args.output, lines)
    bare, mine, plain = taken.values()
    if bare / mine < MIN_SHARE or plain / mine < MIN_SPEED_UP:
        sys.exit(f"too slow: {bare / mine:.2f} of the bare loop, {plain / mine:.2f} times Trainer's defaults")


if __name__ == "__main__":
    run_script(main)
