/** Making and removing directories and files. */
import { describe, expect, it } from 'vitest';
import { Errno, isFailure } from '../../../../../devices/errno.js';
import {
  Attributes,
  FileMode,
  OpenFlag,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import {
  attributesOf,
  contentOf,
  count,
  create,
  failure,
  mkdir,
  names,
  ok,
  put,
  read,
  self,
  write,
  type Context,
} from './driver.js';

export function directoriesSuite(context: Context): void {
  describe('making directories', () => {
    it('gives an empty directory with the mode asked for', async () => {
      const directory = await mkdir(context.root, 'd', 0o775);
      expect((await attributesOf(directory)).mode.toString(8)).toBe((FileMode.S_IFDIR | 0o775).toString(8));
      expect(await names(directory)).toEqual([]);
      directory.release();
    });

    it('is EEXIST where anything has the name, and ENOTDIR below a file', async () => {
      const file = await put(context.root, 'f', '');
      (await mkdir(context.root, 'd')).release();
      expect(await failure(context.root.mkdir('f', 0o755, self))).toBe('EEXIST');
      expect(await failure(context.root.mkdir('d', 0o755, self))).toBe('EEXIST');
      expect(await failure(file.mkdir('x', 0o755, self))).toBe('ENOTDIR');
      file.release();
    });

    it(context.capabilities.deepPaths ? 'goes as deep as one likes' : 'ends with ENAMETOOLONG', async () => {
      let node = await mkdir(context.root, 'd');
      let answer: FsNode | number = 0;
      for (let depth = 0; depth < 300; depth++) {
        answer = await node.mkdir('n'.repeat(20), 0o755, self);
        if (isFailure(answer)) break;
        node.release();
        node = answer;
      }
      if (context.capabilities.deepPaths) {
        (await put(node, 'f', 'deep')).release();
        expect(await names(node)).toEqual(['f']);
      } else {
        expect(answer).toBe(-Errno.ENAMETOOLONG);
      }
      node.release();
    });
  });

  describe('removing', () => {
    it('takes away files and empty directories', async () => {
      (await put(context.root, 'f', '')).release();
      (await mkdir(context.root, 'd')).release();
      await count(context.root.unlink('f', false));
      await count(context.root.unlink('d', true));
      expect(await names(context.root)).toEqual([]);
      expect(await failure(context.root.walk('f'))).toBe('ENOENT');
      expect(await failure(context.root.unlink('f', false))).toBe('ENOENT');
    });

    it('says ENOTEMPTY, EISDIR and ENOTDIR where that is so', async () => {
      const directory = await mkdir(context.root, 'd');
      const file = await put(directory, 'f', 'stays');
      expect(await failure(context.root.unlink('d', true))).toBe('ENOTEMPTY');
      expect(await failure(directory.remove())).toBe('ENOTEMPTY');
      expect(await failure(context.root.unlink('d', false))).toBe('EISDIR');
      expect(await failure(directory.unlink('f', true))).toBe('ENOTDIR');
      expect(await failure(file.unlink('x', false))).toBe('ENOTDIR');
      expect(await contentOf(file)).toBe('stays');
      directory.release();
      file.release();
    });

    it('of the root is refused', async () => {
      expect(await failure(context.root.remove())).toBe('EBUSY');
    });

    it('by the node itself works after it was renamed, once', async () => {
      const node = await put(context.root, 'f', '');
      const directory = await mkdir(context.root, 'd');
      await count(context.root.rename('f', directory, 'g'));
      await count(node.remove());
      expect(await names(directory)).toEqual([]);
      expect(await failure(node.remove())).toBe('ESTALE');
      node.release();
      await count(directory.remove());
      expect(await names(context.root)).toEqual([]);
      directory.release();
    });

    it('does not take a file that got the name later: ESTALE', async () => {
      const old = await put(context.root, 'f', 'old');
      await count(context.root.unlink('f', false));
      const fresh = await put(context.root, 'f', 'new');
      expect(await failure(old.remove())).toBe('ESTALE');
      expect(await failure(old.renameTo(context.root, 'g'))).toBe('ESTALE');
      expect(await contentOf(fresh)).toBe('new');
      old.release();
      fresh.release();
    });

    it('leaves open files readable, writable and with attributes', async () => {
      const { node, file } = await create(context.root, 'f');
      await write(file, 0, 'before');
      await count(context.root.unlink('f', false));
      expect(await write(file, 6, ' after')).toBe(6);
      expect(await read(file, 0, 100)).toBe('before after');
      expect((await attributesOf(file)).sizeBytes).toBe(12);
      expect((await attributesOf(file)).nlink).toBe(0);
      expect((await attributesOf(node)).sizeBytes).toBe(12);
      await file.close();
      node.release();
      expect(await names(context.root)).toEqual([]);
    });

    it('keeps the unlinked file apart from a new one of its name', async () => {
      const { node, file } = await create(context.root, 'f');
      await write(file, 0, 'old');
      await count(context.root.unlink('f', false));
      const fresh = await put(context.root, 'f', 'new file');
      expect(await read(file, 0, 100)).toBe('old');
      expect((await attributesOf(node)).sizeBytes).toBe(3);
      await file.close();
      node.release();
      fresh.release();
    });

    it(
      context.capabilities.namelessNodes
        ? 'leaves a node that a fid holds, which can even be opened'
        : 'makes a node that is not open stale',
      async () => {
        const node = await put(context.root, 'f', 'nameless');
        await count(context.root.unlink('f', false));
        if (context.capabilities.namelessNodes) {
          expect((await attributesOf(node)).nlink).toBe(0);
          expect(await contentOf(node)).toBe('nameless');
        } else {
          expect(await failure(node.open(OpenFlag.O_RDONLY))).toBe('ESTALE');
        }
        node.release();
      },
    );

    it(
      context.capabilities.namelessNodes
        ? 'leaves a node that was open at the time, once that open file is closed'
        : 'makes a node that was open at the time stale, once that open file is closed',
      async () => {
        const { node, file } = await create(context.root, 'f');
        await count(context.root.unlink('f', false));
        await file.close();
        if (context.capabilities.namelessNodes) expect((await attributesOf(node)).nlink).toBe(0);
        else expect(await failure(node.getattr(new Attributes()))).toBe('ESTALE');
        node.release();
      },
    );

    it('of a directory leaves who stands in it with nothing but ENOENT', async () => {
      const directory = await mkdir(context.root, 'd');
      const open = await ok<OpenFile>(directory.open(OpenFlag.O_RDONLY));
      await count(context.root.unlink('d', true));
      expect(await failure(directory.walk('x'))).toMatch(/^(ENOENT|ESTALE)$/);
      expect(await failure(directory.mkdir('x', 0o755, self))).toMatch(/^(ENOENT|ESTALE)$/);
      const seen: string[] = [];
      await open.readdir(0, { entry: (name) => seen.push(name) > 0 });
      expect(seen.filter((name) => name !== '.' && name !== '..')).toEqual([]);
      const above = await ok<FsNode>(directory.parent());
      above.release();
      await open.close();
      directory.release();
    });
  });
}
