/** Which system calls bring what was written to the medium, and what follows when they fail. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import type * as Host from '../../../../../host/index.js';
import { Errno } from '../../../../../devices/errno.js';
import { temporaryFolder } from '../../support/files.js';
import { ended, flushed, pattern, put, readBack } from '../../support/vectors.js';

/** The calls of the backend, and what is to become of them. */
const calls = vi.hoisted(() => ({
  log: [] as string[],
  /** Results that calls have instead of their own, by name. */
  results: new Map<string, number>(),
  /** Calls that wait, by name. */
  held: new Map<string, (() => void)[]>(),
}));

vi.mock('../../../../../host/index.js', async (importOriginal) => {
  const host = await importOriginal<typeof Host>();
  /** Notes a call; its last argument is its completion. */
  const noted = <A extends unknown[]>(name: (...args: A) => string, call: (...args: A) => void) => {
    return (...args: A): void => {
      const what = name(...args);
      calls.log.push(what);
      const done = args.at(-1) as (value: number) => void;
      const result = calls.results.get(what);
      const run = () => (result === undefined ? call(...args) : setImmediate(done, result));
      const waiting = calls.held.get(what);
      if (waiting === undefined) run();
      else waiting.push(run);
    };
  };
  return {
    ...host,
    pwritev: (...args: Parameters<typeof host.pwritev>) => {
      calls.log.push('write');
      return host.pwritev(...args);
    },
    pwritev2: (...args: Parameters<typeof host.pwritev2>) => {
      const result = host.pwritev2(...args);
      if (result > 0) calls.log.push('write');
      return result;
    },
    pwritevAsync: noted((_fd) => 'write', host.pwritevAsync),
    pwritev2Async: noted((_fd, _iovecs, _count, _offset, flags) => `write ${flags}`, host.pwritev2Async),
    fdatasyncAsync: noted((_fd) => 'fdatasync', host.fdatasyncAsync),
    fallocateAsync: noted((_fd, mode) => `fallocate ${mode}`, host.fallocateAsync),
  };
});

const { openFileBackend } = await import('../../../../../devices/blk/backends/file/open-file.js');

/** More than is written inline. */
const SIZE = 2 << 20;
const RWF_DSYNC = 2;
const PUNCH_HOLE = 3;
const ZERO_RANGE = 17;

function disk() {
  const path = join(temporaryFolder(), 'disk.img');
  writeFileSync(path, pattern(SIZE, 1));
  const backend = openFileBackend({ path });
  onTestFinished(() => backend.close());
  calls.log.length = 0;
  return backend;
}

beforeEach(() => {
  calls.log.length = 0;
  calls.results.clear();
  calls.held.clear();
});

describe('a flush', () => {
  it('is an fdatasync after the writes that it covers', async () => {
    const backend = disk();
    await put(backend, 0, pattern(4096, 1));
    await put(backend, 512, pattern(512, 1));
    await flushed(backend);
    expect(calls.log).toEqual(['write', 'write', 'fdatasync']);
  });

  it('syncs the first time, whatever was written: somebody may have written before', async () => {
    const backend = disk();
    expect([await flushed(backend), await flushed(backend)]).toEqual([0, 0]);
    expect(calls.log).toEqual(['fdatasync']);
  });

  it.each<[string, (backend: ReturnType<typeof disk>) => Promise<number>]>([
    ['a write', (backend) => put(backend, 0, pattern(4096, 1))],
    ['a write on a thread', (backend) => put(backend, 0, pattern(SIZE, 1))],
    ['zeroes', (backend) => ended((done) => backend.writeZeroes(0, 4096, true, done))],
    ['a discard', (backend) => ended((done) => backend.discard(0, 4096, done))],
    ['a new size', (backend) => backend.resize(2 * SIZE)],
  ])('syncs again after %s', async (_what, change) => {
    const backend = disk();
    await flushed(backend);
    expect(await change(backend)).toBe(0);
    calls.log.length = 0;
    await flushed(backend);
    expect(calls.log).toEqual(['fdatasync']);
  });

  it('that comes while another is under way has a sync of its own, which all who wait share', async () => {
    const backend = disk();
    const syncs: (() => void)[] = [];
    calls.held.set('fdatasync', syncs);
    const first = flushed(backend);
    await put(backend, 0, pattern(4096, 2));
    const others = [flushed(backend), flushed(backend)];
    expect(calls.log).toEqual(['fdatasync', 'write']);
    calls.held.clear();
    syncs[0]();
    expect(await Promise.all([first, ...others])).toEqual([0, 0, 0]);
    expect(calls.log).toEqual(['fdatasync', 'write', 'fdatasync']);
  });

  it('covers a write that ended while the last one was under way', async () => {
    const backend = disk();
    const syncs: (() => void)[] = [];
    calls.held.set('fdatasync', syncs);
    const first = flushed(backend);
    await put(backend, 0, pattern(4096, 2));
    syncs[0]();
    calls.held.clear();
    await first;
    await flushed(backend);
    expect(calls.log).toEqual(['fdatasync', 'write', 'fdatasync']);
  });

  it.each([Errno.EIO, Errno.ENOSPC, Errno.EDQUOT])(
    'that fails with -%i has lost data, and so no later one succeeds',
    async (errno) => {
      const backend = disk();
      await put(backend, 0, pattern(4096, 1));
      calls.results.set('fdatasync', -errno);
      expect(await Promise.all([flushed(backend), flushed(backend)])).toEqual([-errno, -errno]);
      calls.results.clear();
      expect(await flushed(backend)).toBe(-errno);
      expect(await put(backend, 0, pattern(4096, 1))).toBe(0);
      expect(await flushed(backend)).toBe(-errno);
      expect((await readBack(backend, 0, 4096)).equals(pattern(4096, 1))).toBe(true);
    },
  );

  it('that was interrupted is done again', async () => {
    const backend = disk();
    const syncs: (() => void)[] = [];
    calls.results.set('fdatasync', -Errno.EINTR);
    calls.held.set('fdatasync', syncs);
    const flush = flushed(backend);
    calls.results.clear();
    calls.held.clear();
    syncs[0]();
    expect([await flush, calls.log]).toEqual([0, ['fdatasync', 'fdatasync']]);
  });
});

