import { describe, expect, it } from 'vitest';
import { ownerText, parseOwner } from '../../cli/support/owner.js';

describe('whose files are, as typed', () => {
  it.each([
    [['mapped'], { type: 'mapped' }],
    [['squash:1000:100'], { type: 'squash', guest: { uid: 1000, gid: 100 } }],
    [['squash:0:0:1000:100'], { type: 'squash', guest: { uid: 0, gid: 0 }, host: { uid: 1000, gid: 100 } }],
    [
      ['range:0:100000:65536', 'range:70000:1000:1'],
      {
        type: 'ranges',
        uids: [
          { guest: 0, host: 100000, count: 65536 },
          { guest: 70000, host: 1000, count: 1 },
        ],
        gids: [
          { guest: 0, host: 100000, count: 65536 },
          { guest: 70000, host: 1000, count: 1 },
        ],
      },
    ],
    [
      ['user-range:0:1:2', 'group-range:3:4:5'],
      {
        type: 'ranges',
        uids: [{ guest: 0, host: 1, count: 2 }],
        gids: [{ guest: 3, host: 4, count: 5 }],
      },
    ],
  ])('%j is read, and told the same', (words, owner) => {
    expect(parseOwner(words)).toEqual(owner);
    expect(ownerText(parseOwner(words))).toBe(words.join(' '));
  });

  it.each([
    [['root'], /"root" says nothing of owners/],
    [['mapped', 'mapped'], /only ranges may be several/],
    [['squash:1000'], /is not squash:UID:GID/],
    [['squash:1:2:3'], /is not squash:UID:GID/],
    [['squash:me:1'], /"me" is no id/],
    [['squash:1:4294967295'], /"4294967295" is no id/],
    [['range:0:1'], /is not range:FROM:HOST:COUNT/],
    [['range:0:1:0'], /is not range:FROM:HOST:COUNT/],
    [['range:0:1:-1'], /"-1" is no id/],
    [['range:0:1:1', 'mapped'], /is not range:FROM:HOST:COUNT/],
    [['all-range:0:1:1'], /says nothing of owners/],
  ])('%j is refused', (words, message) => {
    expect(() => parseOwner(words)).toThrow(message);
  });
});
