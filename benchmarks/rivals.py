"""The taggers that benchmarks/frontier.py measures, each made of the same questions or of the same trained model, and
the recipes of int8 that benchmarks/int8_recipes.py compares."""

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnx_export.model_files import copy_settings
from onnx_export.quantization import calibration_questions, quantize
from tagging.cpus import usable_cpus
from tagging.decision import sigmoid
from tagging.model_folder import ModelFolder
from tagging.tagger import Tagger, import_onnxruntime
from training.dataset import Part
from training.heads import fit_heads
from training.tfidf import TfidfTagger, fit
from training.thresholds import best_f1_threshold

OURS, FP32, PYTORCH = "int8.py, as served", "onnxruntime fp32", "PyTorch fp32"

Scorer = Callable[[Sequence[str], Sequence[str]], np.ndarray]  # titles, descriptions -> raw probabilities

DISTILROBERTA = {  # the shape of the reference's fastest model: the config.json of distilbert/distilroberta-base
    "vocab_size": 50265, "num_hidden_layers": 6, "hidden_size": 768, "num_attention_heads": 12,
    "intermediate_size": 3072, "max_position_embeddings": 514, "type_vocab_size": 1,
}  # fmt: skip
FASTTEXT = {"loss": "ova", "wordNgrams": 2, "dim": 100, "bucket": 200_000, "verbose": 0}
FASTTEXT_TRIED = ((0.2, 25), (0.5, 25), (0.5, 50))  # learning rate and epochs; the best on validation is kept
STATIC_DIMENSIONS = 256  # model2vec's default


@dataclass
class Rival:
    """A tagger under measurement.

    ``score`` returns raw probabilities of shape (n, num_labels), computed one question at a time. ``size`` is that of
    its model in MB. ``is_transformer`` tells whether it has the encoder of the model folder. ``is_trained`` is false
    where the weights are random, and only time and size mean something.
    """

    name: str
    score: Scorer
    size: float
    is_transformer: bool = True
    is_trained: bool = True


@dataclass(frozen=True)
class Material:
    """What the rivals are made of: a trained model's folder, its questions, and a folder for what is made."""

    model: Path
    backbone: Path
    train: Part
    validation: Part
    temporary: Path

    def folder(self, name: str) -> Path:
        """Return a new folder with tags, tokenizer and settings of the model."""
        made = self.temporary / name
        made.mkdir()
        copy_settings(self.model / "onnx", made)
        return made


def megabytes(*files: Path) -> float:
    """Return the size of files, and of what is in folders, in MB."""
    found = (inner for file in files for inner in ([file] if file.is_file() else file.rglob("*")) if inner.is_file())
    return sum(file.stat().st_size for file in found) / 1e6


def joined(titles: Sequence[str], descriptions: Sequence[str]) -> list[str]:
    """Return one text per question, for what reads no pairs."""
    return [f"{title} {description}".strip() for title, description in zip(titles, descriptions, strict=True)]


# --- without a transformer ------------------------------------------------------------------------------------------


def tfidf(material: Material) -> Rival:
    arrays = fit(material.train)
    file = material.temporary / "tfidf.npz"
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return Rival("TF-IDF, logistic regression", TfidfTagger(arrays).raw_probabilities, megabytes(file), False)


