/** What of a tree is to outlive the process: the session of the guest that has it, and how far it has numbered its children. */
import { Type } from '@sinclair/typebox';
import type { MountTree } from '../../../devices/9p/fs/mount-tree/mount-tree.js';
import { dataAs } from '../hand-over/movable.js';
import type { KeptParts, ToldPart } from '../../ports/keeping/told.js';
import type { Held } from './held.js';
import type { HeldSession } from './held-session.js';

const TREE = 'tree';
/**
 * Numbers that one process may give to children, so that none is told of each: the next one begins beyond them. The guest's helper answers by these
 * numbers, and is not to be understood as if it spoke of others.
 */
const IDS_EACH = 2 ** 24;
/** Children's numbers have 47 bits: see `FIRST_COMMAND_INODE`. */
const LIVES_MAX = 2 ** 23;
const TreePart = Type.Object({ life: Type.Integer({ minimum: 0, maximum: LIVES_MAX }) });

export class HeldTree implements Held {
  readonly #session: HeldSession;
  readonly #tree: MountTree;

  constructor(session: HeldSession, tree: MountTree) {
    this.#session = session;
    this.#tree = tree;
  }

  set tell(tell: Held['tell']) {
    this.#session.tell = tell;
  }

  get tell(): Held['tell'] {
    return this.#session.tell;
  }

  parts(): ToldPart[] {
    const life = Math.floor(this.#tree.lastId / IDS_EACH);
    return [...this.#session.parts(), { name: TREE, data: { life }, fds: [] }];
  }

  /** @throws ParcelError */
  take(parts: KeptParts): void {
    this.#session.take(parts);
    // A process that did not know of this gave numbers from 1 on.
    const told = parts.get(TREE);
    const life = told === undefined ? 0 : dataAs(TreePart, told.data).life;
    this.#tree.numberAfter(((life + 1) % LIVES_MAX) * IDS_EACH);
  }

  close(): void {
    this.#session.close();
  }
}
