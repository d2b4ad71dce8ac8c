/**
 * The lines of `ctl/events`, which docs/guest-helper.md describes: words with one blank between them, each made of printable ASCII
 * without blanks and backslashes. Other bytes are \0ooo, which `printf %b` turns back, with nothing but a POSIX shell.
 */
import type { ByteString } from '../file-system.js';
import type { ChangedPath } from './changed-paths.js';
import type { TreeChild } from './tree-child.js';

/** Says that all that was said before is void, and which format follows. */
export const RESET_LINE = 'reset 1\n';
/** Says that all children there are have been told. */
export const READY_LINE = 'ready\n';
/** Stands before lines that ask for a release: who uses what must be found out after this, not remembered. */
export const LOOK_LINE = 'look\n';
/** Stands after lines that tell of changes, where no more of them follow for now, or many have been told: `poked` is the answer. */
export const POKE_LINE = 'poke\n';
const NO_TARGET = '-';
/** Ends the `add` of a child of whose changes on the host the guest is to be told. */
const WATCHED = ' watched';

/** What is wanted of a child now: `add`, `release` or `remove`, its number, its name, and where to mount it. */
export function lineOf(child: TreeChild): string {
  const verb = child.removed ? 'remove' : child.mounting.unwanted ? 'release' : 'add';
  const target = child.target === undefined ? NO_TARGET : escape(child.target);
  return `${verb} ${child.id} ${escape(child.name)} ${target}${verb === 'add' && child.child.watched ? WATCHED : ''}\n`;
}

/** What has changed on the host: a file of a child, by its path below the child's root, or '.' for anything. */
export function changeLineOf({ child, path }: ChangedPath): string {
  return `changed ${escape(child.name)} ${escape(path)}\n`;
}

/** A byte string as one word; `%b` of printf(1) undoes it. Always three digits, as `%b` takes up to three. */
export function escape(bytes: ByteString): string {
  const plain = bytes.replace(/[^!-[\]-~]/g, octal);
  return plain === NO_TARGET ? octal(NO_TARGET) : plain;
}

function octal(character: string): string {
  return `\\0${character.charCodeAt(0).toString(8).padStart(3, '0')}`;
}
