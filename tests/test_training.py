"""The parts of training: thresholds and the loss."""

import numpy as np
import pytest
import torch
from transformers import BertConfig

from deployment.tagger import suggest
from training.metrics import tagging_metrics
from training.model import QuestionTagger, divergence
from training.thresholds import best_f1_threshold, tune_thresholds


def test_best_threshold_is_the_best_of_all_cuts():
    rng = np.random.default_rng(0)
    targets, scores = rng.random(200) < 0.2, rng.random(200).round(2)  # with ties
    threshold, f1 = best_f1_threshold(targets, scores)

    def f1_at(cut):
        chosen = scores >= cut
        return 2 * (chosen & targets).sum() / (chosen.sum() + targets.sum())

    assert f1 == pytest.approx(f1_at(threshold)) == pytest.approx(max(map(f1_at, np.linspace(0, 1, 2001))))
    assert threshold not in scores


def test_no_positive_target_is_refused():
    with pytest.raises(ValueError, match="no positive target"):
        best_f1_threshold(np.zeros(3, bool), np.ones(3))


def test_rare_tags_thresholds_stay_near_the_global_one():
    targets = np.zeros((400, 3), bool)
    targets[:200, 0] = targets[0, 1] = True
    scores = np.full((400, 3), 0.1)
    scores[:200, 0], scores[200:, 0] = 0.4, 0.3  # many positives, best cut 0.35
    scores[0, 1] = 0.9  # one positive, best cut 0.5
    thresholds = tune_thresholds(targets, scores, ["frequent", "rare", "unseen"])
    own = {"frequent": 0.35, "rare": 0.5}
    assert thresholds["per_tag"]["unseen"] == thresholds["global"] == pytest.approx(0.35)
    assert thresholds["per_tag"]["frequent"] == pytest.approx(own["frequent"], abs=0.01)
    assert 0.35 < thresholds["per_tag"]["rare"] < 0.38


def test_tuned_thresholds_beat_one_half_on_underconfident_scores():
    rng = np.random.default_rng(0)
    targets = rng.random((500, 10)) < 0.1
    scores = np.clip(0.05 + 0.25 * targets + 0.05 * rng.standard_normal(targets.shape), 0.001, 0.999)
    tuned = tune_thresholds(targets, scores, [str(tag) for tag in range(10)])
    cut = np.array(list(tuned["per_tag"].values()))
    f1 = [tagging_metrics(targets, suggest(scores, t), scores)["f1_micro"] for t in (cut, np.full(10, 0.5))]
    assert f1[0] > f1[1] + 0.1


def test_two_answers_cost_their_divergence_in_training_alone(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config.num_labels = 3
    model = QuestionTagger(config)
    inputs = {"input_ids": torch.randint(30, (4, 6)), "attention_mask": torch.ones(4, 6, dtype=torch.long)}
    labels = torch.eye(3)[[0, 1, 2, 0]]

    def loss(consistency: float) -> float:
        torch.manual_seed(1)  # the same dropout
        model.consistency = consistency
        return model(**inputs, labels=labels).loss.item()

    none, some, twice = loss(1e-9), loss(1.0), loss(2.0)
    assert some > none
    assert twice - none == pytest.approx(2 * (some - none), rel=1e-3)
    model.eval()
    assert loss(0.0) == loss(1.0)


def test_divergence_is_the_kullback_leibler_one_in_both_directions():
    first, second = torch.tensor([[0.3, -2.0]]), torch.tensor([[1.5, 0.0]])
    p, q = (torch.distributions.Bernoulli(logits=logits) for logits in (first, second))
    expected = torch.distributions.kl_divergence(p, q) + torch.distributions.kl_divergence(q, p)
    assert divergence(first, second).item() == pytest.approx(expected.mean().item(), rel=1e-5)
