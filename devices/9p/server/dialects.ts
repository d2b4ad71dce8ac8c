/** The versions of the protocol that are spoken here. */
import { VERSION_UNKNOWN } from '../protocol/constants.js';
import type { Decoder } from '../protocol/messages.js';
import type { Dialect, Operation } from './dialect.js';
import { DIALECT_9P2000, DIALECT_9P2000_U } from './dialect-9p2000.js';
import { DIALECT_9P2000_L } from './dialect-9p2000l.js';
import type { Request } from './request.js';

const DIALECTS: readonly Dialect[] = [DIALECT_9P2000_L, DIALECT_9P2000_U, DIALECT_9P2000];
const OLDEST = 2000;

/** Until a version is agreed on, nothing but Tversion is understood. Refusals are said as Linux would read them. */
export const NO_DIALECT: Dialect = { ...DIALECT_9P2000_L, version: VERSION_UNKNOWN, operations: [] };

/** An operation of every dialect, which is the server's own. */
export function control(decode: Decoder, replyBytes: number, serve: (r: Request) => number): Operation {
  return { decode, replyBytes, changes: false, dataOffset: 0, handle: (_, r) => serve(r) };
}

/**
 * The dialect of a Tversion: the one asked for or, as version(5) has it, the plain one where an extension is not known, or the version
 * is a later one. Undefined where no version is named at all.
 */
export function dialectFor(version: string): Dialect | undefined {
  const exact = DIALECTS.find((dialect) => dialect.version === version);
  if (exact !== undefined) return exact;
  const digits = /^9P(\d{4,9})(?:\.|$)/.exec(version)?.[1];
  return digits !== undefined && Number(digits) >= OLDEST ? DIALECT_9P2000 : undefined;
}
