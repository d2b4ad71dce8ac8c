/** What is wrong with manifests: everything at once, each with its place and the way out. */
import { ChassisError } from '../../../manager/control/api.js';
import { plainText } from '../../support/changes-text.js';

/** A place in a manifest. */
export interface Position {
  /** As it was given: relative where that was, `-` for standard input. */
  readonly file: string;
  /** Both from 1. */
  readonly line: number;
  readonly column: number;
}

export interface Problem extends Position {
  readonly message: string;
  readonly suggestion?: string;
}

/** So many are told; whoever has more has one cause, or another file than they think. */
const PROBLEMS_SHOWN = 50;
const MESSAGE_SHOWN = 500;

/** `file:line:column: message`, as compilers have it, for editors to jump to; then what to do about it. */
export function problemText({ file, line, column, message, suggestion }: Problem): string {
  const remedy = suggestion === undefined ? '' : `\n    ${suggestion}`;
  return `${file}:${line}:${column}: ${message}${remedy}`;
}

/** In order of their places; `details.problems` has them as data. */
export function manifestInvalid(problems: readonly Problem[]): ChassisError {
  // What aliases stand for is read more than once.
  const once = new Map(problems.map((problem) => [problemText(problem), problem]));
  const sorted = [...once.values()].sort(byPlace);
  const shown = sorted.slice(0, PROBLEMS_SHOWN).map(harmless);
  const more = sorted.length - shown.length;
  const message = [
    ...shown.map(problemText),
    ...(more > 0 ? [`and ${more} more of the kind`] : []),
    'nothing was changed',
  ].join('\n');
  const error = new ChassisError(
    'MANIFEST_INVALID',
    message,
    'docs/manifests.md has the keys; chassis apply --schema prints them for editors',
  );
  return Object.assign(error, { details: { problems: shown } });
}

/** A manifest may say anything, at any length, and much of it is in what is said of it. */
function harmless({ suggestion, ...problem }: Problem): Problem {
  return {
    ...problem,
    ...{ file: plainText(problem.file), message: clipped(plainText(problem.message)) },
    ...(suggestion !== undefined && { suggestion: clipped(plainText(suggestion)) }),
  };
}

function clipped(text: string): string {
  return text.length > MESSAGE_SHOWN ? `${text.slice(0, MESSAGE_SHOWN)}…` : text;
}

function byPlace(a: Position, b: Position): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.line - b.line || a.column - b.column;
}

/** `; did you mean "readOnly"?`, where one of the known names is close enough. */
export function didYouMean(name: string, known: readonly string[]): string | undefined {
  const folded = name.toLowerCase().replace(/[-_]/g, '');
  let best: { readonly word: string; readonly distance: number } | undefined;
  for (const word of known) {
    const distance = editDistance(folded, word.toLowerCase());
    if (distance <= Math.max(1, word.length / 3) && (!best || distance < best.distance))
      best = { word, distance };
  }
  return best && `did you mean ${JSON.stringify(best.word)}?`;
}

/** Letters to add, drop, replace, or swap with their neighbours (optimal string alignment); names longer than any key are far away. */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > b.length) return Infinity;
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      row[j] = Math.min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (isSame ? 0 : 1));
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwap) row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1);
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}
