/** How data reaches the guest's memory: by address, inline and on threads. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { IoVector } from '../../../../../devices/io-vector.js';
import { OpenFlag, type FsNode, type OpenFile } from '../../../../../devices/9p/fs/file-system.js';
import { addressOf } from '../../../../../host/index.js';
import { attributesOf, count, create, failure, ok, put, read, vector, write } from '../suite/driver.js';
import { Exported } from './exported.js';

const MEBIBYTE = 1 << 20;

function pattern(lengthBytes: number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 13 + (i >> 8)) & 0xff);
}

/** A vector over `bytes` by address, in segments of `segmentBytes`. */
function addressed(bytes: Uint8Array, segmentBytes: number): IoVector {
  const result = new IoVector();
  for (let at = 0; at < bytes.length; at += segmentBytes) {
    const length = Math.min(segmentBytes, bytes.length - at);
    result.push(bytes, at, length, addressOf(bytes) + at);
  }
  return result;
}

/** Throws what the page cache has of a file away. */
function dropCache(path: string): void {
  execFileSync('sync', ['-d', path]);
  execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
}

let exported: Exported;

afterEach(() => {
  exported.remove();
});

describe('native addresses', () => {
  beforeEach(async () => {
    exported = await Exported.make();
  });

  it('are read into and written from, and nothing beside them', async () => {
    const { node, file } = await create(exported.root, 'f');
    const source = pattern(10_000);
    expect(await count(file.write(0, addressed(source, 777)))).toBe(10_000);
    expect(Buffer.compare(readFileSync(exported.at('f')), source)).toBe(0);
    const arena = new Uint8Array(12_000).fill(0xee);
    const into = new IoVector();
    into.push(arena, 1000, 5000, addressOf(arena) + 1000);
    into.push(arena, 6000, 5000, addressOf(arena) + 6000);
    expect(await count(file.read(0, into))).toBe(10_000);
    expect(Buffer.compare(arena.subarray(1000, 11_000), source)).toBe(0);
    expect(arena.subarray(0, 1000).every((byte) => byte === 0xee)).toBe(true);
    expect(arena.subarray(11_000).every((byte) => byte === 0xee)).toBe(true);
    await file.close();
    node.release();
  });

  it('and arrays without one mix in one vector', async () => {
    const { node, file } = await create(exported.root, 'f');
    await write(file, 0, 'hello world');
    const [first, second, third] = [new Uint8Array(4), new Uint8Array(3), new Uint8Array(100)];
    const into = new IoVector();
    into.push(first, 0, 4, addressOf(first));
    into.push(second, 0, 3, 0);
    into.push(third, 0, 100, addressOf(third));
    expect(await count(file.read(0, into))).toBe(11);
    expect(Buffer.concat([first, second, third.subarray(0, 4)]).toString()).toBe('hello world');
    await file.close();
    node.release();
  });
});

describe('data that is not in the page cache', () => {
  beforeEach(async () => {
    exported = await Exported.make();
  });

  it('is fetched by a thread, whole, also where the cache had the beginning', async () => {
    const content = pattern(4 * MEBIBYTE);
    writeFileSync(exported.at('f'), content);
    const node = await ok<FsNode>(exported.root.walk('f'));
    const file = await ok<OpenFile>(node.open(OpenFlag.O_RDONLY));
    dropCache(exported.at('f'));
    await read(file, 0, 4096);
    for (const offset of [0, 2 * MEBIBYTE, 3 * MEBIBYTE]) {
      const into = new Uint8Array(MEBIBYTE);
      expect(await count(file.read(offset, addressed(into, 4096)))).toBe(MEBIBYTE);
      expect(Buffer.compare(into, content.subarray(offset, offset + MEBIBYTE))).toBe(0);
    }
    await file.close();
    node.release();
  });

  it('is fetched by many requests at once, each its own', async () => {
    const content = pattern(8 * MEBIBYTE);
    writeFileSync(exported.at('f'), content);
    const node = await ok<FsNode>(exported.root.walk('f'));
    const file = await ok<OpenFile>(node.open(OpenFlag.O_RDONLY));
    dropCache(exported.at('f'));
    const offsets = Array.from({ length: 64 }, (_, i) => ((i * 37) % 64) * 131_072 + (i % 7));
    await Promise.all(
      offsets.map(async (offset) => {
        const into = new Uint8Array(100_000);
        expect(await count(file.read(offset, addressed(into, 5000)))).toBe(100_000);
        expect(Buffer.compare(into, content.subarray(offset, offset + 100_000))).toBe(0);
      }),
    );
    await file.close();
    node.release();
  });

  it('of synchronous writes by many at once is all there', async () => {
    const { node, file } = await create(exported.root, 'f', OpenFlag.O_RDWR | OpenFlag.O_DSYNC);
    const chunk = 4096;
    const chunks = Array.from({ length: 16 }, (_, i) => new Uint8Array(chunk).fill(i + 1));
    const written = await Promise.all(
      chunks.map((bytes, i) => count(file.write(i * chunk, addressed(bytes, 1000)))),
    );
    expect(written.every((length) => length === chunk)).toBe(true);
    expect(Buffer.compare(readFileSync(exported.at('f')), Buffer.concat(chunks))).toBe(0);
    await file.close();
    node.release();
  });
});

/** A file system of 1 MiB in memory, where the process may mount one. */
function mountSmall(): string | undefined {
  const path = join(tmpdir(), `small-${process.pid}`);
  mkdirSync(path, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', path], { stdio: 'ignore' });
    return path;
  } catch {
    rmdirSync(path);
    return undefined;
  }
}

describe('a full file system', () => {
  const small = mountSmall();

  beforeEach(async () => {
    exported = await Exported.make({}, small);
  });

  afterAll(() => {
    if (small === undefined) return;
    execFileSync('umount', [small]);
    rmdirSync(small);
  });

  it.runIf(small !== undefined)('takes what fits, and says ENOSPC of the rest', async () => {
    const { node, file } = await create(exported.root, 'f');
    const source = pattern(2 * MEBIBYTE);
    const written = await count(file.write(0, addressed(source, 4096)));
    expect(written).toBeGreaterThan(0);
    expect(written).toBeLessThan(source.length);
    expect(await failure(file.write(written, vector(source.subarray(written))))).toBe('ENOSPC');
    expect((await attributesOf(file)).sizeBytes).toBe(written);
    const into = new Uint8Array(source.length);
    expect(await count(file.read(0, addressed(into, 65_536)))).toBe(written);
    expect(Buffer.compare(into.subarray(0, written), source.subarray(0, written))).toBe(0);
    await file.close();
    node.release();
  });

  it('lets files be removed', async () => {
    const node = await put(exported.root, 'f', 'x');
    await count(node.remove());
    expect((await attributesOf(node)).nlink).toBe(0);
    node.release();
  });
});

describe('an error of the descriptor', () => {
  it('is answered as it is', async () => {
    exported = await Exported.make();
    const { node, file } = await create(exported.root, 'f', OpenFlag.O_WRONLY);
    expect(await failure(file.read(0, vector(new Uint8Array(8))))).toBe('EBADF');
    expect(await failure(file.write(-1, vector(new Uint8Array(8))))).toBe('EINVAL');
    await file.close();
    node.release();
  });
});
