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

/** Return the indices of probabilities, the highest first; equal ones keep their order. */
export const ranking = (probabilities) =>
  probabilities.map((_, index) => index).sort((a, b) => probabilities[b] - probabilities[a]);

/** Return the indices of the suggested tags, the most probable first: at least one, at most `maxTags`. */
export function suggest(probabilities, threshold, maxTags) {
  const best = ranking(probabilities).slice(0, maxTags);
  return best.filter((tag, place) => place === 0 || probabilities[tag] >= threshold);
}
