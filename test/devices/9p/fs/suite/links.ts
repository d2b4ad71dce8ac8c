/** Hard links, symbolic links and special files. */
import { describe, expect, it } from 'vitest';
import { FileMode, OpenFlag, SetAttr, type FsNode } from '../../../../../devices/9p/fs/file-system.js';
import {
  attributesOf,
  changes,
  contentAt,
  contentOf,
  count,
  failure,
  inodeOf,
  mkdir,
  names,
  ok,
  put,
  self,
  type Context,
} from './driver.js';

export function linksSuite(context: Context): void {
  describe('hard links', () => {
    it('are two names of one file', async () => {
      const node = await put(context.root, 'a', 'shared');
      const directory = await mkdir(context.root, 'd');
      await count(directory.link('b', node));
      const other = await ok<FsNode>(directory.walk('b'));
      expect(inodeOf(await attributesOf(other))).toBe(inodeOf(await attributesOf(node)));
      expect((await attributesOf(node)).nlink).toBe(2);
      await count(context.root.unlink('a', false));
      expect(await contentOf(other)).toBe('shared');
      expect((await attributesOf(other)).nlink).toBe(1);
      for (const each of [node, directory, other]) each.release();
    });

    it('are EEXIST over anything, and EPERM to a directory', async () => {
      const node = await put(context.root, 'a', '');
      const directory = await mkdir(context.root, 'd');
      expect(await failure(context.root.link('a', node))).toBe('EEXIST');
      expect(await failure(context.root.link('d', node))).toBe('EEXIST');
      expect(await failure(context.root.link('x', directory))).toBe('EPERM');
      node.release();
      directory.release();
    });

    it('to a symbolic link are links to the link', async () => {
      const link = await ok<FsNode>(context.root.symlink('s', 'nowhere', self));
      await count(context.root.link('t', link));
      const other = await ok<FsNode>(context.root.walk('t'));
      expect(await other.readlink()).toBe('nowhere');
      link.release();
      other.release();
    });
  });

  describe('symbolic links', () => {
    it('keep any target as it is, and are read as data', async () => {
      const targets = ['f', '../../../etc/passwd', '/etc/passwd', '/', '..', './/f/', 'x'.repeat(4095)];
      for (const [i, target] of targets.entries()) {
        const link = await ok<FsNode>(context.root.symlink(`s${i}`, target, self));
        expect(await link.readlink()).toBe(target);
        const attributes = await attributesOf(link);
        expect(attributes.mode & FileMode.S_IFMT).toBe(FileMode.S_IFLNK);
        expect(attributes.sizeBytes).toBe(target.length);
        link.release();
      }
    });

    it('have a target of 1 to 4,095 bytes without NUL', async () => {
      expect(await failure(context.root.symlink('s', '', self))).toBe('ENOENT');
      expect(await failure(context.root.symlink('s', 'x'.repeat(4096), self))).toBe('ENAMETOOLONG');
      expect(await failure(context.root.symlink('s', 'a\0b', self))).toBe('EINVAL');
      expect(await names(context.root)).toEqual([]);
    });

    it('are EEXIST over anything', async () => {
      (await put(context.root, 'f', '')).release();
      expect(await failure(context.root.symlink('f', 'x', self))).toBe('EEXIST');
    });

    it('are never followed: not by a walk, not by an open, not by a change of attributes', async () => {
      const directory = await mkdir(context.root, 'd');
      const target = await put(directory, 'f', 'target');
      const toDirectory = await ok<FsNode>(context.root.symlink('to-d', 'd', self));
      const toFile = await ok<FsNode>(context.root.symlink('to-f', 'd/f', self));
      const before = await attributesOf(target);
      expect(await failure(toDirectory.walk('f'))).toBe('ENOTDIR');
      expect(await failure(toDirectory.create('x', OpenFlag.O_CREAT, 0o644, self))).toBe('ENOTDIR');
      expect(await failure(toDirectory.open(OpenFlag.O_RDONLY | OpenFlag.O_DIRECTORY))).toBe('ELOOP');
      expect(await failure(toDirectory.mkdir('x', 0o755, self))).toBe('ENOTDIR');
      expect(await failure(toDirectory.unlink('f', false))).toBe('ENOTDIR');
      expect(await failure(toDirectory.rename('f', context.root, 'x'))).toBe('ENOTDIR');
      expect(await failure(directory.rename('f', toDirectory, 'x'))).toBe('ENOTDIR');
      expect(await failure(toFile.open(OpenFlag.O_RDWR))).toBe('ELOOP');
      expect(await failure(toFile.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o600 })))).toBe(
        'EOPNOTSUPP',
      );
      expect(await failure(toFile.setattr(changes(SetAttr.P9_ATTR_SIZE, { sizeBytes: 0 })))).toBe('EINVAL');
      const times = SetAttr.P9_ATTR_MTIME | SetAttr.P9_ATTR_MTIME_SET;
      const setTimes = toFile.setattr(changes(times, { mtimeSeconds: 1_000_000 }));
      if (context.capabilities.fixedLinkTimes === true) {
        expect(await failure(setTimes)).toBe('EOPNOTSUPP');
      } else {
        await count(setTimes);
        expect((await attributesOf(toFile)).mtimeSeconds).toBe(1_000_000);
      }
      const after = await attributesOf(target);
      expect(after).toEqual(before);
      for (const node of [directory, target, toDirectory, toFile]) node.release();
    });

    it('are removed and replaced without touching what they name', async () => {
      const directory = await mkdir(context.root, 'd');
      (await put(directory, 'f', 'stays')).release();
      const link = await ok<FsNode>(context.root.symlink('s', 'd', self));
      expect(await failure(context.root.unlink('s', true))).toBe('ENOTDIR');
      await count(link.remove());
      (await ok<FsNode>(context.root.symlink('t', 'd/f', self))).release();
      (await put(context.root, 'g', 'replacing')).release();
      await count(context.root.rename('g', context.root, 't'));
      expect(await contentAt(context.root, 't')).toBe('replacing');
      expect(await contentAt(directory, 'f')).toBe('stays');
      link.release();
      directory.release();
    });

    it('are what readlink is for: EINVAL of anything else', async () => {
      const file = await put(context.root, 'f', '');
      expect(await failure(file.readlink())).toBe('EINVAL');
      expect(await failure(context.root.readlink())).toBe('EINVAL');
      file.release();
    });
  });

  describe('special files', () => {
    it('of no device can be made, regular ones too', async () => {
      const regular = await ok<FsNode>(context.root.mknod('r', FileMode.S_IFREG | 0o640, 0, self));
      expect((await attributesOf(regular)).mode).toBe(FileMode.S_IFREG | 0o640);
      regular.release();
      for (const [name, type] of [
        ['p', FileMode.S_IFIFO],
        ['s', FileMode.S_IFSOCK],
      ] as const) {
        if (!context.capabilities.specialFiles) {
          expect(await failure(context.root.mknod(name, type | 0o600, 0, self))).toBe('EPERM');
          continue;
        }
        const node = await ok<FsNode>(context.root.mknod(name, type | 0o660, 0, self));
        expect((await attributesOf(node)).mode).toBe(type | 0o660);
        expect(await failure(context.root.mknod(name, type | 0o660, 0, self))).toBe('EEXIST');
        node.release();
      }
    });

    it(
      context.capabilities.deviceNodes === true ? 'of devices can be made' : 'of devices are EPERM',
      async () => {
        if (context.capabilities.deviceNodes === true) {
          const node = await ok<FsNode>(context.root.mknod('c', FileMode.S_IFCHR | 0o600, 0x103, self));
          expect(await attributesOf(node)).toMatchObject({ mode: FileMode.S_IFCHR | 0o600, rdev: 0x103 });
          expect(await failure(node.open(OpenFlag.O_RDWR))).toBe('EACCES');
          node.release();
          return;
        }
        expect(await failure(context.root.mknod('c', FileMode.S_IFCHR | 0o600, 0x103, self))).toBe('EPERM');
        expect(await failure(context.root.mknod('b', FileMode.S_IFBLK | 0o600, 0x800, self))).toBe('EPERM');
        expect(await failure(context.root.mknod('d', FileMode.S_IFDIR | 0o600, 0, self))).toMatch(
          /^(EINVAL|EPERM)$/,
        );
        expect(await names(context.root)).toEqual([]);
      },
    );
  });
}
