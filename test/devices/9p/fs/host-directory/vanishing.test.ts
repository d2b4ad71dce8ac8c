/** What an operator reads when a directory cannot be exported, and what a guest sees when the host changes it. */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OpenFlag, type FsNode, type OpenFile } from '../../../../../devices/9p/fs/file-system.js';
import {
  HostDirectory,
  HostDirectoryError,
} from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import {
  attributesOf,
  contentAt,
  contentOf,
  count,
  failure,
  inodeOf,
  names,
  ok,
  put,
  read,
  self,
} from '../suite/driver.js';
import { Exported, isRoot, openDescriptors } from './exported.js';

async function refusal(path: string): Promise<HostDirectoryError> {
  try {
    const fs = await HostDirectory.open(path);
    fs.close();
  } catch (error) {
    if (error instanceof HostDirectoryError) return error;
    throw error;
  }
  throw new Error(`${path} was exported`);
}

describe('exporting', () => {
  let base: string;

  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'exporting-'));
  });

  afterEach(() => {
    rmSync(base, { recursive: true });
  });

  it('what is not there, is no directory, or is no path, says so, and leaks nothing', async () => {
    writeFileSync(join(base, 'file'), '');
    symlinkSync('loop', join(base, 'loop'));
    const before = openDescriptors();
    expect(await refusal(join(base, 'none'))).toMatchObject({
      code: 'ENOENT',
      path: join(base, 'none'),
      message: `${join(base, 'none')}: no such directory`,
    });
    expect(await refusal(join(base, 'file'))).toMatchObject({
      code: 'ENOTDIR',
      message: `${join(base, 'file')}: not a directory`,
    });
    expect(await refusal(join(base, 'file', 'below'))).toMatchObject({ code: 'ENOTDIR' });
    expect(await refusal(join(base, 'loop'))).toMatchObject({ code: 'ELOOP' });
    expect(await refusal(join(base, 'n'.repeat(300)))).toMatchObject({ code: 'ENAMETOOLONG' });
    expect(await refusal(`${base}\0/etc`)).toMatchObject({ code: 'EINVAL' });
    expect(await refusal('')).toMatchObject({ code: 'ENOENT' });
    expect(openDescriptors()).toBe(before);
  });

  it('a directory that the daemon may not list is EACCES', async () => {
    mkdirSync(join(base, 'closed'));
    chmodSync(join(base, 'closed'), 0o700);
    chmodSync(base, 0o755);
    if (isRoot) {
      process.seteuid?.(65_534);
    } else {
      chmodSync(join(base, 'closed'), 0);
    }
    const error = await refusal(join(base, 'closed')).finally(() => process.seteuid?.(isRoot ? 0 : self.uid));
    chmodSync(join(base, 'closed'), 0o700);
    expect(error).toMatchObject({ code: 'EACCES' });
    expect(error.message).toContain('permission');
  });

  it('through a symbolic link is what the operator wanted', async () => {
    mkdirSync(join(base, 'real'));
    writeFileSync(join(base, 'real', 'f'), 'x');
    symlinkSync('real', join(base, 'link'));
    const fs = await HostDirectory.open(join(base, 'link'));
    const root = await ok<FsNode>(fs.attach());
    expect(await names(root)).toEqual(['f']);
    root.release();
    fs.close();
  });
});

describe('an export that the host changes', () => {
  let exported: Exported;

  beforeEach(async () => {
    exported = await Exported.make();
  });

  afterEach(() => {
    exported.remove();
  });

  it('is ENOENT once its directory was removed, and nothing can be made in it', async () => {
    rmSync(exported.path, { recursive: true });
    const { root } = exported;
    expect(await failure(exported.fs.attach())).toBe('ENOENT');
    expect(await failure(root.walk('f'))).toBe('ENOENT');
    expect(await failure(root.mkdir('d', 0o755, self))).toBe('ENOENT');
    expect(await failure(root.create('f', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o644, self))).toBe('ENOENT');
    expect(await failure(root.unlink('f', false))).toBe('ENOENT');
    expect((await attributesOf(root)).nlink).toBe(0);
    expect(await names(root)).toEqual([]);
    mkdirSync(exported.path);
    writeFileSync(exported.at('f'), 'of another directory');
    expect(await failure(root.walk('f'))).toBe('ENOENT');
  });

  it('stays with its directory when that is renamed', async () => {
    (await put(exported.root, 'f', 'x')).release();
    renameSync(exported.path, `${exported.path}-renamed`);
    expect(await contentAt(exported.root, 'f')).toBe('x');
    expect(await failure(exported.fs.attach())).toBe('OK');
    exported.root.release();
  });

  it('shows files that were made, changed and removed there', async () => {
    writeFileSync(exported.at('f'), 'from the host');
    expect(await contentAt(exported.root, 'f')).toBe('from the host');
    const node = await ok<FsNode>(exported.root.walk('f'));
    writeFileSync(exported.at('f'), 'changed');
    expect(await contentOf(node)).toBe('changed');
    rmSync(exported.at('f'));
    expect(await failure(exported.root.walk('f'))).toBe('ENOENT');
    node.release();
  });

  it('leads to the new file where one was replaced, while open ones go on with the old', async () => {
    writeFileSync(exported.at('f'), 'old');
    const old = await ok<FsNode>(exported.root.walk('f'));
    const file = await ok<OpenFile>(old.open(OpenFlag.O_RDONLY));
    writeFileSync(exported.at('g'), 'new');
    renameSync(exported.at('g'), exported.at('f'));
    expect(await contentAt(exported.root, 'f')).toBe('new');
    expect(await read(file, 0, 10)).toBe('old');
    expect(await contentOf(old)).toBe('old');
    const fresh = await ok<FsNode>(exported.root.walk('f'));
    expect(inodeOf(await attributesOf(fresh))).not.toBe(inodeOf(await attributesOf(old)));
    expect(await failure(old.remove())).toBe('ESTALE');
    expect(await contentAt(exported.root, 'f')).toBe('new');
    await file.close();
    old.release();
    fresh.release();
  });

  it('survives directories that change places under the guest', async () => {
    const before = openDescriptors();
    mkdirSync(exported.at('a'));
    mkdirSync(exported.at('a', 'b'));
    writeFileSync(exported.at('a', 'b', 'f'), 'x');
    const a = await ok<FsNode>(exported.root.walk('a'));
    const b = await ok<FsNode>(a.walk('b'));
    const f = await ok<FsNode>(b.walk('f'));
    renameSync(exported.at('a', 'b'), exported.at('b'));
    // For the kernel b is not below a any more; in our picture of the tree it still is.
    await count(exported.root.rename('a', b, 'a'));
    expect(readdirSync(exported.at('b')).sort()).toEqual(['a', 'f']);
    expect(await contentOf(f)).toBe('x');
    expect(await names(b)).toEqual(['a', 'f']);
    for (const node of [f, b, a]) node.release();
    expect(openDescriptors()).toBe(before);
  });
});
