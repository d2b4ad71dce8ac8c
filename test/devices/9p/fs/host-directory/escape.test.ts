/** THREATS row 1, symlink and `..` escape from an export: CVE-2016-9602, CVE-2016-7116, CVE-2017-7471. */
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OpenFlag, SetAttr, type FsNode } from '../../../../../devices/9p/fs/file-system.js';
import {
  attributesOf,
  changes,
  contentAt,
  count,
  failure,
  inodeOf,
  named,
  ok,
  self,
  text,
} from '../suite/driver.js';
import { Exported } from './exported.js';

let exported: Exported;
let before: string;

beforeEach(async () => {
  exported = await Exported.make();
  mkdirSync(exported.at('dir'));
  writeFileSync(exported.at('dir', 'secret'), 'harmless');
  writeFileSync(exported.at('file'), 'harmless');
});

afterEach(() => {
  exported.remove();
});

/** Everything that a guest can do with a directory, tried on one that is a link out of the export. */
async function attackDirectory(link: FsNode): Promise<string[]> {
  const { root } = exported;
  const file = await ok<FsNode>(root.walk('file'));
  const answers = [
    await failure(link.walk('secret')),
    await failure(link.open(OpenFlag.O_RDONLY)),
    await failure(link.open(OpenFlag.O_RDONLY | OpenFlag.O_DIRECTORY)),
    await failure(link.create('made', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o666, self)),
    await failure(link.create('secret', OpenFlag.O_CREAT | OpenFlag.O_RDWR | OpenFlag.O_TRUNC, 0o666, self)),
    await failure(link.mkdir('made', 0o777, self)),
    await failure(link.symlink('made', 'x', self)),
    await failure(link.mknod('made', 0o100666, 0, self)),
    await failure(link.link('made', file)),
    await failure(link.unlink('secret', false)),
    await failure(link.rename('secret', root, 'stolen')),
    await failure(root.rename('file', link, 'planted')),
    await failure(file.renameTo(link, 'planted')),
  ];
  file.release();
  return answers;
}

/** The same of a file. */
async function attackFile(link: FsNode): Promise<string[]> {
  return [
    await failure(link.open(OpenFlag.O_RDONLY)),
    await failure(link.open(OpenFlag.O_RDWR | OpenFlag.O_TRUNC)),
    await failure(link.setattr(changes(SetAttr.P9_ATTR_SIZE, { sizeBytes: 0 }))),
    await failure(link.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o777 }))),
    await failure(link.setxattr('user.a', text('x'), 0)),
  ];
}

describe('a symbolic link out of the export', () => {
  const targets: [string, (exported: Exported) => string][] = [
    ['relative', () => '../outside'],
    ['absolute', ({ outside }) => outside],
    ['through another link', () => 'first/../outside'],
    ['the root of the host', () => '/'],
    ["'..' itself", () => '..'],
    ['a magic link to the root', () => '/proc/self/root'],
    ['a magic link to the working directory', () => '/proc/self/cwd'],
  ];

  for (const [kind, target] of targets) {
    it(`(${kind}) leads to no directory, whatever is tried on it`, async () => {
      symlinkSync('..', exported.at('first'));
      symlinkSync(target(exported), exported.at('link'));
      before = exported.describeOutside();
      const link = await ok<FsNode>(exported.root.walk('link'));
      for (const answer of await attackDirectory(link)) expect(answer).toMatch(/^(ENOTDIR|ELOOP)$/);
      expect(exported.describeOutside()).toBe(before);
      link.release();
    });
  }

  it('to a file is neither opened nor changed', async () => {
    symlinkSync('../outside/secret', exported.at('link'));
    symlinkSync(`${exported.outside}/secret`, exported.at('absolute'));
    before = exported.describeOutside();
    for (const name of ['link', 'absolute']) {
      const link = await ok<FsNode>(exported.root.walk(name));
      for (const answer of await attackFile(link))
        expect(answer).toMatch(/^(ELOOP|EINVAL|EOPNOTSUPP|EPERM)$/);
      await count(link.setattr(changes(SetAttr.P9_ATTR_MTIME, {})));
      expect(await failure(exported.root.create(name, OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o666, self))).toBe(
        'ELOOP',
      );
      await count(exported.root.unlink(name, false));
      link.release();
    }
    expect(exported.describeOutside()).toBe(before);
  });

  it("to one of the daemon's own descriptors opens nothing", async () => {
    symlinkSync('/proc/self/fd/0', exported.at('magic'));
    const link = await ok<FsNode>(exported.root.walk('magic'));
    expect(await failure(link.open(OpenFlag.O_RDONLY))).toBe('ELOOP');
    expect(await link.readlink()).toBe('/proc/self/fd/0');
    link.release();
  });

  it('made by the guest itself, in place of a directory that it stands in, leads nowhere', async () => {
    const directory = await ok<FsNode>(exported.root.walk('dir'));
    await count(exported.root.rename('dir', exported.root, 'moved'));
    (await ok<FsNode>(exported.root.symlink('dir', named(exported.outside), self))).release();
    expect(await contentAt(directory, 'secret')).toBe('harmless');
    expect(await failure(directory.remove())).toBe('ENOTEMPTY');
    directory.release();
  });
});

describe("'..'", () => {
  it('is refused as a name, alone and in a path', async () => {
    before = exported.describeOutside();
    const directory = await ok<FsNode>(exported.root.walk('dir'));
    for (const name of ['..', '../outside', 'dir/../../outside', '../../..', '/', 'dir/', '.', './dir']) {
      expect(await failure(exported.root.walk(name))).toBe('EINVAL');
      expect(await failure(directory.walk(name))).toBe('EINVAL');
      expect(await failure(directory.rename('secret', exported.root, name))).toBe('EINVAL');
      expect(await failure(exported.root.unlink(name, true))).toBe('EINVAL');
    }
    expect(exported.describeOutside()).toBe(before);
    directory.release();
  });

  it('from anywhere ends at the root', async () => {
    let node = await ok<FsNode>(exported.root.walk('dir'));
    for (let i = 0; i < 5; i++) {
      const above = await ok<FsNode>(node.parent());
      node.release();
      node = above;
    }
    expect(inodeOf(await attributesOf(node))).toBe(inodeOf(await attributesOf(exported.root)));
    node.release();
  });

  it('of a directory that the host moved out of the export does not lead out', async () => {
    const directory = await ok<FsNode>(exported.root.walk('dir'));
    renameSync(exported.at('dir'), `${exported.outside}/dir`);
    const above = await ok<FsNode>(directory.parent());
    expect(inodeOf(await attributesOf(above))).toBe(inodeOf(await attributesOf(exported.root)));
    expect(await failure(directory.walk('..'))).toBe('EINVAL');
    expect(await failure(directory.remove())).toBe('ESTALE');
    above.release();
    directory.release();
  });
});
