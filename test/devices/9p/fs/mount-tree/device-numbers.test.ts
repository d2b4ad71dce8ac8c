import { expect, it } from 'vitest';
import { DeviceNumbers, TREE_DEVICE } from '../../../../../devices/9p/fs/mount-tree/device-numbers.js';
import { Qid } from '../../../../../devices/9p/protocol/replies.js';
import { QidMapper } from '../../../../../devices/9p/server/qid-mapper.js';
import { Errno } from '../../../../../devices/errno.js';

const MAX = 32_768;

it('Device numbers do not run out, nor does a server’s room for them, however many children come and go', () => {
  const numbers = new DeviceNumbers();
  const qids = new QidMapper();
  const qid = new Qid();
  expect(qids.mapInode(TREE_DEVICE, 1, 0, qid)).toBe(0);
  const lastUsed = new Map<number, number>();
  let reusedAfter = Infinity;
  const held = [numbers.take(), numbers.take()];
  for (let i = 0; i < 4 * MAX; i++) {
    const number = numbers.take();
    expect(held.includes(number)).toBe(false);
    if (qids.mapInode(number, 1, 0, qid) !== 0) throw new Error(`no room for device ${number}`);
    reusedAfter = Math.min(reusedAfter, i - (lastUsed.get(number) ?? -Infinity));
    lastUsed.set(number, i);
    numbers.giveBack(number);
  }
  // The one that was given back first comes first: a guest has long forgotten its files.
  expect(reusedAfter).toBe(MAX - held.length);
});

it('Device numbers are each given to one, and one too many is EOVERFLOW', () => {
  const numbers = new DeviceNumbers();
  const taken = new Set(Array.from({ length: MAX }, () => numbers.take()));
  expect([taken.size, taken.has(TREE_DEVICE)]).toEqual([MAX, false]);
  expect(numbers.take()).toBe(-Errno.EOVERFLOW);
  numbers.giveBack(7);
  expect([numbers.take(), numbers.take()]).toEqual([7, -Errno.EOVERFLOW]);
});
