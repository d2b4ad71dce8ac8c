/** What becomes of files that fids hold when their names go, by the guest's doing or the host's. THREATS row 2. */
import { linkSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  Attributes,
  OpenFlag,
  SetAttr,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import {
  attributesOf,
  changes,
  contentOf,
  count,
  failure,
  inodeOf,
  mkdir,
  names,
  ok,
  put,
  read,
  write,
} from '../suite/driver.js';
import { Exported, openDescriptors } from './exported.js';

let exported: Exported;
let before: number;

beforeEach(async () => {
  exported = await Exported.make();
  before = openDescriptors();
});

afterEach(() => {
  const after = openDescriptors();
  exported.remove();
  expect(after).toBe(before);
});

/** A file with content, open, and its node. */
async function openFile(): Promise<{ node: FsNode; file: OpenFile }> {
  const node = await put(exported.root, 'f', 'content');
  return { node, file: await ok<OpenFile>(node.open(OpenFlag.O_RDWR)) };
}

/** Everything that fstat, fchmod, ftruncate, futimens, read and write do, on a file without a name. */
async function expectAlive(node: FsNode, file: OpenFile): Promise<void> {
  expect(await read(file, 0, 100)).toBe('content');
  expect(await write(file, 7, '!')).toBe(1);
  for (const target of [file, node]) {
    expect(await attributesOf(target)).toMatchObject({ nlink: 0, sizeBytes: 8 });
    await count(target.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o604 })));
    const mtime = SetAttr.P9_ATTR_MTIME | SetAttr.P9_ATTR_MTIME_SET;
    await count(target.setattr(changes(mtime, { mtimeSeconds: 5, mtimeNanoseconds: 999_999_999 })));
    expect(await attributesOf(target)).toMatchObject({ mtimeSeconds: 5, mtimeNanoseconds: 999_999_999 });
    await count(target.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o640 })));
    expect((await attributesOf(target)).mode & 0o7777).toBe(0o640);
  }
  await count(file.setattr(changes(SetAttr.P9_ATTR_SIZE, { sizeBytes: 3 })));
  expect(await contentOf(node)).toBe('con');
}

describe('an open file that the guest unlinks', () => {
  it('can be read, written, changed, cut and opened again until its last fid goes', async () => {
    const { node, file } = await openFile();
    await count(exported.root.unlink('f', false));
    expect(await names(exported.root)).toEqual([]);
    await expectAlive(node, file);
    await file.close();
    expect(await contentOf(node)).toBe('con');
    expect((await attributesOf(node)).nlink).toBe(0);
    node.release();
  });

  it('and another that is made in its place are two files', async () => {
    const { node, file } = await openFile();
    await count(exported.root.unlink('f', false));
    const other = await put(exported.root, 'f', 'another');
    expect(await contentOf(other)).toBe('another');
    expect(await read(file, 0, 100)).toBe('content');
    expect(inodeOf(await attributesOf(other))).not.toBe(inodeOf(await attributesOf(node)));
    await file.close();
    for (const held of [node, other]) held.release();
  });

  it('whose files are closed one after the other stays for as long as one is open', async () => {
    const { node, file } = await openFile();
    const more = [
      await ok<OpenFile>(node.open(OpenFlag.O_RDONLY)),
      await ok<OpenFile>(node.open(OpenFlag.O_RDONLY)),
      await ok<OpenFile>(node.open(OpenFlag.O_RDONLY)),
    ];
    await count(exported.root.unlink('f', false));
    for (const closing of [more[1], file, more[2]]) {
      await closing.close();
      expect((await attributesOf(node)).nlink).toBe(0);
    }
    node.release();
    expect(await read(more[0], 0, 100)).toBe('content');
    await more[0].close();
  });
});

