// Read CSV files of questions and write them with tags: the twin of deployment/tagging/tables.py, and its messages.

import Papa from "papaparse";

import { TableError } from "./errors.js";
import { strip } from "./python_text.js";

const TEXT_COLUMNS = ["title", "description"];
const RESULT_COLUMNS = ["tags", "scores"];
const MAX_BYTES = 200e6;
const MIN_SIMILARITY = 0.75;
const MIN_LETTERS = 3;
const OTHER_SEPARATOR = /[;\t|]/;
const INVISIBLE = /[\u200b\u2060\ufeff]/g;
const LINE_END = /\r\n|\r|\n/g;

/**
 * Read the questions of a CSV file.
 *
 * @param {Uint8Array} bytes
 * @param {string} name of the file, with which messages begin
 * @returns {{columns: string[], rows: string[][], questions: [string, string][], notes: string[]}}
 * @throws {TableError} in one line, with the place in the file
 */
export function readTable(bytes, name) {
  const notes = [];
  const records = readRecords(decode(bytes, name), name);
  const header = records.shift()?.cells ?? [];
  const places = usedColumns(header, records, name, notes);
  const columns = places.map((place) => header[place]);
  const found = textColumns(columns, name, notes);
  const last = Math.max(...places);
  const rows = records.map(({ line, cells }) => {
    if (cells.length <= last || cells.slice(header.length).some(strip)) {
      throw new TableError(`${name}, line ${line}: ${cells.length} cells, but the header names ${header.length} columns`);
    }
    return places.map((place) => cells[place]);
  });
  if (!rows.length) throw new TableError(`${name}: no row below the header`);
  const cellsOf = (row) => TEXT_COLUMNS.map((column) => (found.has(column) ? row[found.get(column)] : ""));
  return { columns, rows, questions: rows.map(cellsOf), notes };
}

/** Return the text of a CSV file: the rows that have a result, with the columns tags and scores. */
export function writeTable({ columns, rows }, results) {
  const tagged = results.map((result, number) => [
    ...rows[number],
    jsonList(result.map(({ tag }) => JSON.stringify(tag))),
    jsonList(result.map(({ probability }) => (probability === 1 ? "1.0" : String(probability)))),
  ]);
  return `${Papa.unparse({ fields: [...columns, ...RESULT_COLUMNS], data: tagged }, { newline: "\n" })}\n`;
}

const jsonList = (values) => `[${values.join(", ")}]`; // as Python writes it

function decode(bytes, name) {
  if (bytes.length > MAX_BYTES) {
    const [has, most] = [Math.ceil(bytes.length / 1e6), MAX_BYTES / 1e6];
    throw new TableError(`${name} has ${has} MB; at most ${most} MB are read here: use deployment/predict.py`);
  }
  if (String.fromCharCode(...bytes.subarray(0, 4)) === "PAR1") {
    throw new TableError(`${name}: a Parquet file; save it as CSV, or use deployment/predict.py`);
  }
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    return decoder.decode(bytes);
  } catch {
    throw new TableError(`${name}, line ${undecodableLine(bytes, decoder)}: not UTF-8; save the file as UTF-8`);
  }
}

function undecodableLine(bytes, decoder) {
  let [line, start] = [1, 0];
  for (let end = 0; end < bytes.length; end += 1) {
    if (bytes[end] !== 10 && bytes[end] !== 13) continue;
    try {
      decoder.decode(bytes.subarray(start, end));
    } catch {
      return line;
    }
    line += 1;
    if (bytes[end] === 13 && bytes[end + 1] === 10) end += 1;
    start = end + 1;
  }
  return line;
}

