import { ftruncateSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import {
  addressOf,
  closeFd,
  HostError,
  memfdCreate,
  SharedMapping,
  WINDOW_STRIDE_BYTES,
} from '../../host/index.js';
import { collectGarbage, openDescriptors, owned, temporaryDirectory } from './support.js';

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** The line of /proc/self/maps that covers `address`. */
function mapsLine(address: number): string | undefined {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .find((line) => {
      const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
      return range !== null && address >= parseInt(range[1], 16) && address < parseInt(range[2], 16);
    });
}

async function collectedUntil(condition: () => boolean, attempts = 50): Promise<boolean> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (condition()) return true;
    collectGarbage();
    await nextTurn();
  }
  return false;
}

describe('memfdCreate', () => {
  it('makes zeroed memory of the size asked for, which nobody can change', () => {
    const fd = owned(memfdCreate('sealed', 8192));
    const bytes = new Uint8Array(8192).fill(1);
    expect(readSync(fd, bytes, 0, 8192, 0)).toBe(8192);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    expect(() => {
      ftruncateSync(fd, 4096);
    }).toThrow(/EPERM/);
    expect(() => {
      ftruncateSync(fd, 16384);
    }).toThrow(/EPERM/);
  });

  it('reports an impossible size as a HostError and leaks no descriptor', () => {
    const before = openDescriptors();
    expect(() => memfdCreate('negative', -1)).toThrow(HostError);
    expect(openDescriptors()).toBe(before);
  });
});

describe('SharedMapping', () => {
  it('refuses a file shorter than the peer claims, which would fault when touched', () => {
    const fd = owned(memfdCreate('short', 4096));
    expect(() => new SharedMapping(fd, 4097)).toThrow(
      expect.objectContaining({ code: 'EINVAL', syscall: 'mmap' }),
    );
  });

  it('refuses an empty file, a closed descriptor and one that cannot be mapped', () => {
    const path = join(temporaryDirectory(), 'empty');
    const empty = owned(openSync(path, 'w+'));
    expect(() => new SharedMapping(empty)).toThrow(HostError);
    expect(() => new SharedMapping(1_000_000)).toThrow(/EBADF/);
    writeSync(empty, 'x');
    const writeOnly = owned(openSync(path, 'a'));
    expect(() => new SharedMapping(writeOnly)).toThrow(expect.objectContaining({ code: 'EACCES' }));
  });

  it('shares the bytes of the file with everyone who has it, and outlives the descriptor', () => {
    const fd = memfdCreate('shared', 8192);
    const one = new SharedMapping(fd);
    const other = new SharedMapping(fd);
    closeFd(fd);
    one.window(4096, 4)[0] = 42;
    expect(other.window(4090, 10)[6]).toBe(42);
    one.close();
    other.close();
  });

  it('hands out windows of one ArrayBuffer whose address is that of the mapping', () => {
    const mapping = new SharedMapping(owned(memfdCreate('one', MIB)));
    expect(mapping.window(0, 16).buffer).toBe(mapping.window(MIB - 16, 16).buffer);
    expect(addressOf(mapping.window(4096, 1))).toBe(mapping.address + 4096);
    mapping.close();
  });

  it('reaches every byte of a file beyond 4 GiB, through windows that see the same memory', () => {
    const size = 7 * GIB;
    const mapping = new SharedMapping(owned(memfdCreate('large', size)));
    for (const [start, length] of [
      [0, WINDOW_STRIDE_BYTES],
      [WINDOW_STRIDE_BYTES - 1, WINDOW_STRIDE_BYTES],
      [4 * GIB - 4, 8],
      [size - WINDOW_STRIDE_BYTES, WINDOW_STRIDE_BYTES],
      [size - 1, 1],
      [size, 0],
    ]) {
      const view = mapping.window(start, length);
      expect([view.byteLength, addressOf(view)]).toEqual([length, mapping.address + start]);
    }
    mapping.window(4 * GIB - 4, 8)[4] = 7;
    expect(mapping.window(4 * GIB, 1)[0]).toBe(7);
    expect(mapping.window(2 * GIB, WINDOW_STRIDE_BYTES + 0)[2 * GIB - 4]).toBe(0);
    mapping.close();
  });

  it('refuses ranges outside the file and longer than a window guarantees', () => {
    const mapping = new SharedMapping(owned(memfdCreate('range', 4 * GIB)));
    for (const [start, length] of [
      [-1, 2],
      [4 * GIB, 1],
      [4 * GIB - 1, 2],
      [0, WINDOW_STRIDE_BYTES + 1],
      [NaN, 1],
      [0, NaN],
      [0, -1],
    ]) {
      expect(() => mapping.window(start, length)).toThrow(RangeError);
    }
    mapping.close();
  });

  it('cannot be moved to another thread, where nobody would keep the mapping', () => {
    const mapping = new SharedMapping(owned(memfdCreate('pinned', 4096)));
    const { buffer } = mapping.window(0, 4096);
    const copy = structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    expect(buffer.byteLength).toBe(4096);
    expect(addressOf(new Uint8Array(copy))).not.toBe(mapping.address);
    mapping.close();
  });

  it('after close a view reads zeros, may be written, and no longer reaches the file', () => {
    const fd = owned(memfdCreate('stale', 8192));
    const mapping = new SharedMapping(fd);
    const stale = mapping.window(0, 8192);
    stale.fill(5);
    mapping.close();
    mapping.close();
    expect(mapping.closed).toBe(true);
    expect(stale.every((byte) => byte === 0)).toBe(true);
    stale.fill(9);
    const inFile = new Uint8Array(1);
    readSync(fd, inFile, 0, 1, 0);
    expect(inFile[0]).toBe(5);
    expect(() => mapping.window(0, 1)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });

  it('keeps the address range while a view lives, and gives it back once all are collected', async () => {
    const fd = owned(memfdCreate('collected', 64 * MIB));
    // Function scopes of their own: nothing on this stack may hold what is to be collected.
    const views = ((): { address: number; view: Uint8Array | null } => {
      const mapping = new SharedMapping(fd);
      const view = mapping.window(0, MIB);
      mapping.close();
      return { address: mapping.address, view };
    })();
    const inside = views.address + 32 * MIB;
    expect(await collectedUntil(() => mapsLine(inside) === undefined, 5)).toBe(false);
    expect(views.view?.[0]).toBe(0);
    views.view = null;
    expect(await collectedUntil(() => mapsLine(inside) === undefined)).toBe(true);
  });

  it('a mapping that nobody closed is unmapped when it is collected', async () => {
    const fd = owned(memfdCreate('forgotten', 64 * MIB));
    const inside = ((): number => new SharedMapping(fd).address + 32 * MIB)();
    expect(mapsLine(inside)).toContain('forgotten');
    expect(await collectedUntil(() => mapsLine(inside)?.includes('forgotten') !== true)).toBe(true);
  });
});
