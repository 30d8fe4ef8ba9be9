"""The Python example of the model card, to be run in a model folder. It imports nothing of this repository."""

import json
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer


def read(name):
    return json.loads(Path(name).read_text(encoding="utf-8"))


settings, thresholds, indices = read("tagger.json"), read("thresholds.json"), read("tag_types_encoded.json")
tags = sorted(indices, key=indices.get)
per_tag = np.array([thresholds["per_tag"][tag] for tag in tags])
calibration = thresholds.get("calibration", {"slope": 1.0, "threshold": thresholds["global"]})
slope, threshold = calibration["slope"], calibration["threshold"]
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation(settings["max_length"])
tokenizer.no_padding()
session = InferenceSession("onnx/model_quantized.onnx")


def log_odds(probability):
    return np.log(probability / (1 - probability))


def suggest(title, description=""):
    question = {"title": title.strip(), "description": description.strip()}
    read = [field for field in settings["fields"] if question[field]]
    encoding = tokenizer.encode(*(question[field] for field in read))
    values = {
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }
    logits = session.run(None, {part.name: np.array([values[part.name]]) for part in session.get_inputs()})[0][0]
    if len(read) == 1 and read[0] in settings.get("alone", {}):
        slope_alone, intercept = settings["alone"][read[0]]
        logits = slope_alone * logits + intercept
    calibrated = 1 / (1 + np.exp(-slope * (logits - log_odds(per_tag)) - log_odds(threshold)))
    best = np.argsort(-calibrated)[: settings["max_tags"]]
    return {tags[i]: round(float(calibrated[i]), 4) for i in best if calibrated[i] >= threshold or i == best[0]}


print(json.dumps(suggest("How do I start?"), ensure_ascii=False))