describe('a file that was only looked at', () => {
  it('and is unlinked by the guest can still be looked at, changed and opened', async () => {
    (await put(exported.root, 'f', 'content')).release();
    const node = await ok<FsNode>(exported.root.walk('f'));
    await count(exported.root.unlink('f', false));
    expect((await attributesOf(node)).nlink).toBe(0);
    await count(node.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o600 })));
    expect(await contentOf(node)).toBe('content');
    node.release();
  });

  it('and is replaced by a rename of the guest’s, too', async () => {
    (await put(exported.root, 'f', 'old')).release();
    (await put(exported.root, 'g', 'new')).release();
    const old = await ok<FsNode>(exported.root.walk('f'));
    await count(exported.root.rename('g', exported.root, 'f'));
    expect(await contentOf(old)).toBe('old');
    const fresh = await ok<FsNode>(exported.root.walk('f'));
    expect(await contentOf(fresh)).toBe('new');
    for (const node of [old, fresh]) node.release();
  });

  it('follows renames of the guest’s, of itself and of directories above it', async () => {
    const a = await mkdir(exported.root, 'a');
    (await put(a, 'f', 'content')).release();
    const node = await ok<FsNode>(a.walk('f'));
    await count(a.rename('f', exported.root, 'g'));
    expect(await contentOf(node)).toBe('content');
    await count(exported.root.rename('g', a, 'h'));
    await count(exported.root.rename('a', exported.root, 'b'));
    expect(node.entryName()).toBe('h');
    expect((await attributesOf(node)).nlink).toBe(1);
    expect(await contentOf(node)).toBe('content');
    for (const held of [node, a]) held.release();
  });

  it('and is removed or replaced by the host is ENOENT to look at, ESTALE to use, and found anew by its name', async () => {
    for (const replaced of [true, false]) {
      writeFileSync(exported.at('f'), 'old');
      const node = await ok<FsNode>(exported.root.walk('f'));
      // Not in its place, or the host's file system might give it the same inode.
      writeFileSync(exported.at('g'), 'new');
      rmSync(exported.at('f'));
      if (replaced) renameSync(exported.at('g'), exported.at('f'));
      expect(await failure(node.getattr(new Attributes()))).toBe('ENOENT');
      expect(await failure(node.open(OpenFlag.O_RDONLY))).toBe('ESTALE');
      expect(await failure(node.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o777 })))).toBe('ESTALE');
      expect(await failure(node.remove())).toBe('ESTALE');
      const again = exported.root.walk('f');
      if (typeof again !== 'number') {
        expect(await contentOf(again)).toBe('new');
        again.release();
      }
      expect(typeof again === 'number').toBe(!replaced);
      node.release();
      if (replaced) expect(statSync(exported.at('f')).mode & 0o777).toBe(0o644);
    }
  });
});

describe('an open file that the host takes away', () => {
  it('by removing or replacing its name can be used on, through the file and its node', async () => {
    for (const replaced of [true, false]) {
      const { node, file } = await openFile();
      writeFileSync(exported.at('g'), 'another');
      if (replaced) renameSync(exported.at('g'), exported.at('f'));
      else rmSync(exported.at('f'));
      await expectAlive(node, file);
      await file.close();
      node.release();
      rmSync(exported.at(replaced ? 'f' : 'g'));
    }
  });

  it('by renaming it is the same file still, and names lead where they lead', async () => {
    const { node, file } = await openFile();
    renameSync(exported.at('f'), exported.at('g'));
    expect(await read(file, 0, 100)).toBe('content');
    expect((await attributesOf(node)).nlink).toBe(1);
    expect(await failure(exported.root.walk('f'))).toBe('ENOENT');
    const found = await ok<FsNode>(exported.root.walk('g'));
    expect(inodeOf(await attributesOf(found))).toBe(inodeOf(await attributesOf(node)));
    await file.close();
    for (const held of [node, found]) held.release();
  });
});

describe('a directory', () => {
  it('that the guest removes while it is open, or held, is there without entries', async () => {
    const directory = await mkdir(exported.root, 'd');
    const listing = await ok<OpenFile>(directory.open(OpenFlag.O_RDONLY));
    await count(exported.root.unlink('d', true));
    for (const target of [directory, listing]) expect((await attributesOf(target)).nlink).toBe(0);
    expect(await failure(directory.mkdir('x', 0o755, { uid: 0, gid: 0 }))).toBe('ENOENT');
    await listing.close();
    expect((await attributesOf(directory)).nlink).toBe(0);
    expect(await failure(directory.walk('x'))).toBe('ENOENT');
    directory.release();
  });

  it('that the host renames goes on to be listed and walked through its open fid', async () => {
    mkdirSync(exported.at('d'));
    writeFileSync(exported.at('d', 'inside'), 'x');
    const directory = await ok<FsNode>(exported.root.walk('d'));
    const listing = await ok<OpenFile>(directory.open(OpenFlag.O_RDONLY));
    renameSync(exported.at('d'), exported.at('e'));
    expect(await names(directory)).toEqual(['inside']);
    const inside = await ok<FsNode>(directory.walk('inside'));
    expect(await contentOf(inside)).toBe('x');
    await listing.close();
    for (const held of [inside, directory]) held.release();
  });
});

describe('two names of one file', () => {
  it('are two nodes, each of which outlives the other’s name', async () => {
    writeFileSync(exported.at('a'), 'content');
    linkSync(exported.at('a'), exported.at('b'));
    const [a, b] = [await ok<FsNode>(exported.root.walk('a')), await ok<FsNode>(exported.root.walk('b'))];
    await count(exported.root.unlink('a', false));
    expect([(await attributesOf(a)).nlink, (await attributesOf(b)).nlink]).toEqual([1, 1]);
    await count(exported.root.unlink('b', false));
    expect([await contentOf(a), await contentOf(b)]).toEqual(['content', 'content']);
    for (const held of [a, b]) held.release();
  });
});
