/** What guests changed in overlays, for people. */
import type { Change, KeptOverlay, Upper } from '../../manager/control/api.js';

/** As `git diff --name-status` has them; M with an m for what is about the file and not in it. */
const LETTERS: Record<Change['kind'], string> = {
  added: 'A',
  changed: 'M',
  metadata: 'm',
  removed: 'D',
  renamed: 'R',
};

/** `M  /src/main.c`, `R  /old -> /new`, directories with a slash at their end. */
export function changeText({ kind, path, type, from }: Change): string {
  const end = type === 'directory' && path !== '/' ? '/' : '';
  const name = `${pathText(path)}${end}`;
  return `${LETTERS[kind]}  ${from === undefined ? name : `${pathText(from)}${end} -> ${name}`}`;
}

/** A guest chooses names: what could move a terminal's cursor, or turn the order of letters round, is shown as it would be written. */
export function pathText(path: string): string {
  // eslint-disable-next-line no-control-regex
  if (!/[\x00-\x1f\x7f-\x9f"\u200e\u200f\u2028-\u202e\u2066-\u2069]/.test(path)) return path;
  return quoted(path);
}

/** As it would be written in JSON, by ASCII where it would not be seen as it is. */
export function quoted(text: string): string {
  return JSON.stringify(text).replace(/[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** A text of somebody else's within a message of ours: on one line, with nothing in it that a terminal would obey. */
export function plainText(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, (character) =>
    quoted(character).slice(1, -1),
  );
}

export function countText(count: number): string {
  return `${count} ${count === 1 ? 'change' : 'changes'}`;
}

export function upperText(upper: Upper): string {
  return upper.type === 'memory' ? 'memory' : upper.path;
}

/** Where changes are that no mount shows, and what to do with them. */
export function keptText({ tag, source }: KeptOverlay): string {
  return `changes of ${source} are kept for ${tag}: chassis diff ${tag}, then commit ${tag} or discard ${tag}`;
}
