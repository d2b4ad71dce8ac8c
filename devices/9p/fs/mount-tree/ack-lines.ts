/** What a guest's helper writes into `ctl/ack`: hostile until shown otherwise. */
import { Answer } from './mounting.js';

/** Most bytes of one write. Linux sends so little in one piece from anywhere in memory. */
export const ACK_MAX_BYTES = 1024;
/** Most characters kept of what a guest says, for an operator to read. */
const DETAIL_MAX = 500;

/** What one write says. */
export interface Acks {
  readonly answers: readonly Ack[];
  /** What was to be poked has been. */
  readonly poked: boolean;
}

export interface Ack {
  readonly id: number;
  readonly answer: Answer;
  /** Printable, in one line. */
  readonly detail: string;
}

const LINE = /^([a-z]{1,16}) (\d{1,15})(?: (.*))?$/su;
const POKED = 'poked';
const decoder = new TextDecoder();

/** The answers in one write, a line each; undefined where one of them is none. */
export function parseAcks(bytes: Uint8Array): Acks | undefined {
  const lines = decoder.decode(bytes).split('\n');
  const answers: Ack[] = [];
  for (const line of lines) {
    if (line === '' || line === POKED) continue;
    const ack = parseAck(line);
    if (ack === undefined) return undefined;
    answers.push(ack);
  }
  return { answers, poked: lines.includes(POKED) };
}

function parseAck(line: string): Ack | undefined {
  const [, verb, id, detail = ''] = LINE.exec(line) ?? [];
  if (verb === undefined || id === undefined || !isAnswer(verb)) return undefined;
  return { id: Number(id), answer: verb, detail: printable(detail) };
}

function isAnswer(verb: string): verb is Answer {
  return Object.hasOwn(Answer, verb);
}

/** Nothing that could steer an operator's terminal, or reorder what it shows. */
function printable(text: string): string {
  return text
    .slice(0, DETAIL_MAX)
    .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?')
    .trim();
}
