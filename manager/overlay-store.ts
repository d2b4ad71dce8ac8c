/**
 * What a daemon keeps of overlays: for each tag of a chassis whose changes it keeps, a note of what they are changes of, and the folder that
 * has them where no other was named. It outlives mounts, chassis and daemons: nothing goes but what was committed or dropped.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Type, type Static } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { ChassisError, Owner, Upper } from './control/api.js';

const Note = Type.Object({
  tag: Type.String(),
  /** A directory of the host. */
  source: Type.String(),
  upper: Upper,
  owner: Type.Optional(Owner),
});
export type OverlayNote = Static<typeof Note>;

const NOTE = 'overlay.json';
const UPPER = 'upper';

export class OverlayStore {
  readonly #directory: string;

  /** Of one chassis; the directory is made when something is to be kept. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  get(tag: string): OverlayNote | undefined {
    return readNote(join(this.#folder(tag), NOTE));
  }

  /** All there is, by tag. */
  list(): OverlayNote[] {
    return namesIn(this.#directory)
      .map((name) => readNote(join(this.#directory, name, NOTE)))
      .filter((note) => note !== undefined)
      .sort((a, b) => (a.tag < b.tag ? -1 : 1));
  }

  /** The folder of a tag's changes, whether it is there or not. */
  upperOf(tag: string): string {
    return join(this.#folder(tag), UPPER);
  }

  /**
   * Notes it, and makes the folder where it is kept here. A note that is there is replaced as a whole.
   * @throws ChassisError STATE_UNWRITABLE
   */
  put(note: OverlayNote): void {
    const folder = this.#folder(note.tag);
    const path = join(folder, NOTE);
    try {
      mkdirSync(note.upper.type === 'kept' ? join(folder, UPPER) : folder, { recursive: true, mode: 0o700 });
      writeFileSync(`${path}.new`, JSON.stringify(note), { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (error) {
      throw new ChassisError(
        'STATE_UNWRITABLE',
        `changes cannot be kept in ${folder}: ${(error as Error).message}`,
        'make room there, or keep them elsewhere with --upper',
      );
    }
  }

  /** Forgets a tag, and what is kept here of it. */
  remove(tag: string): void {
    rmSync(this.#folder(tag), { recursive: true, force: true });
    try {
      rmdirSync(this.#directory);
    } catch {
      // Something else is kept there, or it was not there.
    }
  }

  /** Tags may hold anything, and be longer than a file name. */
  #folder(tag: string): string {
    return join(this.#directory, createHash('sha256').update(tag).digest('hex').slice(0, 32));
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** What is no note of ours is none. */
function readNote(path: string): OverlayNote | undefined {
  try {
    const note: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return Value.Check(Note, note) ? note : undefined;
  } catch {
    return undefined;
  }
}
