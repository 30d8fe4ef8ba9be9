// From the logits of a model to the tags that are suggested: the twin of deployment/tagging/decision.py.

export const sigmoid = (logit) => (logit >= 0 ? 1 / (1 + Math.exp(-logit)) : Math.exp(logit) / (1 + Math.exp(logit)));

function logOdds(probability) {
  const clipped = Math.min(Math.max(probability, 1e-9), 1 - 1e-9);
  return Math.log(clipped / (1 - clipped));
}

/** Maps the raw probabilities of a model to calibrated ones, for which a single threshold serves every tag. */
export class DecisionRule {
  /**
   * @param {object} content of thresholds.json
   * @param {string[]} tags
   */
  constructor(content, tags) {
    const { slope, threshold } = content.calibration ?? { slope: 1, threshold: content.global ?? 0.5 };
    this.cuts = tags.map((tag) => logOdds(content.per_tag[tag]));
    this.slope = slope;
    this.threshold = threshold;
  }

  probabilities(raw) {
    const shift = logOdds(this.threshold);
    return raw.map((probability, tag) => sigmoid(this.slope * (logOdds(probability) - this.cuts[tag]) + shift));
  }
}
