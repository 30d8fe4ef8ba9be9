// From the probabilities of one question to what an answer shows: the twin of deployment/tagging/selection.py.

const NUM_OTHERS = 5;
const union = (one, other) => new Set([...one, ...other]);
const common = (one, other) => [...one].filter((tag) => other.has(tag)).length;

export class Selection {
  /**
   * @param {string[]} tags in the order of the model's labels
   * @param {number} threshold of the calibrated probabilities
   * @param {number} maxTags
   * @param {object} rules content of rules.json, as Rules.as_json gives it
   * @param {object | null} tiers content of tiers.json
   */
  constructor(tags, threshold, maxTags, rules, tiers) {
    Object.assign(this, { tags, threshold, maxTags, tiers });
    const implied = new Map(Object.entries(rules.implied));
    const synonyms = new Map(Object.entries(rules.synonyms));
    const allImplied = (tag) => {
      const found = new Set();
      const add = (one) => (implied.get(one) ?? []).forEach((other) => {
        if (!found.has(other)) add(other, found.add(other));
      });
      add(tag);
      return found;
    };
    const own = new Map();
    const put = (map, tag, numbers) => map.set(tag, [...(map.get(tag) ?? []), ...numbers]);
    tags.forEach((tag, label) => put(own, synonyms.get(tag) ?? tag, [label]));
    const labels = new Map(own);
    for (const [tag, numbers] of own) for (const other of allImplied(tag)) put(labels, other, numbers);
    this.names = [...labels.keys()].filter((tag) => !rules.never_suggest.includes(tag));
    const place = new Map(this.names.map((tag, index) => [tag, index]));
    const places = (group) => new Set([...group].filter((tag) => place.has(tag)).map((tag) => place.get(tag)));
    this.own = this.names.map((tag) => own.get(tag) ?? []);
    this.labels = this.names.map((tag) => labels.get(tag));
    this.withImplied = this.names.map((tag) => places([tag, ...allImplied(tag)]));
    this.people = places(rules.only_for_people);
    this.required = rules.at_least_one_of.map(places);
    this.atMost = rules.at_most.map(({ number, tags: group }) => ({ number, group: places(group) }));
  }

  /**
   * @param {number[]} probabilities calibrated, one for each label
   * @returns {{suggested: object[], others: object[]}} of {tag, probability, label, rule, tier}
   */
  select(probabilities) {
    const best = this.labels.map((labels) => labels.reduce((a, b) => (probabilities[b] > probabilities[a] ? b : a)));
    const merged = best.map((label) => probabilities[label]);
    const ranked = this.names.map((_, index) => index).sort(
      (a, b) => merged[b] - merged[a] || this.withImplied[a].size - this.withImplied[b].size || a - b,
    );
    let chosen = new Set();
    const addFirst = (group) => {
      const first = ranked.find((tag) => group.has(tag) && this.fits(tag, chosen));
      if (first !== undefined) chosen = union(chosen, this.withImplied[first]);
    };
    for (const group of this.required) if (!common(group, chosen)) addFirst(group);
    const required = chosen;
    for (const tag of ranked) {
      if (merged[tag] < this.threshold || chosen.size === this.maxTags) break;
      if (this.fits(tag, chosen)) chosen = union(chosen, this.withImplied[tag]);
    }
    if (!chosen.size) addFirst(new Set(ranked));
    const reason = (tag) => {
      if (required.has(tag) && merged[tag] < this.threshold) return "required";
      const alone = Math.max(0, ...this.own[tag].map((label) => probabilities[label]));
      return alone < this.threshold && this.threshold <= merged[tag] ? "implied" : "";
    };
    const obstacle = (tag) => {
      if (this.people.has(tag)) return "people";
      return this.isOver(union(chosen, this.withImplied[tag])) ? "at_most" : "";
    };
    const choice = (rule, tier) => (tag) => ({
      tag: this.names[tag], probability: merged[tag], label: best[tag], rule: rule(tag), tier: this.tiers ? tier(tag) : "",
    });
    const ticked = (tag) => merged[tag] >= (this.tiers.ticked[this.tags[best[tag]]] ?? Infinity);
    const isShown = (tag) => !chosen.has(tag) && merged[tag] >= (this.tiers?.shown ?? 0);
    return {
      suggested: ranked.filter((tag) => chosen.has(tag)).map(choice(reason, (tag) => (ticked(tag) ? "ticked" : "shown"))),
      others: ranked.filter(isShown).slice(0, NUM_OTHERS).map(choice(obstacle, () => "shown")),
    };
  }

  fits(tag, chosen) {
    const joined = union(chosen, this.withImplied[tag]);
    return joined.size <= this.maxTags && !this.people.has(tag) && !this.isOver(joined);
  }

  isOver(tags) {
    return this.atMost.some(({ number, group }) => common(tags, group) > number);
  }
}
