/** Reading, writing, cutting and syncing. */
import { describe, expect, it } from 'vitest';
import { IoVector } from '../../../../../devices/io-vector.js';
import { OpenFlag, SetAttr, type OpenFile } from '../../../../../devices/9p/fs/file-system.js';
import {
  attributesOf,
  changes,
  contentOf,
  count,
  create,
  failure,
  ok,
  put,
  read,
  text,
  vector,
  write,
  type Context,
} from './driver.js';

const FIVE_GIB = 5 * 2 ** 30;
/** One byte past what ext4 and most others can address, and past 2^53 for none. */
const BEYOND_ANY_FILE = Number.MAX_SAFE_INTEGER;

function patterned(lengthBytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 0xff);
}

export function dataSuite(context: Context): void {
  describe('data', () => {
    it('comes back from every offset, short at the end and empty beyond it', async () => {
      const { node, file } = await create(context.root, 'f');
      expect(await write(file, 0, 'hello world')).toBe(11);
      expect(await read(file, 0, 100)).toBe('hello world');
      expect(await read(file, 6, 3)).toBe('wor');
      expect(await read(file, 6, 100)).toBe('world');
      expect(await read(file, 11, 10)).toBe('');
      expect(await read(file, 1_000_000, 10)).toBe('');
      expect(await count(file.read(0, new IoVector()))).toBe(0);
      expect(await count(file.write(0, new IoVector()))).toBe(0);
      await file.close();
      node.release();
    });

    it('moves scattered over segments of all sizes, none of which is overrun', async () => {
      const { node, file } = await create(context.root, 'f');
      const sizes = [1, 4096, 3, 512, 70_000, 1, 9];
      const written = sizes.map((size, i) => patterned(size, i));
      const total = sizes.reduce((sum, size) => sum + size, 0);
      expect(await count(file.write(7, vector(...written)))).toBe(total);
      const arena = new Uint8Array(total + 200).fill(0xee);
      const into = new IoVector();
      into.push(arena, 100, 5, 0);
      into.push(arena, 105, total - 5, 0);
      expect(await count(file.read(7, into))).toBe(total);
      expect(Buffer.compare(arena.subarray(100, 100 + total), Buffer.concat(written))).toBe(0);
      expect(arena.subarray(0, 100).every((byte) => byte === 0xee)).toBe(true);
      expect(arena.subarray(100 + total).every((byte) => byte === 0xee)).toBe(true);
      await file.close();
      node.release();
    });

    it('of more segments than one system call takes is read and written whole', async () => {
      const { node, file } = await create(context.root, 'f');
      const chunks = Array.from({ length: 2500 }, (_, i) => patterned(3, i));
      expect(await count(file.write(0, vector(...chunks)))).toBe(7500);
      const back = chunks.map(() => new Uint8Array(3));
      expect(await count(file.read(0, vector(...back)))).toBe(7500);
      expect(Buffer.concat(back).equals(Buffer.concat(chunks))).toBe(true);
      await file.close();
      node.release();
    });

    it('overwritten in the middle leaves the rest alone', async () => {
      const { node, file } = await create(context.root, 'f');
      await write(file, 0, 'hello world');
      await write(file, 6, 'W');
      expect(await read(file, 0, 100)).toBe('hello World');
      await file.close();
      node.release();
    });

    it('written past the end leaves zeros between', async () => {
      const { node, file } = await create(context.root, 'f');
      await write(file, 0, 'ab');
      await write(file, 10_000, 'yz');
      const into = new Uint8Array(20_000).fill(1);
      expect(await count(file.read(0, vector(into)))).toBe(10_002);
      expect(into.subarray(2, 10_000).every((byte) => byte === 0)).toBe(true);
      expect((await attributesOf(file)).sizeBytes).toBe(10_002);
      await file.close();
      node.release();
    });

    it(
      context.capabilities.largeFiles ? 'lies beyond 4 GiB as well' : 'beyond the limit is EFBIG',
      async () => {
        const { node, file } = await create(context.root, 'f');
        if (context.capabilities.largeFiles) {
          expect(await write(file, FIVE_GIB + 3, 'far')).toBe(3);
          expect(await read(file, FIVE_GIB + 2, 10)).toBe('\0far');
          expect((await attributesOf(node)).sizeBytes).toBe(FIVE_GIB + 6);
          const size = changes(SetAttr.P9_ATTR_SIZE, { sizeBytes: FIVE_GIB + 4 });
          await count(file.setattr(size));
          expect(await read(file, FIVE_GIB, 10)).toBe('\0\0\0f');
        } else {
          expect(await failure(file.write(FIVE_GIB, vector(text('far'))))).toBe('EFBIG');
          const size = changes(SetAttr.P9_ATTR_SIZE, { sizeBytes: FIVE_GIB });
          expect(await failure(node.setattr(size))).toBe('EFBIG');
        }
        await file.close();
        node.release();
      },
    );

    it('at the largest offset that a Number holds fails or reads nothing, and that is all', async () => {
      const { node, file } = await create(context.root, 'f');
      expect(await failure(file.write(BEYOND_ANY_FILE, vector(text('x'))))).toMatch(/^(EFBIG|EINVAL|EIO)$/);
      expect(await failure(file.read(BEYOND_ANY_FILE, vector(text('x'))))).toMatch(/^(OK|EINVAL|EOVERFLOW)$/);
      expect((await attributesOf(file)).sizeBytes).toBe(0);
      await file.close();
      node.release();
    });

    it('is cut and grown by size, through the node and through the file', async () => {
      const node = await put(context.root, 'f', 'hello world');
      const size = (sizeBytes: number) => changes(SetAttr.P9_ATTR_SIZE, { sizeBytes });
      await count(node.setattr(size(5)));
      expect(await contentOf(node)).toBe('hello');
      const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      await count(file.setattr(size(2)));
      await count(file.setattr(size(4)));
      expect(await read(file, 0, 10)).toBe('he\0\0');
      expect(await failure(node.setattr(size(-1)))).toBe('EINVAL');
      await file.close();
      node.release();
    });

    it('of a directory cannot be cut: EISDIR', async () => {
      expect(await failure(context.root.setattr(changes(SetAttr.P9_ATTR_SIZE, {})))).toBe('EISDIR');
    });

    it('is synced on request, and written through with O_SYNC', async () => {
      const { node, file } = await create(
        context.root,
        'f',
        OpenFlag.O_RDWR | OpenFlag.O_EXCL | OpenFlag.O_SYNC,
      );
      expect(await write(file, 0, 'durable')).toBe(7);
      expect(await count(file.fsync(false))).toBe(0);
      expect(await count(file.fsync(true))).toBe(0);
      const directory = await ok<OpenFile>(context.root.open(OpenFlag.O_RDONLY));
      expect(await count(directory.fsync(false))).toBe(0);
      await directory.close();
      await file.close();
      expect(await contentOf(node)).toBe('durable');
      node.release();
    });

    it('of a directory cannot be read or written', async () => {
      const directory = await ok<OpenFile>(context.root.open(OpenFlag.O_RDONLY));
      expect(await failure(directory.read(0, vector(new Uint8Array(8))))).toBe('EISDIR');
      expect(await failure(directory.write(0, vector(text('x'))))).toBe('EBADF');
      await directory.close();
      const { node, file } = await create(context.root, 'f');
      expect(await failure(file.readdir(0, { entry: () => true }))).toBe('ENOTDIR');
      await file.close();
      node.release();
    });

    it('written by many at once to their own ranges is all there', async () => {
      const { node, file } = await create(context.root, 'f');
      const chunk = 8192;
      await Promise.all(
        Array.from({ length: 32 }, (_, i) =>
          count(file.write(i * chunk, vector(new Uint8Array(chunk).fill(i)))),
        ),
      );
      const parts = await Promise.all(
        Array.from({ length: 32 }, async (_, i) => {
          const into = new Uint8Array(chunk);
          await count(file.read(i * chunk, vector(into)));
          return into.every((byte) => byte === i);
        }),
      );
      expect(parts.every(Boolean)).toBe(true);
      await file.close();
      node.release();
    });
  });
}
