/** Renaming, by name and by node. */
import { describe, expect, it } from 'vitest';
import type { FsNode } from '../../../../../devices/9p/fs/file-system.js';
import {
  attributesOf,
  contentAt,
  contentOf,
  count,
  create,
  failure,
  inodeOf,
  mkdir,
  names,
  ok,
  put,
  read,
  self,
  write,
  type Context,
} from './driver.js';

export function renamingSuite(context: Context): void {
  describe('renaming', () => {
    it('gives a file another name, under which its node goes on', async () => {
      const node = await put(context.root, 'a', 'content');
      await count(context.root.rename('a', context.root, 'b'));
      expect(await names(context.root)).toEqual(['b']);
      expect(await contentOf(node)).toBe('content');
      await count(node.renameTo(context.root, 'c'));
      expect(await names(context.root)).toEqual(['c']);
      expect(await contentOf(node)).toBe('content');
      node.release();
    });

    it('moves a file between directories, and its parent with it', async () => {
      const from = await mkdir(context.root, 'from');
      const to = await mkdir(context.root, 'to');
      const node = await put(from, 'f', 'moved');
      await count(from.rename('f', to, 'g'));
      expect(await names(from)).toEqual([]);
      expect(await contentAt(to, 'g')).toBe('moved');
      const above = await ok<FsNode>(node.parent());
      expect(inodeOf(await attributesOf(above))).toBe(inodeOf(await attributesOf(to)));
      for (const each of [from, to, node, above]) each.release();
    });

    it('replaces a file, whose open files go on with the old content', async () => {
      const { node: replaced, file } = await create(context.root, 'b');
      await write(file, 0, 'replaced');
      const node = await put(context.root, 'a', 'replacing');
      await count(context.root.rename('a', context.root, 'b'));
      expect(await names(context.root)).toEqual(['b']);
      expect(await contentAt(context.root, 'b')).toBe('replacing');
      expect(await read(file, 0, 100)).toBe('replaced');
      expect(inodeOf(await attributesOf(replaced))).not.toBe(inodeOf(await attributesOf(node)));
      expect(await failure(replaced.remove())).toBe('ESTALE');
      await file.close();
      replaced.release();
      node.release();
    });

    it('of an open file leaves it open', async () => {
      const { node, file } = await create(context.root, 'a');
      await write(file, 0, 'open');
      await count(context.root.rename('a', context.root, 'b'));
      expect(await read(file, 0, 10)).toBe('open');
      await write(file, 4, ' still');
      await file.close();
      expect(await contentOf(node)).toBe('open still');
      node.release();
    });

    it('of a directory takes everything below along', async () => {
      const a = await mkdir(context.root, 'a');
      const b = await mkdir(a, 'b');
      const deep = await put(b, 'f', 'below');
      const other = await mkdir(context.root, 'other');
      await count(context.root.rename('a', other, 'moved'));
      expect(await contentOf(deep)).toBe('below');
      expect(await contentAt(b, 'f')).toBe('below');
      (await put(b, 'g', 'added')).release();
      expect(await names(b)).toEqual(['f', 'g']);
      await count(other.rename('moved', context.root, 'again'));
      expect(await contentOf(deep)).toBe('below');
      for (const node of [a, b, deep, other]) node.release();
    });

    it('replaces an empty directory by a directory, and says ENOTEMPTY of a full one', async () => {
      const a = await mkdir(context.root, 'a');
      (await put(a, 'f', '')).release();
      const empty = await mkdir(context.root, 'empty');
      await count(context.root.rename('a', context.root, 'empty'));
      expect(await names(context.root)).toEqual(['empty']);
      expect(await names(a)).toEqual(['f']);
      (await mkdir(context.root, 'b')).release();
      expect(await failure(context.root.rename('b', context.root, 'empty'))).toBe('ENOTEMPTY');
      expect(await names(context.root)).toEqual(['b', 'empty']);
      a.release();
      empty.release();
    });

    it('does not mix files and directories', async () => {
      (await put(context.root, 'f', '')).release();
      (await mkdir(context.root, 'd')).release();
      expect(await failure(context.root.rename('f', context.root, 'd'))).toBe('EISDIR');
      expect(await failure(context.root.rename('d', context.root, 'f'))).toBe('ENOTDIR');
      expect(await names(context.root)).toEqual(['d', 'f']);
    });

    it('of a directory into itself or below is EINVAL, and changes nothing', async () => {
      const a = await mkdir(context.root, 'a');
      const b = await mkdir(a, 'b');
      expect(await failure(context.root.rename('a', a, 'x'))).toBe('EINVAL');
      expect(await failure(context.root.rename('a', b, 'x'))).toBe('EINVAL');
      expect(await failure(a.renameTo(b, 'x'))).toBe('EINVAL');
      expect(await names(context.root)).toEqual(['a']);
      expect(await names(a)).toEqual(['b']);
      a.release();
      b.release();
    });

    it('onto itself does nothing, and neither does it between two names of one file', async () => {
      const node = await put(context.root, 'a', 'one file');
      await count(context.root.link('b', node));
      const other = await ok<FsNode>(context.root.walk('b'));
      await count(context.root.rename('a', context.root, 'a'));
      await count(context.root.rename('a', context.root, 'b'));
      expect(await names(context.root)).toEqual(['a', 'b']);
      expect(await contentAt(context.root, 'a')).toBe('one file');
      await count(other.remove());
      await count(node.remove());
      expect(await names(context.root)).toEqual([]);
      node.release();
      other.release();
    });

    it('of what is not there is ENOENT, and into a file ENOTDIR', async () => {
      const file = await put(context.root, 'f', '');
      expect(await failure(context.root.rename('none', context.root, 'x'))).toBe('ENOENT');
      expect(await failure(context.root.rename('f', file, 'x'))).toBe('ENOTDIR');
      expect(await failure(context.root.renameTo(context.root, 'x'))).toMatch(/^(EBUSY|EINVAL)$/);
      file.release();
    });

    it('of a symbolic link moves the link, not what it names', async () => {
      (await put(context.root, 'target', 'stays')).release();
      (await ok<FsNode>(context.root.symlink('s', 'target', self))).release();
      await count(context.root.rename('s', context.root, 't'));
      expect(await names(context.root)).toEqual(['t', 'target']);
      const link = await ok<FsNode>(context.root.walk('t'));
      expect(await link.readlink()).toBe('target');
      link.release();
    });

    it('back and forth, many at once, loses no file', async () => {
      const a = await mkdir(context.root, 'a');
      const b = await mkdir(context.root, 'b');
      for (let i = 0; i < 20; i++) (await put(a, `f${i}`, `${i}`)).release();
      await Promise.all(Array.from({ length: 20 }, (_, i) => count(a.rename(`f${i}`, b, `g${i}`))));
      await Promise.all(Array.from({ length: 20 }, (_, i) => count(b.rename(`g${i}`, a, `f${i}`))));
      expect(await names(a)).toHaveLength(20);
      expect(await contentAt(a, 'f7')).toBe('7');
      a.release();
      b.release();
    });
  });
}
