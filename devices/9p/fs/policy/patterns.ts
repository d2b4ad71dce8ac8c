/**
 * Path patterns of a policy: globs over paths within the export, such as `src/*.c`, where `**` stands for any number of directories.
 * They match whole paths, know case, as Linux's file systems do, and take dot files for files like others. What matches, matches with
 * all that is below it.
 *
 * Names are bytes: those that are UTF-8 are matched as text, others byte for byte, each as the character of its number.
 *
 * Paths come from guests, so that matching must not take long: it goes name by name, and a name of 255 bytes meets at most three
 * stars. (One regular expression for the whole path would take minutes for a path that was made for it, and a line feed in a name
 * would hide the rest of the path from it.)
 */
import picomatch from 'picomatch';
import type { ByteString } from '../file-system.js';

const PATTERNS_MAX = 256;
/** Parts are bits of a number. */
const PARTS_MAX = 30;
const STARS_MAX = 3;

/** A pattern that cannot be; `message` is for the operator. */
export class PatternError extends Error {
  readonly pattern: string;

  constructor(pattern: string, reason: string) {
    super(`the pattern ${JSON.stringify(pattern)} ${reason}`);
    this.name = 'PatternError';
    this.pattern = pattern;
  }
}

/** A set of patterns. */
export class Patterns {
  readonly isEmpty: boolean;
  readonly #patterns: readonly Pattern[];

  /** @throws PatternError */
  constructor(patterns: readonly string[]) {
    if (patterns.length > PATTERNS_MAX)
      throw new PatternError(patterns[PATTERNS_MAX], `is one of more than ${PATTERNS_MAX}`);
    this.#patterns = patterns.map((pattern) => new Pattern(pattern));
    this.isEmpty = patterns.length === 0;
  }

  /** True where the path, or one above it, matches. Paths start with '/'; the root's is ''. */
  covers(path: ByteString): boolean {
    const names = namesIn(path);
    return this.#patterns.some((pattern) => pattern.covers(pattern.follow(names)));
  }

  /** True where something below the path may match. */
  leadsOn(path: ByteString): boolean {
    const names = namesIn(path);
    return this.#patterns.some((pattern) => pattern.leadsOn(pattern.follow(names)));
  }

  /** True where what matches below the path might not any more once the path is another one. */
  dependsOn(path: ByteString): boolean {
    const names = namesIn(path);
    return this.#patterns.some((pattern) => pattern.dependsOn(pattern.follow(names)));
  }
}

type Part = RegExp | '**';

/** Followed like a state machine: bit i says that the first i parts may be behind the names so far. */
class Pattern {
  readonly #parts: readonly Part[];
  readonly #end: number;

  constructor(pattern: string) {
    this.#parts = partsOf(pattern);
    this.#end = 1 << this.#parts.length;
  }

  /** The state behind the names, or behind the first of them that matched. */
  follow(names: readonly string[]): number {
    let state = this.#skipping(1);
    for (const name of names) {
      state = this.#skipping(this.#step(state, name));
      if (state === 0 || this.covers(state)) break;
    }
    return state;
  }

  covers(state: number): boolean {
    return (state & this.#end) !== 0;
  }

  leadsOn(state: number): boolean {
    return (state & ~this.#end) !== 0;
  }

  /** Behind a leading `**` alone it does not matter what the names were. */
  dependsOn(state: number): boolean {
    const free = this.#parts[0] === '**' ? this.#skipping(1) : 0;
    return (state & ~this.#end & ~free) !== 0;
  }

  #step(state: number, name: string): number {
    let next = 0;
    for (let i = 0; i < this.#parts.length; i++) {
      if ((state & (1 << i)) === 0) continue;
      const part = this.#parts[i];
      // The last one matches all that is below.
      if (part === '**') next |= (1 << i) | (i === this.#parts.length - 1 ? this.#end : 0);
      else if (part.test(name)) next |= 1 << (i + 1);
    }
    return next;
  }

  /** With the states in which a `**` stands for nothing. */
  #skipping(state: number): number {
    let all = state;
    for (let i = 0; i < this.#parts.length - 1; i++)
      if ((all & (1 << i)) !== 0 && this.#parts[i] === '**') all |= 1 << (i + 1);
    // Alone it matches everything, the root too.
    return this.#parts.length === 1 && this.#parts[0] === '**' ? all | this.#end : all;
  }
}

function partsOf(pattern: string): Part[] {
  const parts = pattern.replace(/^\//, '').split('/');
  if (parts.length > PARTS_MAX) throw new PatternError(pattern, `has more than ${PARTS_MAX} parts`);
  return parts.map((part) => partOf(pattern, part));
}

function partOf(pattern: string, part: string): Part {
  if (part === '**') return part;
  if (part === '' || part === '.' || part === '..')
    throw new PatternError(pattern, "has a part that is empty, '.' or '..'");
  if (part.includes('**')) throw new PatternError(pattern, "has a '**' that is only a piece of a part");
  if (count(part, '*') > STARS_MAX)
    throw new PatternError(pattern, `has a part with more than ${STARS_MAX} stars`);
  if (count(part, '{') !== count(part, '}') || count(part, '[') !== count(part, ']'))
    throw new PatternError(pattern, "has a '/' within braces or brackets, or one of those alone");
  // The flag lets a star match line feeds.
  return picomatch.makeRe(part, { dot: true, noextglob: true, nonegate: true, flags: 's' });
}

function count(text: string, character: string): number {
  return text.split(character).length - 1;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function namesIn(path: ByteString): string[] {
  return path === '' ? [] : path.slice(1).split('/').map(decodeName);
}

function decodeName(name: ByteString): string {
  try {
    return decoder.decode(Uint8Array.from(name, (character) => character.charCodeAt(0)));
  } catch {
    return name;
  }
}
