"""Write the result of a training: the files of the model folder, the log and its plot."""

import shutil
from pathlib import Path

from data.files import ONNX_FILES, remove_results, write_json
from tagging.decision import Thresholds
from tagging.settings import Settings
from training.checkpoints import remove_checkpoints
from training.losses import CROSS_ENTROPY


def write_log(histories: dict[int, list[dict]], loss_name: str, consistency: float, folder: Path) -> None:
    """Write training_log.csv, with one row per seed and epoch, and its plot training_curve.png."""
    import pandas as pd

    columns = {"epoch": "epoch", "loss": "train_loss", "eval_loss": "validation_loss", "eval_f1_micro": "f1_micro",
               "eval_threshold": "threshold", "learning_rate": "learning_rate"}  # fmt: skip
    runs = {seed: pd.DataFrame(history).groupby("epoch").first() for seed, history in histories.items()}
    log = pd.concat(runs, names=["seed", "epoch"]).reset_index()
    log = log.reindex(columns=["seed", *columns]).rename(columns=columns).dropna(subset="f1_micro")
    log.to_csv(folder / "training_log.csv", index=False, lineterminator="\n")
    plot_log(log, loss_name, consistency, f"Fine-tuning {folder.name}").savefig(
        folder / "training_curve.png", dpi=120, bbox_inches="tight"
    )


def plot_log(log, loss_name: str, consistency: float, title: str):
    """Return a figure of the losses and the validation micro F1 by epoch, each the mean over the runs in ``log``."""
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure in memory

    mean = log.drop(columns="seed").groupby("epoch").mean()
    term = f" + {consistency:g} · divergence" if consistency else ""
    losses = {"train_loss": f"training: {loss_name}{term}", "validation_loss": f"validation: {loss_name}"}
    axes = Figure(figsize=(7, 4)).subplots()
    mean[list(losses)].rename(columns=losses).plot(ylabel="loss", ax=axes)
    right = axes.twinx()
    mean["f1_micro"].plot(ylabel="micro F1", style="k--", ax=right)
    axes.set_title(title)
    axes.legend([*axes.lines, *right.lines], [*losses.values(), "validation: micro F1 (right)"])
    return axes.figure


def save_result(
    trainer,
    histories: dict[int, list[dict]],
    thresholds: Thresholds,
    settings: Settings,
    run: dict,
    tags: list[str],
    folder: Path,
) -> None:
    """Save the files of a model folder, first beside it, then over the previous ones, and remove the checkpoints."""
    checkpoints = folder / "checkpoints"
    finished, tokenizer = checkpoints / folder.name, trainer.processing_class
    trainer.model.save_pretrained(finished)
    for weights in finished.glob("*.safetensors"):  # safetensors lets no one but the owner read
        shutil.copymode(finished / "config.json", weights)
    tokenizer.backend_tokenizer.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    tokenizer.save_pretrained(finished)
    write_json(finished / "tag_types_encoded.json", {tag: index for index, tag in enumerate(tags)})
    write_json(finished / "thresholds.json", thresholds.as_json())
    write_json(finished / "tagger.json", settings.as_json())
    loss_name = getattr(trainer.model, "loss_name", CROSS_ENTROPY)  # the reference's model always uses this one
    write_log(histories, loss_name, getattr(trainer.model, "consistency", 0.0), finished)
    write_json(finished / "run.json", run)
    # run.json marks a complete folder: it is removed first and written last.
    (folder / "run.json").unlink(missing_ok=True)
    remove_results(folder / "onnx", ONNX_FILES)  # made from the weights that are replaced now
    for path in sorted(finished.iterdir(), key=lambda path: path.name == "run.json"):
        path.replace(folder / path.name)
    finished.rmdir()
    remove_checkpoints(checkpoints)