def fasttext(material: Material) -> Rival:
    """fastText, supervised, one classifier per tag (Joulin et al. 2017, "Bag of tricks for efficient text
    classification"): the best of FASTTEXT_TRIED on validation."""
    from fasttext import train_supervised

    train, validation = material.train, material.validation
    lines = material.temporary / "fasttext.txt"
    labels = np.array([f"__label__{index}" for index in range(len(train.tags))])
    texts = [words_of(text) for text in joined(train.titles, train.descriptions)]
    lines.write_text(
        "".join(f"{' '.join(labels[row])} {text}\n" for row, text in zip(train.targets, texts, strict=True)),
        encoding="utf-8",
        newline="\n",
    )

    def scorer(model) -> Scorer:
        def score(titles: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
            probabilities = np.zeros((len(titles), len(labels)), dtype=np.float32)
            for row, text in enumerate(joined(titles, descriptions)):
                found, values = model.predict(words_of(text), k=-1)
                probabilities[row, [int(label.removeprefix("__label__")) for label in found]] = values
            return np.clip(probabilities, 1e-6, 1 - 1e-6)  # it rounds sums up to 1.00001

        return score

    models = [
        train_supervised(str(lines), lr=rate, epoch=epochs, thread=usable_cpus(), **FASTTEXT)
        for rate, epochs in FASTTEXT_TRIED
    ]
    best = max(
        models,
        key=lambda model: best_f1_threshold(
            validation.targets, scorer(model)(validation.titles, validation.descriptions)
        )[1],
    )
    file = material.temporary / "fasttext.bin"
    best.save_model(str(file))
    return Rival("fastText", scorer(best), megabytes(file), False)


def words_of(text: str) -> str:
    """Return a text in lower case, one space between words and marks, as fastText's own examples prepare it."""
    return " ".join(re.findall(r"\w[\w+#-]*|[^\w\s]", text.lower()))


def static(material: Material) -> Rival:
    """The mean of the static vectors that model2vec makes of the backbone, and a linear head."""
    from model2vec.distill import distill

    model = distill(str(material.backbone), pca_dims=STATIC_DIMENSIONS)
    file = material.temporary / "static"
    model.save_pretrained(str(file))
    train = material.train
    head = fit_heads(model.encode(joined(train.titles, train.descriptions)), train.targets)
    head_size = 4e-6 * len(train.tags) * (STATIC_DIMENSIONS + 1)
    return Rival(
        "static vectors (model2vec), linear head",
        lambda titles, descriptions: sigmoid(head(model.encode(joined(titles, descriptions)))),
        megabytes(file / "model.safetensors") + head_size,
        False,
    )


# --- recipes of int8 --------------------------------------------------------------------------------------------------

Recipe = Callable[[Path, Path], object]  # takes the folder of model.onnx and the file to write


def library_recipe(**options: bool) -> Recipe:
    """Return onnxruntime's ``quantize_dynamic`` with ``options``."""

    def recipe(folder: Path, output: Path) -> None:
        import_onnxruntime()
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(folder / "model.onnx", output, **options)

    return recipe


def reference_recipe(folder: Path, output: Path) -> None:
    """Quantize as the reference project does: optimum's configuration for AVX2, with unsigned weights per tensor."""
    import_onnxruntime()
    from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer

    configuration = AutoQuantizationConfig.avx2(is_static=False, per_channel=False)
    with tempfile.TemporaryDirectory(dir=output.parent) as temporary:
        ORTQuantizer(folder / "model.onnx").quantize(configuration, temporary, file_suffix="")
        Path(temporary, "model.onnx").replace(output)


# --- the trained model, by different engines and in different precisions ---------------------------------------------


def of_tagger(name: str, tagger: Tagger) -> Rival:
    return Rival(name, tagger.raw_probabilities, megabytes(tagger.model.model_path))


def pytorch(material: Material) -> Rival:
    from training.model import pytorch_scorer

    one = pytorch_scorer(material.model)

    def score(titles: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
        return sigmoid(np.stack([one(*question) for question in zip(titles, descriptions, strict=True)]))

    return Rival(PYTORCH, score, megabytes(material.model / "model.safetensors"))


def onnxruntime_fp32(material: Material) -> Rival:
    return of_tagger(FP32, Tagger(material.model / "onnx", "model.onnx"))


def ours(material: Material) -> Rival:
    folder = material.folder("ours")
    quantize(material.model / "onnx", folder / "model_quantized.onnx", material.validation)
    return of_tagger(OURS, Tagger(folder))


def dynamic(name: str, **options: bool) -> Callable[[Material], Rival]:
    """Return the maker of what onnxruntime's ``quantize_dynamic`` makes with ``options``."""

    def make(material: Material) -> Rival:
        folder = material.folder(name)
        library_recipe(**options)(material.model / "onnx", folder / "model_quantized.onnx")
        return of_tagger(f"onnxruntime int8, {name}", Tagger(folder))

    return make


def openvino(material: Material) -> Rival:
    """OpenVINO, quantized by NNCF with the ranges of the same questions as ours."""
    os.environ.setdefault("NNCF_CI", "1")  # its telemetry off
    import nncf
    import openvino

    tagger = Tagger(material.model / "onnx", "model.onnx")  # for its tokenizer
    calibration = calibration_questions(material.validation)

    def inputs(title: str, description: str) -> dict[str, np.ndarray]:
        return tagger.inputs(tagger.model.encode([title], [description]))

    examples = [inputs(*question) for question in zip(calibration.titles, calibration.descriptions, strict=True)]
    quantized = nncf.quantize(
        openvino.convert_model(material.model / "onnx/model.onnx"),
        nncf.Dataset(examples),
        subset_size=len(examples),
        model_type=nncf.ModelType.TRANSFORMER,
    )
    file = material.temporary / "openvino.xml"
    openvino.save_model(quantized, file)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": usable_cpus()}
    run = openvino.Core().compile_model(file, "CPU", settings).create_infer_request()

    def score(titles: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
        return sigmoid(
            np.concatenate([run.infer(inputs(*pair))[0].copy() for pair in zip(titles, descriptions, strict=True)])
        )

    return Rival("OpenVINO int8", score, megabytes(file, file.with_suffix(".bin")))


def ctranslate2(material: Material) -> Rival:
    """CTranslate2's int8 encoder; mean and head by NumPy."""
    import ctranslate2 as engine
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoTokenizer

    from training.model import load_trained, takes_token_types

    model = load_trained(material.model)
    plain, converted = material.temporary / "encoder", material.temporary / "ctranslate2"
    model.base_model.save_pretrained(plain)  # type: ignore[operator]  # PyTorch types a submodule as Module or Tensor
    AutoTokenizer.from_pretrained(material.model).save_pretrained(plain)
    TransformersConverter(str(plain)).convert(str(converted), quantization="int8")
    encoder = engine.Encoder(str(converted), compute_type="int8", intra_threads=usable_cpus())
    weights, bias = (model.get_parameter(f"classifier.{name}").detach().numpy() for name in ("weight", "bias"))
    tokenizer = ModelFolder.read(material.model / "onnx", "model.onnx", index=False)
    typed = takes_token_types(model.config)

    def score(titles: Sequence[str], descriptions: Sequence[str]) -> np.ndarray:
        rows = []
        for encoding in tokenizer.encode(titles, descriptions):
            types = {"token_type_ids": [encoding.type_ids]} if typed else {}
            tokens = np.array(encoder.forward_batch([encoding.ids], **types).last_hidden_state)[0]
            rows.append(weights @ tokens.mean(axis=0) + bias)
        return sigmoid(np.stack(rows))

    return Rival("CTranslate2 int8", score, megabytes(converted / "model.bin") + 4e-6 * (weights.size + bias.size))


def distilroberta(material: Material) -> Rival:
    """The shape and the int8 of the reference project, with random weights: time and size only."""
    from transformers import RobertaConfig

    from training.model import write_onnx
    from training.reference import untrained_reference_model

    folder = material.folder("distilroberta")
    config = RobertaConfig(**DISTILROBERTA, num_labels=len(material.train.tags))
    write_onnx(untrained_reference_model(config).eval(), folder / "model.onnx")
    with tempfile.TemporaryDirectory(dir=folder) as made:
        output = Path(made, "model_quantized.onnx")
        reference_recipe(folder, output)
        output.replace(folder / output.name)
    rival = of_tagger("the reference's shape (distilroberta), its int8", Tagger(folder))
    rival.is_trained = False
    return rival


MAKERS: tuple[Callable[[Material], Rival], ...] = (
    tfidf,
    fasttext,
    static,
    pytorch,
    onnxruntime_fp32,
    dynamic("per tensor"),
    dynamic("per channel", per_channel=True),
    ours,
    openvino,
    ctranslate2,
    distilroberta,
)
