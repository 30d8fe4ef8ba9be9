"""What the Hugging Face Hub and transformers.js read of a shipped model, and the examples of its card.

No I/O but that of the example. The keys are those of https://huggingface.co/docs/hub/model-cards and of the
configuration files of transformers.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tagging.settings import Settings

LICENCE = "cc-by-sa-4.0"
# Name and kind of a metric in the card's header -> its name in metrics.json.
HEADER_METRICS = {
    ("Micro F1", "f1"): "f1_micro",
    ("Macro F1", "f1"): "f1_macro",
    ("Micro precision", "precision"): "precision_micro",
    ("Micro recall", "recall"): "recall_micro",
    ("Precision at 1", "precision"): "precision_at_1",
    ("Recall at 5", "recall"): "recall_at_5",
}
EXAMPLE_TITLE = "How do I start?"  # in card_example.py, and in the card of a model whose page offers no examples


def model_config(config: Mapping[str, Any], tags: Sequence[str]) -> dict[str, Any]:
    """Return the config.json of a shipped model.

    Parameters
    ----------
    config : config.json of the trained model
    tags : in the order of the model's labels
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSES

    kept = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype", "_name_or_path")}
    return kept | {
        "architectures": [CLASSES.get(config["model_type"], *config.get("architectures", []))],
        "problem_type": "multi_label_classification",
        "id2label": dict(enumerate(tags)),
        "label2id": {tag: index for index, tag in enumerate(tags)},
        "transformers.js_config": {"dtype": "q8"},  # which stands for model_quantized.onnx
    }


def tokenizer_config(config: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the tokenizer_config.json of a shipped model; ``config`` is that of the trained model."""
    return {**config, "model_max_length": settings.max_length}


def card_header(settings: Settings, metrics: Mapping[str, Any], base_model: str | None) -> str:
    """Return the YAML between the card's two lines of dashes.

    Parameters
    ----------
    metrics : content of metrics.json
    base_model : id of the backbone on the Hub, if it is there
    """
    from huggingface_hub import EvalResult, ModelCardData

    site = urlsplit(settings.site).netloc
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="Multi-label text classification",
            dataset_type=site,
            dataset_name=f"Questions of {site}",
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=round(metrics["int8"][figure], 4),
        )
        for (name, kind), figure in HEADER_METRICS.items()
        if figure in metrics["int8"]
    ]
    relation: dict[str, Any] = {"base_model": base_model, "base_model_relation": "quantized"} if base_model else {}
    return ModelCardData(
        language=settings.language,
        license=LICENCE,
        library_name="transformers.js",
        pipeline_tag="text-classification",
        tags=["onnx", "int8", "multi-label"],
        datasets=[site],
        metrics=list(dict.fromkeys(kind for _, kind in HEADER_METRICS)),
        model_name=f"Tags for the questions of {site}",
        eval_results=results,
        **relation,
    ).to_yaml(line_break="\n")


def card_examples(settings: Settings, folder: Path) -> dict[str, str]:
    """Return the fields of model_card.md that its section on the use of the model needs.

    ``folder`` is the model folder.
    """
    title = settings.examples[0].title if settings.examples else EXAMPLE_TITLE
    literal = json.dumps(title, ensure_ascii=False)
    code = Path(__file__).with_name("card_example.py").read_text(encoding="utf-8").partition('"""\n\n')[2]
    return {
        "title": literal,
        "python_example": code.replace(json.dumps(EXAMPLE_TITLE), literal).rstrip(),
        "command": shlex.join(["python", "deployment/predict.py", "--model", folder.as_posix(), "--title", title]),
        "max_length": str(settings.max_length),
    }
