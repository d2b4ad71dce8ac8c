import { describe, expect, it } from 'vitest';
import { PathLock } from '../../../../devices/9p/fs/path-lock.js';

/** Work that notes when it starts, and ends when told. */
function stage() {
  const log: string[] = [];
  const ends = new Map<string, () => void>();
  const work = (name: string) => () => {
    log.push(name);
    return new Promise<void>((resolve) => ends.set(name, resolve));
  };
  const end = async (name: string) => {
    ends.get(name)?.();
    // Those that waited start some microtasks later.
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { log, work, end };
}

describe('the path lock', () => {
  it('lets sharers run together, and those who want it alone after them', async () => {
    const lock = new PathLock();
    const { log, work, end } = stage();
    const all = [
      lock.shared(work('a')),
      lock.shared(work('b')),
      lock.exclusive(work('X')),
      lock.shared(work('c')),
    ];
    expect(log).toEqual(['a', 'b']);
    await end('a');
    expect(log).toEqual(['a', 'b']);
    await end('b');
    expect(log).toEqual(['a', 'b', 'X']);
    await end('X');
    expect(log).toEqual(['a', 'b', 'X', 'c']);
    await end('c');
    await Promise.all(all);
  });

  it('lets in one alone after another, then all sharers at once', async () => {
    const lock = new PathLock();
    const { log, work, end } = stage();
    const all = [
      lock.exclusive(work('X')),
      lock.exclusive(work('Y')),
      lock.shared(work('a')),
      lock.shared(work('b')),
      lock.exclusive(work('Z')),
    ];
    expect(log).toEqual(['X']);
    await end('X');
    expect(log).toEqual(['X', 'Y']);
    await end('Y');
    expect(log).toEqual(['X', 'Y', 'a', 'b']);
    await end('b');
    await end('a');
    expect(log.at(-1)).toBe('Z');
    await end('Z');
    await Promise.all(all);
  });

  it('is free again after work that failed, and passes its result and its failure on', async () => {
    const lock = new PathLock();
    const fail = async (): Promise<never> => {
      throw new Error('broken');
    };
    await expect(lock.exclusive(fail)).rejects.toThrow('broken');
    await expect(lock.shared(fail)).rejects.toThrow('broken');
    await expect(lock.exclusive(async () => 7)).resolves.toBe(7);
  });
});
