/** Walking, creating and opening. */
import { describe, expect, it } from 'vitest';
import {
  FileMode,
  OpenFlag,
  type Created,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import {
  attributesOf,
  contentAt,
  contentOf,
  create,
  failure,
  inodeOf,
  mkdir,
  named,
  names,
  ok,
  put,
  read,
  self,
  text,
  vector,
  write,
  type Context,
} from './driver.js';

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, O_APPEND, O_DIRECTORY } = OpenFlag;

export function openingSuite(context: Context): void {
  describe('walking', () => {
    it('leads to a file and back up to the directory', async () => {
      const a = await mkdir(context.root, 'a');
      const made = await put(a, 'f', 'hello');
      const found = await ok<FsNode>(a.walk('f'));
      expect(inodeOf(await attributesOf(found))).toBe(inodeOf(await attributesOf(made)));
      const above = await ok<FsNode>(found.parent());
      expect(inodeOf(await attributesOf(above))).toBe(inodeOf(await attributesOf(a)));
      for (const node of [a, made, found, above]) node.release();
    });

    it('to a name that is not there is ENOENT, and below a file ENOTDIR', async () => {
      const file = await put(context.root, 'f', '');
      expect(await failure(context.root.walk('g'))).toBe('ENOENT');
      expect(await failure(file.walk('g'))).toBe('ENOTDIR');
      file.release();
    });

    it('refuses names that could lead elsewhere, and tells nothing of what is there', async () => {
      const a = await mkdir(context.root, 'a');
      for (const name of ['..', '.', '', 'a/b', '/', '../a', 'a\0']) {
        expect(await failure(context.root.walk(name)), JSON.stringify(name)).toMatch(/^(EINVAL|ENOENT)$/);
        expect(await failure(a.mkdir(name, 0o755, self)), JSON.stringify(name)).toMatch(/^(EINVAL|ENOENT)$/);
        expect(await failure(a.create(name, O_CREAT | O_RDWR, 0o644, self))).toMatch(/^(EINVAL|ENOENT)$/);
        expect(await failure(a.unlink(name, false))).toMatch(/^(EINVAL|ENOENT)$/);
        expect(await failure(a.symlink(name, 'x', self))).toMatch(/^(EINVAL|ENOENT)$/);
        expect(await failure(context.root.rename('a', a, name))).toMatch(/^(EINVAL|ENOENT)$/);
        expect(await failure(a.rename(name, context.root, 'b'))).toMatch(/^(EINVAL|ENOENT)$/);
      }
      a.release();
    });

    it('takes names of 255 bytes and says ENAMETOOLONG of longer ones', async () => {
      const longest = 'n'.repeat(255);
      (await put(context.root, longest, 'long')).release();
      expect(await contentAt(context.root, longest)).toBe('long');
      const wide = named('ä').repeat(127);
      (await put(context.root, wide, 'wide')).release();
      expect(await names(context.root)).toEqual([longest, wide]);
      expect(await failure(context.root.walk('n'.repeat(256)))).toBe('ENAMETOOLONG');
      expect(await failure(context.root.mkdir(named('ä').repeat(128), 0o755, self))).toBe('ENAMETOOLONG');
    });

    it(
      context.capabilities.rawNames
        ? 'keeps names that are no UTF-8 byte for byte'
        : 'says EINVAL of names that are no UTF-8',
      async () => {
        const name = '\xff\xfe\x01\x80 \n';
        if (!context.capabilities.rawNames) {
          expect(await failure(context.root.create(name, O_CREAT | O_RDWR, 0o644, self))).toBe('EINVAL');
          expect(await failure(context.root.walk(name))).toBe('EINVAL');
          expect(await failure(context.root.symlink('s', '\xff', self))).toBe('EINVAL');
          return;
        }
        (await put(context.root, name, 'raw')).release();
        expect(await names(context.root)).toEqual([name]);
        expect(await contentAt(context.root, name)).toBe('raw');
      },
    );

    it('gives nodes of one name that outlive each other', async () => {
      const first = await put(context.root, 'f', 'shared');
      const second = await ok<FsNode>(context.root.walk('f'));
      first.release();
      expect(await contentOf(second)).toBe('shared');
      second.retain();
      second.release();
      expect(await contentOf(second)).toBe('shared');
      second.release();
    });
  });

  describe('creating', () => {
    it('makes an empty regular file with the mode asked for', async () => {
      const { node, file } = await create(context.root, 'f', O_RDWR | O_EXCL, 0o664);
      const attributes = await attributesOf(node);
      expect(attributes.mode.toString(8)).toBe((FileMode.S_IFREG | 0o664).toString(8));
      expect(attributes.sizeBytes).toBe(0);
      expect(attributes.nlink).toBe(1);
      expect(inodeOf(await attributesOf(file))).toBe(inodeOf(attributes));
      await file.close();
      node.release();
    });

    it('with O_EXCL is EEXIST where there is a file, a directory, or a dangling link', async () => {
      (await put(context.root, 'f', '')).release();
      (await mkdir(context.root, 'd')).release();
      (await ok<FsNode>(context.root.symlink('s', 'nowhere', self))).release();
      for (const name of ['f', 'd', 's']) {
        expect(await failure(context.root.create(name, O_CREAT | O_EXCL | O_RDWR, 0o644, self)), name).toBe(
          'EEXIST',
        );
      }
    });

    it('without O_EXCL opens what is there, and cuts it with O_TRUNC only', async () => {
      (await put(context.root, 'f', 'kept')).release();
      const opened = await create(context.root, 'f', O_RDWR);
      expect(await read(opened.file, 0, 10)).toBe('kept');
      const cut = await create(context.root, 'f', O_RDWR | O_TRUNC);
      expect(await read(cut.file, 0, 10)).toBe('');
      for (const { node, file } of [opened, cut]) {
        await file.close();
        node.release();
      }
    });

    it('through a symbolic link is ELOOP, over a directory EISDIR, in a file ENOTDIR', async () => {
      const file = await put(context.root, 'f', '');
      (await mkdir(context.root, 'd')).release();
      (await ok<FsNode>(context.root.symlink('s', 'f', self))).release();
      expect(await failure(context.root.create('s', O_CREAT | O_RDWR, 0o644, self))).toBe('ELOOP');
      expect(await failure(context.root.create('d', O_CREAT | O_RDWR, 0o644, self))).toBe('EISDIR');
      expect(await failure(file.create('x', O_CREAT | O_RDWR, 0o644, self))).toBe('ENOTDIR');
      file.release();
    });

    it('gives a file that can be written although its mode forbids it', async () => {
      const { node, file } = await create(context.root, 'f', O_RDWR | O_EXCL, 0o400);
      expect(await write(file, 0, 'locked')).toBe(6);
      expect(await read(file, 0, 10)).toBe('locked');
      await file.close();
      node.release();
    });

    it('of the same name by many at once makes one file', async () => {
      const made = await Promise.all(
        Array.from({ length: 20 }, () =>
          ok<Created>(context.root.create('f', O_CREAT | O_RDWR, 0o644, self)),
        ),
      );
      const inodes = new Set<string>();
      for (const { node, file } of made) {
        inodes.add(inodeOf(await attributesOf(file)));
        await file.close();
        node.release();
      }
      expect(inodes.size).toBe(1);
    });
  });

  describe('opening', () => {
    it('for reading refuses writes, and for writing refuses reads, with EBADF', async () => {
      const node = await put(context.root, 'f', 'content');
      const reader = await ok<OpenFile>(node.open(O_RDONLY));
      expect(await failure(reader.write(0, bytes('x')))).toBe('EBADF');
      const writer = await ok<OpenFile>(node.open(O_WRONLY));
      expect(await failure(writer.read(0, bytes('xxxx')))).toBe('EBADF');
      await reader.close();
      await writer.close();
      expect(await contentOf(node)).toBe('content');
      node.release();
    });

    it('a directory for writing is EISDIR, a file as a directory ENOTDIR, a link ELOOP', async () => {
      const directory = await mkdir(context.root, 'd');
      const file = await put(context.root, 'f', '');
      const link = await ok<FsNode>(context.root.symlink('s', 'f', self));
      expect(await failure(directory.open(O_RDWR))).toBe('EISDIR');
      expect(await failure(directory.open(O_WRONLY))).toBe('EISDIR');
      expect(await failure(file.open(O_RDONLY | O_DIRECTORY))).toBe('ENOTDIR');
      expect(await failure(link.open(O_RDONLY))).toBe('ELOOP');
      expect(await failure(file.open(3))).toBe('EINVAL');
      for (const node of [directory, file, link]) node.release();
    });

    it('with O_TRUNC empties the file', async () => {
      const node = await put(context.root, 'f', 'content');
      const file = await ok<OpenFile>(node.open(O_RDWR | O_TRUNC));
      expect((await attributesOf(file)).sizeBytes).toBe(0);
      await file.close();
      node.release();
    });

    it('with O_APPEND writes at the end, whatever the offset', async () => {
      const node = await put(context.root, 'f', 'one');
      const file = await ok<OpenFile>(node.open(O_RDWR | O_APPEND));
      await write(file, 0, ' two');
      await write(file, 1000, ' three');
      expect(await read(file, 0, 100)).toBe('one two three');
      await file.close();
      node.release();
    });

    it('with flags that mean nothing to a file on disk works', async () => {
      const node = await put(context.root, 'f', 'content');
      const flags = OpenFlag.O_DIRECT | OpenFlag.O_NOCTTY | OpenFlag.O_NONBLOCK | OpenFlag.O_LARGEFILE;
      const file = await ok<OpenFile>(node.open(O_RDWR | flags | OpenFlag.O_NOFOLLOW | OpenFlag.O_NOATIME));
      expect(await write(file, 1, 'O')).toBe(1);
      expect(await read(file, 0, 10)).toBe('cOntent');
      await file.close();
      node.release();
    });
  });
}

function bytes(content: string) {
  return vector(text(content));
}
