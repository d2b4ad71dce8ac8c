import { Type, type Static } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { LogLevel } from './log.js';

const Words = Type.Object({
  msg: Type.String(),
  err: Type.Optional(Type.Object({ message: Type.String() })),
});

/** A record as it is written in JSON. */
export interface LogRecord {
  readonly level: LogLevel;
  /** ISO 8601, in UTC. */
  readonly time: string;
  readonly pid: number;
  readonly msg: string;
  readonly err?: { readonly message: string; readonly suggestion?: string; readonly stack?: string };
  readonly [field: string]: unknown;
}

/** Those that say what a record is about, in the order in which they are put before its message. */
const SUBJECTS = [
  'chassis',
  'switch',
  'slot',
  'function',
  'tag',
  'disk',
  'card',
  'port',
  'client',
  'fd',
] as const;

/** What a line of a log says, whichever format it has: that of one in JSON is its message, with the error that it tells of. */
export function wordsOf(line: string): string {
  if (!line.startsWith('{')) return line;
  try {
    const record: unknown = JSON.parse(line);
    return Value.Check(Words, record) ? wordsIn(record).join(': ') : line;
  } catch {
    return line;
  }
}

/**
 * A record for people, without what only programs want of it. `head` begins each of its lines but those of a stack, which are indented: no text
 * in a record can make a line that looks like another record's.
 */
export function textLines(record: LogRecord, head: string): string {
  const { level, err } = record;
  const subjects = SUBJECTS.filter((name) => record[name] !== undefined).map((name) =>
    typeof record[name] === 'number' ? `${name} ${record[name]}` : String(record[name]),
  );
  const facts = Object.values(record).filter((value) => typeof value === 'object' && value !== err);
  const lines = [`${head}${[...subjects, ...wordsIn(record)].join(': ')}${facts.map(inBrackets).join('')}`];
  if (err?.suggestion !== undefined) lines.push(`${head}${err.suggestion}`);
  if (level === LogLevel.error && err?.stack) lines.push(err.stack.replaceAll(/^/gm, '    '));
  return `${lines.join('\n')}\n`;
}

function wordsIn({ msg, err }: Static<typeof Words>): string[] {
  return [msg, ...(err ? [err.message] : [])];
}

function inBrackets(facts: unknown): string {
  const words = Object.entries(facts as object).map(([name, value]) => `${name}=${String(value)}`);
  return ` (${words.join(' ')})`;
}
