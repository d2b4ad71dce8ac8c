import { describe, expect, it } from 'vitest';
import { GivenDescriptors, SavedDescriptors } from '../../devices/state-descriptors.js';

describe('descriptors beside a state', () => {
  it('are numbered in the order in which they were added, each once', () => {
    const saved = new SavedDescriptors();
    expect([saved.add(20), saved.add(7), saved.add(20), saved.add(9)]).toEqual([0, 1, 0, 2]);
    expect(saved.fds).toEqual([20, 7, 9]);
  });

  it('are taken once each, and what is left is known', () => {
    const given = new GivenDescriptors([20, 7, 9]);
    const seven = given.at(1);
    expect(seven?.fd).toBe(7);
    expect(given.left).toEqual([20, 7, 9]);
    expect(seven?.take()).toBe(7);
    expect(given.left).toEqual([20, 9]);
    expect([seven?.fd, seven?.take(), given.at(1)]).toEqual([-1, -1, undefined]);
  });

  it('are not there under an index that a hostile state made up', () => {
    const given = new GivenDescriptors([20]);
    for (const index of [1, -1, 0.5, NaN, 2 ** 32 - 1]) expect(given.at(index)).toBeUndefined();
  });
});
