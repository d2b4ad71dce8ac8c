/** How an open file or directory is named in a session's state, for contents that another process has: number[4]. */
import { StateReader } from '../../../state-reader.js';
import { StateWriter } from '../../../state-writer.js';
import type { Kept } from '../kept.js';

export function numbered(number: number): Kept {
  const writer = new StateWriter();
  writer.write(4, number);
  return { descriptor: -1, details: writer.bytes };
}

/** -1 where there is none. */
export function numberIn(details: Uint8Array): number {
  const reader = new StateReader(details);
  const number = reader.read(4);
  return reader.overrun ? -1 : number;
}
