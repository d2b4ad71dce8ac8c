/**
 * Path patterns of a policy: globs over paths within the export, as in `src/**` or `**` + `/.env`. They match whole paths, know case, as
 * Linux's file systems do, and take dot files for files like others. What matches, matches with all that is below it.
 *
 * Names are bytes: those that are UTF-8 are matched as text, others byte for byte, each as the character of its number.
 */
import picomatch from 'picomatch';
import type { ByteString } from '../file-system.js';

/** Longer paths are denied by any pattern: matching takes time that grows with the square of the length, or worse. */
const PATH_MAX_BYTES = 4096;
const PATTERNS_MAX = 256;

/** A pattern that cannot be; `message` is for the operator. */
export class PatternError extends Error {
  readonly pattern: string;

  constructor(pattern: string, reason: string) {
    super(`the pattern ${JSON.stringify(pattern)} ${reason}`);
    this.name = 'PatternError';
    this.pattern = pattern;
  }
}

type Matches = (path: string) => boolean;

const NEVER: Matches = () => false;

export class Patterns {
  readonly isEmpty: boolean;
  readonly #matches: Matches;
  readonly #leads: Matches;
  readonly #anchors: Matches;

  /** @throws PatternError */
  constructor(patterns: readonly string[]) {
    if (patterns.length > PATTERNS_MAX)
      throw new PatternError(patterns[PATTERNS_MAX], `is one of more than ${PATTERNS_MAX}`);
    const parts = patterns.map(partsOf);
    this.isEmpty = patterns.length === 0;
    this.#matches = compile(parts.map((each) => each.join('/')));
    this.#leads = compile(parts.flatMap(leading));
    this.#anchors = compile(parts.flatMap(leading).filter((pattern) => pattern !== '**'));
  }

  /** True where the path, or one above it, matches. Paths start with '/'; the root's is ''. */
  covers(path: ByteString): boolean {
    if (this.isEmpty) return false;
    if (path.length > PATH_MAX_BYTES) return true;
    const text = decode(path.slice(1));
    for (let end = text.indexOf('/'); end >= 0; end = text.indexOf('/', end + 1))
      if (this.#matches(text.slice(0, end))) return true;
    return text !== '' && this.#matches(text);
  }

  /** True where something below the path may match. */
  leadsOn(path: ByteString): boolean {
    return !this.isEmpty && path.length <= PATH_MAX_BYTES && (path === '' || this.#leads(decode(path.slice(1))));
  }

  /** True where what matches below the path might not any more once that has another name. */
  dependsOn(path: ByteString): boolean {
    return !this.isEmpty && this.#anchors(decode(path.slice(1)));
  }
}

function partsOf(pattern: string): string[] {
  const parts = pattern.replace(/^\//, '').split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..'))
    throw new PatternError(pattern, "has a part that is empty, '.' or '..'");
  if (parts.some((part) => count(part, '{') !== count(part, '}') || count(part, '[') !== count(part, ']')))
    throw new PatternError(pattern, "has a '/' within braces or brackets, or one of those alone");
  return parts;
}

function count(text: string, character: string): number {
  return text.split(character).length - 1;
}

/** The directories above what the pattern matches: of `a/b/**`, `a` and `a/b`, and all below that. */
function leading(parts: readonly string[]): string[] {
  const end = parts.findIndex((part) => part.includes('**'));
  const last = end < 0 ? parts.length - 1 : parts.length;
  const prefixes: string[] = [];
  for (let i = 1; i <= last; i++) if (i < parts.length || end >= 0) prefixes.push(parts.slice(0, i).join('/'));
  return prefixes;
}

function compile(patterns: readonly string[]): Matches {
  if (patterns.length === 0) return NEVER;
  // What is matched comes from guests: no extended globs, whose regular expressions can take for ever.
  return picomatch([...patterns], { dot: true, noextglob: true, nonegate: true, strictSlashes: true });
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(path: ByteString): string {
  return path.split('/').map(decodeName).join('/');
}

function decodeName(name: ByteString): string {
  try {
    return decoder.decode(Uint8Array.from(name, (character) => character.charCodeAt(0)));
  } catch {
    return name;
  }
}
