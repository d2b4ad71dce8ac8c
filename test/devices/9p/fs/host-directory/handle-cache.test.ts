import { openSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  HandleCache,
  MIN_LISTED_HANDLES,
  type HandleOwner,
} from '../../../../../devices/9p/fs/host-directory/handle-cache.js';
import { Errno } from '../../../../../devices/errno.js';

const CAPACITY = 2 * MIN_LISTED_HANDLES;

function owners(howMany: number): HandleOwner[] {
  return Array.from({ length: howMany }, () => ({ fd: -1, pins: 0, newer: null, older: null }));
}

function filled(cache: HandleCache, howMany: number): HandleOwner[] {
  const all = owners(howMany);
  for (const owner of all) cache.add(owner, openSync('/dev/null', 'r'));
  return all;
}

function open(all: readonly HandleOwner[]): number[] {
  return all.flatMap((owner, i) => (owner.fd >= 0 ? [i] : []));
}

describe('the handle cache', () => {
  it('closes the descriptor that was used least recently', () => {
    const cache = new HandleCache(CAPACITY);
    const all = filled(cache, CAPACITY);
    cache.touch(all[0]);
    const [late] = filled(cache, 1);
    expect(open(all)).not.toContain(1);
    expect(open(all)).toContain(0);
    expect(cache.size).toBe(CAPACITY);
    for (const owner of [...all, late]) cache.drop(owner);
    expect(cache.size).toBe(0);
  });

  it('keeps pinned descriptors open, and counts them', () => {
    const cache = new HandleCache(CAPACITY);
    const all = filled(cache, CAPACITY);
    expect(cache.pin(all[3])).toBe(0);
    expect(cache.pin(all[3])).toBe(0);
    const late = filled(cache, CAPACITY);
    expect(all[3].fd).toBeGreaterThanOrEqual(0);
    expect(cache.size).toBe(CAPACITY);
    cache.unpin(all[3]);
    cache.unpin(all[3]);
    const later = filled(cache, CAPACITY);
    expect(all[3].fd).toBe(-1);
    for (const owner of [...late, ...later]) cache.drop(owner);
    expect(cache.size).toBe(0);
  });

  it('refuses pins that would leave nothing to walk with', () => {
    const cache = new HandleCache(CAPACITY);
    const all = filled(cache, CAPACITY);
    const answers = all.map((owner) => cache.pin(owner));
    expect(answers.filter((answer) => answer === 0)).toHaveLength(CAPACITY - MIN_LISTED_HANDLES);
    expect(answers.at(-1)).toBe(-Errno.EMFILE);
    for (const owner of all) cache.drop(owner);
    expect(cache.size).toBe(0);
  });

  it('shrinks by half, but never below what a walk needs', () => {
    const cache = new HandleCache(8 * MIN_LISTED_HANDLES);
    const all = filled(cache, 8 * MIN_LISTED_HANDLES);
    expect(cache.shrink()).toBe(true);
    expect(cache.size).toBe(4 * MIN_LISTED_HANDLES);
    expect(cache.shrink()).toBe(true);
    expect(cache.shrink()).toBe(true);
    expect(cache.size).toBe(MIN_LISTED_HANDLES);
    expect(cache.shrink()).toBe(false);
    for (const owner of all) cache.drop(owner);
  });

  it('drops an owner that has no descriptor without harm', () => {
    const cache = new HandleCache(CAPACITY);
    const [owner] = owners(1);
    cache.drop(owner);
    expect(cache.size).toBe(0);
  });
});
