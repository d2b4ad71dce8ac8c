import { fstatSync, openSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { grantPaths, hostPath, takeGranted } from '../../../manager/device-process/host-paths.js';

const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};
const open = (): number => openSync('/dev/null', 'r');

describe('what the daemon opened for a request', () => {
  it('is found by its path for as long as the request is served, and then closed', () => {
    const fd = open();
    const release = grantPaths(new Map([['/srv/a', fd]]));
    expect([hostPath('/srv/a'), hostPath('/srv/b')]).toEqual([`/proc/self/fd/${fd}`, '/srv/b']);
    release();
    expect([hostPath('/srv/a'), isOpen(fd)]).toEqual(['/srv/a', false]);
  });

  it('stays while another request that brought it is served', () => {
    const [first, second] = [open(), open()];
    const releaseFirst = grantPaths(new Map([['/srv/a', first]]));
    const releaseSecond = grantPaths(new Map([['/srv/a', second]]));
    expect(isOpen(first)).toBe(false);
    releaseFirst();
    expect(hostPath('/srv/a')).toBe(`/proc/self/fd/${second}`);
    releaseSecond();
    expect(isOpen(second)).toBe(false);
  });

  it('is the taker’s, once it is taken', () => {
    const fd = open();
    const release = grantPaths(new Map([['tap:t0', fd]]));
    expect([takeGranted('tap:t0'), takeGranted('tap:t0')]).toEqual([fd, undefined]);
    release();
    expect(isOpen(fd)).toBe(true);
  });
});