// Return {line, cells} of the header and of each row: `line` is the row's last one. Empty lines are left out.
function readRecords(text, name) {
  const ends = new Set(text.replace(/"[^"]*"/g, "").match(LINE_END));
  if (ends.size > 1) text = text.replace(LINE_END, "\n"); // the library takes one kind of line ends
  const newline = ends.size > 1 ? "\n" : [...ends][0];
  const records = [];
  let [position, line] = [0, 0];
  Papa.parse(text, {
    delimiter: ",",
    newline,
    fastMode: false,
    step({ data, errors, meta }) {
      if (errors.length) {
        const reason = errors[0].code === "MissingQuotes" ? "unexpected end of data" : "',' expected after '\"'";
        throw new TableError(`${name}, the row from line ${line + 1} on: not readable as CSV (${reason})`);
      }
      const source = text.slice(position, meta.cursor);
      position = meta.cursor;
      line += source.match(LINE_END)?.length ?? 0;
      // The last line may have no end.
      if (source.replace(LINE_END, "")) records.push({ line: /[\r\n]$/.test(source) ? line : line + 1, cells: data });
    },
  });
  return records;
}

const plain = (column) => strip(column.replace(INVISIBLE, "")).toLowerCase();

// Return the places of the columns, without those that have neither a name nor a cell.
function usedColumns(header, records, name, notes) {
  if (!header.some(plain)) throw new TableError(`${name}: the file is empty, or its first line names no column`);
  const separator = header.length === 1 && header[0].match(OTHER_SEPARATOR);
  if (separator) {
    const shown = separator[0] === "\t" ? "\\t" : separator[0];
    throw new TableError(`${name}: the columns are separated by '${shown}'; save the file with commas`);
  }
  const unnamed = header.map((_, place) => place).filter((place) => !plain(header[place]));
  const filled = unnamed.filter((place) => records.some(({ cells }) => strip(cells[place] ?? "")));
  if (filled.length > 1) {
    const places = filled.map((place) => place + 1).join(" and ");
    throw new TableError(`${name}: the columns ${places} hold cells, but have no name; name them in the first line`);
  }
  const empty = unnamed.filter((place) => !filled.includes(place));
  if (empty.length) notes.push(`${name}: ${empty.length} empty columns without a name are left out`);
  return header.map((_, place) => place).filter((place) => !empty.includes(place));
}

// Return a Map from title and description to the places of their columns, with at least one entry.
function textColumns(columns, name, notes) {
  for (const column of columns) {
    if (RESULT_COLUMNS.includes(plain(column))) {
      throw new TableError(`${name}: the column '${column}' would be overwritten; rename it, e.g. to given_${plain(column)}`);
    }
  }
  const names = columns.map((column) => (TEXT_COLUMNS.includes(plain(column)) ? plain(column) : column));
  const twice = names.find((column, place) => names.indexOf(column) !== place);
  if (twice !== undefined) throw new TableError(`${name}: two columns are called '${twice}'; rename one`);
  const found = new Map(TEXT_COLUMNS.map((text) => [text, names.indexOf(text)]).filter(([, place]) => place >= 0));
  const missing = TEXT_COLUMNS.filter((text) => !found.has(text));
  const unread = names.filter((column) => !TEXT_COLUMNS.includes(column) && plain(column));
  for (const text of missing) {
    const near = unread.find((column) => isNear(plain(column), text));
    if (near !== undefined) {
      throw new TableError(
        `${name}: no column is called ${text}, but one '${near}': rename it to ${text}; ` +
          "or, if it holds something else, to a name that is less alike",
      );
    }
  }
  for (const [text, place] of found) {
    if (columns[place] !== text) notes.push(`${name}: the column '${columns[place]}' is read as ${text}`);
  }
  if (!found.size) {
    throw new TableError(`${name}: neither column title nor description; found ${columns.join(", ")}`);
  }
  if (missing.length && unread.length) {
    notes.push(`${name}: no column ${missing.join(", ")}; not read: ${unread.join(", ")}`);
  }
  return found;
}

// Return whether a column may stand for a name: misspelt, abbreviated, or part of a longer name.
function isNear(column, name) {
  const cutShort = column.length >= MIN_LETTERS && (name.startsWith(column) || name.split("_").includes(column));
  return cutShort || column.includes(name) || similarity(column, name) >= MIN_SIMILARITY;
}

// The ratio of Python's difflib.SequenceMatcher: the share of characters in common blocks, the longest first.
const similarity = (a, b) => (2 * commonCharacters(a, b)) / (a.length + b.length);

function commonCharacters(a, b) {
  let best = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    for (let j = 0; j < b.length; j += 1) {
      let size = 0;
      while (a[i + size] !== undefined && a[i + size] === b[j + size]) size += 1;
      if (size > best[0]) best = [size, i, j];
    }
  }
  const [size, i, j] = best;
  if (!size) return 0;
  return size + commonCharacters(a.slice(0, i), b.slice(0, j)) + commonCharacters(a.slice(i + size), b.slice(j + size));
}
