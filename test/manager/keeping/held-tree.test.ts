/** How far a tree has numbered its children, as one process tells it the next. */
import { expect, it, onTestFinished } from 'vitest';
import { MountTree } from '../../../devices/9p/fs/mount-tree/mount-tree.js';
import { IncomingParcel } from '../../../manager/device-process/hand-over/parcel.js';
import { HeldSession } from '../../../manager/device-process/keeping/held-session.js';
import { HeldTree } from '../../../manager/device-process/keeping/held-tree.js';
import type { KeptParts } from '../../../manager/ports/keeping/told.js';
import { MemoryFileSystem } from '../../devices/9p/server/support/memory-file-system.js';

const EACH = 2 ** 24;

function newTree() {
  const tree = new MountTree({ log: () => undefined });
  tree.add('a', new MemoryFileSystem(), { readOnly: false });
  const held = new HeldTree(new HeldSession(() => undefined), tree);
  onTestFinished(() => held.close());
  return { tree, held };
}

/** Of what a process tells, the part that is the tree's own. */
function told(data: unknown): KeptParts {
  return new Map([['tree', { data, parcel: new IncomingParcel([], []) }]]);
}

it('The next process numbers children beyond all that this one may have given, and so does the one after that', () => {
  const first = newTree();
  expect(first.tree.lastId).toBe(1);
  const second = newTree();
  second.held.take(told(first.held.parts().at(-1)?.data));
  expect(second.tree.lastId).toBe(EACH + 1);
  const third = newTree();
  third.held.take(told(second.held.parts().at(-1)?.data));
  expect(third.tree.lastId).toBe(2 * EACH + 1);
});

it('It does so too after a process that knew nothing of this, and begins again before numbers have no room', () => {
  const { tree, held } = newTree();
  held.take(new Map());
  expect(tree.lastId).toBe(EACH + 1);
  const last = newTree();
  last.held.take(told({ life: 2 ** 23 - 1 }));
  expect(last.tree.lastId).toBe(1);
});

it.each([{}, { life: -1 }, { life: 2 ** 40 }, { life: 1.5 }])(
  'What makes no sense is refused: %j',
  (data) => {
    expect(() => newTree().held.take(told(data))).toThrow(/says what is not known here/);
  },
);