describe('a durable write', () => {
  it('is one call that ends when its data is on the medium', async () => {
    const backend = disk();
    expect(await put(backend, 512, pattern(1024, 1), { durable: true })).toBe(0);
    expect(calls.log).toEqual([`write ${RWF_DSYNC}`]);
  });

  it('that fails may tell of the failure of others, and so no flush succeeds any more', async () => {
    const backend = disk();
    calls.results.set(`write ${RWF_DSYNC}`, -Errno.EIO);
    expect(await put(backend, 0, pattern(512, 1), { durable: true })).toBe(-Errno.EIO);
    calls.results.clear();
    expect(await flushed(backend)).toBe(-Errno.EIO);
  });

  it('that finds no room has lost nothing', async () => {
    const backend = disk();
    calls.results.set(`write ${RWF_DSYNC}`, -Errno.ENOSPC);
    expect(await put(backend, 0, pattern(512, 1), { durable: true })).toBe(-Errno.ENOSPC);
    calls.results.clear();
    expect(await flushed(backend)).toBe(0);
  });
});

describe('zeroes', () => {
  it.each([
    [true, [PUNCH_HOLE, ZERO_RANGE]],
    [false, [ZERO_RANGE]],
  ])(
    'are written where the file system has nothing better, and it is not asked again (unmap: %s)',
    async (unmap, modes) => {
      const backend = disk();
      for (const mode of modes) calls.results.set(`fallocate ${mode}`, -Errno.EOPNOTSUPP);
      const zero = (offset: number, length: number) =>
        ended((done) => backend.writeZeroes(offset, length, unmap, done));
      expect(await zero(512, SIZE - 1024)).toBe(0);
      expect(calls.log).toEqual([...modes.map((mode) => `fallocate ${mode}`), 'write']);
      expect(await zero(0, 512)).toBe(0);
      expect(calls.log.slice(modes.length + 1)).toEqual(['write']);
      const read = await readBack(backend, 0, SIZE);
      expect(read.subarray(0, SIZE - 512).every((byte) => byte === 0)).toBe(true);
      expect(read.subarray(SIZE - 512).equals(pattern(SIZE, 1).subarray(SIZE - 512))).toBe(true);
    },
  );

  it('fail with what the file system says otherwise', async () => {
    const backend = disk();
    calls.results.set(`fallocate ${PUNCH_HOLE}`, -Errno.ENOSPC);
    expect(await ended((done) => backend.writeZeroes(0, 4096, true, done))).toBe(-Errno.ENOSPC);
    expect(await ended((done) => backend.discard(0, 4096, done))).toBe(-Errno.ENOSPC);
  });
});

describe('a write', () => {
  it('that was interrupted on its thread goes on', async () => {
    const backend = disk();
    const writes: (() => void)[] = [];
    calls.results.set('write', -Errno.EINTR);
    calls.held.set('write', writes);
    const bytes = pattern(SIZE, 3);
    await backend.resize(4 * SIZE);
    const write = put(backend, 0, pattern(2 * SIZE, 3));
    calls.results.clear();
    calls.held.clear();
    writes[0]();
    expect(await write).toBe(0);
    expect((await readBack(backend, 0, SIZE)).equals(bytes)).toBe(true);
  });
});
