// The errors whose messages the page shows as they are.

/** A file is missing or damaged, or the files do not belong together. */
export class ModelError extends Error {}

/** A question that the tagger does not take. */
export class QuestionError extends Error {}

/** A file of questions that cannot be tagged. */
export class TableError extends Error {}
