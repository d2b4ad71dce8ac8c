/** The versions of the protocol that are spoken here. */
import type { Dialect } from './dialect.js';
import { DIALECT_9P2000, DIALECT_9P2000_U } from './dialect-9p2000.js';
import { DIALECT_9P2000_L } from './dialect-9p2000l.js';

const DIALECTS: readonly Dialect[] = [DIALECT_9P2000_L, DIALECT_9P2000_U, DIALECT_9P2000];
const OLDEST = 2000;

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
