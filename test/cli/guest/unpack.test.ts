/** Archives that a hostile guest may send, each made by hand. */
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { moveContents, moveInto } from '../../../cli/guest/copy/merge.js';
import { Unpacking } from '../../../cli/guest/copy/unpack.js';

const LIMITS = { maxBytes: 1 << 20, maxEntries: 100 };
const TYPES = { file: '0', link: '1', symlink: '2', device: '3', directory: '5', pipe: '6' } as const;

interface Entry {
  readonly path: string;
  readonly type?: keyof typeof TYPES;
  readonly linkpath?: string;
  readonly content?: string;
  readonly mode?: number;
  /** In place of the content's. */
  readonly size?: number;
}

/** A ustar header and what follows it. */
function entry({ path, type = 'file', linkpath = '', content = '', mode = 0o644, size }: Entry): Buffer {
  const header = Buffer.alloc(512);
  const octal = (value: number, width: number) => value.toString(8).padStart(width - 1, '0') + '\0';
  header.write(path, 0, 100, 'latin1');
  header.write(octal(mode, 8) + octal(0, 8) + octal(0, 8), 100);
  header.write(octal(size ?? content.length, 12) + octal(0, 12), 124);
  header.write(' '.repeat(8) + TYPES[type], 148);
  header.write(linkpath, 157, 100, 'latin1');
  header.write('ustar\x0000', 257);
  header.write(
    octal(
      header.reduce((sum, byte) => sum + byte, 0),
      7,
    ) + ' ',
    148,
  );
  const body = Buffer.alloc(Math.ceil(content.length / 512) * 512);
  body.write(content, 'latin1');
  return Buffer.concat([header, body]);
}

const archive = (...entries: Entry[]) => Buffer.concat([...entries.map(entry), Buffer.alloc(1024)]);

describe('an archive from a guest', () => {
  let folder: string;
  let into: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'unpack-'));
    into = join(folder, 'into');
    await mkdir(into);
    await writeFile(join(folder, 'secret'), 'secret');
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  async function unpack(bytes: Uint8Array, pieceBytes = 700): Promise<Unpacking> {
    const unpacking = new Unpacking(into, LIMITS);
    try {
      for (let at = 0; at < bytes.length; at += pieceBytes)
        await unpacking.write(bytes.subarray(at, at + pieceBytes));
      await unpacking.finish();
    } finally {
      unpacking.close();
    }
    return unpacking;
  }

  /** Nothing beside the place for it, and nothing in it that is a link to outside and followed. */
  async function expectUntouched(): Promise<void> {
    expect((await readdir(folder)).sort()).toEqual(['into', 'secret']);
    expect(await readFile(join(folder, 'secret'), 'utf8')).toBe('secret');
    expect((await lstat(join(folder, 'secret'))).nlink).toBe(1);
  }

  it('that is honest is unpacked with its modes, links and names', async () => {
    const { guard } = await unpack(
      archive(
        { path: './', type: 'directory', mode: 0o700 },
        { path: './deep/', type: 'directory', mode: 0o555 },
        { path: './deep/tool', content: 'x'.repeat(1000), mode: 0o4755 },
        { path: './deep/same', type: 'link', linkpath: './deep/tool' },
        { path: './absolute', type: 'symlink', linkpath: '/etc/shadow' },
        { path: './up', type: 'symlink', linkpath: '../../secret' },
        { path: './pipe', type: 'pipe' },
        { path: './disk', type: 'device' },
      ),
    );
    expect(guard).toMatchObject({ entries: 8, bytes: 1000, skipped: 2 });
    expect((await readdir(into)).sort()).toEqual(['absolute', 'deep', 'up']);
    expect(await readlink(join(into, 'absolute'))).toBe('/etc/shadow');
    expect(await readlink(join(into, 'up'))).toBe('../../secret');
    expect((await lstat(join(into, 'deep/tool'))).mode & 0o7777).toBe(0o755);
    expect((await lstat(join(into, 'deep/same'))).nlink).toBe(2);
    await expectUntouched();
  });

  it.each<[string, Entry[]]>([
    ['an absolute path', [{ path: '/tmp/chassis-escape', content: 'x' }]],
    ['a path that leads up', [{ path: '../escape', content: 'x' }]],
    ['a path that leads up from within', [{ path: './a/b/../../../escape', content: 'x' }]],
    ['a directory that leads up', [{ path: '../escape/', type: 'directory' }]],
    [
      'a hard link to outside',
      [
        { path: 'x', type: 'link', linkpath: '../secret' },
        { path: 'x', content: 'changed' },
      ],
    ],
    ['a hard link to an absolute path', [{ path: 'x', type: 'link', linkpath: '/etc/passwd' }]],
    [
      'a hard link through a symbolic one',
      [
        { path: 'up', type: 'symlink', linkpath: '..' },
        { path: 'x', type: 'link', linkpath: 'up/secret' },
      ],
    ],
    [
      'a file behind a symbolic link',
      [
        { path: 'up', type: 'symlink', linkpath: '..' },
        { path: 'up/escape', content: 'x' },
      ],
    ],
    [
      'a symbolic link behind another one',
      [
        { path: 'up', type: 'symlink', linkpath: '..' },
        { path: 'up/escape', type: 'symlink', linkpath: '/' },
      ],
    ],
    [
      'a symbolic link in place of a directory',
      [
        { path: 'd/', type: 'directory' },
        { path: 'd/f', content: 'x' },
        { path: 'd', type: 'symlink', linkpath: '..' },
      ],
    ],
    ['a symbolic link in place of the directory itself', [{ path: '.', type: 'symlink', linkpath: '..' }]],
    ['more bytes than are allowed', [{ path: 'huge', size: 1 << 30 }]],
    ['more entries than are allowed', Array.from({ length: 101 }, (_, i) => ({ path: `f${i}` }))],
    ['a file that is cut off', [{ path: 'short', size: 100_000, content: 'x' }]],
  ])('with %s is refused, and nothing outside is touched', async (_what, entries) => {
    await expect(unpack(archive(...entries))).rejects.toMatchObject({ code: 'GUEST_REFUSED' });
    await expectUntouched();
  });

  it.each([
    ['text', Buffer.from('no archive at all'.repeat(100))],
    ['zeros and then text', Buffer.concat([Buffer.alloc(512), Buffer.from('x'.repeat(5000))])],
    ['half a header', archive({ path: 'a' }).subarray(0, 300)],
    ['what looks compressed', Buffer.concat([Buffer.from([31, 139, 8, 0]), Buffer.alloc(5000, 7)])],
    [
      'bytes of any kind',
      Buffer.from(Uint8Array.from({ length: 50_000 }, (_, i) => (i * 31 + (i >> 3)) & 255)),
    ],
  ])('that is %s ends in an error or in nothing, never in a hang', async (_what, bytes) => {
    await unpack(bytes).catch((error: unknown) => expect(error).toMatchObject({ code: 'GUEST_REFUSED' }));
    await expectUntouched();
    expect(await readdir(into)).toEqual([]);
  });
});

describe('moving a copy to its place', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'merge-'));
    for (const name of ['new/d', 'place', 'outside']) await mkdir(join(folder, name), { recursive: true });
    await writeFile(join(folder, 'new/d/f'), 'new');
    await writeFile(join(folder, 'new/top'), 'new');
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('merges directories and replaces files', async () => {
    await mkdir(join(folder, 'place/d'));
    await writeFile(join(folder, 'place/d/old'), 'old');
    await writeFile(join(folder, 'place/top'), 'old');
    await moveContents(join(folder, 'new'), join(folder, 'place'));
    expect((await readdir(join(folder, 'place/d'))).sort()).toEqual(['f', 'old']);
    expect(await readFile(join(folder, 'place/top'), 'utf8')).toBe('new');
  });

  it('follows no link that an earlier copy has left', async () => {
    await symlink(join(folder, 'outside'), join(folder, 'place/d'));
    const moving = moveContents(join(folder, 'new'), join(folder, 'place'));
    await expect(moving).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    expect(await readdir(join(folder, 'outside'))).toEqual([]);
    await symlink(join(folder, 'outside/target'), join(folder, 'place/file'));
    await moveInto(join(folder, 'new/top'), join(folder, 'place/file'));
    expect(await readdir(join(folder, 'outside'))).toEqual([]);
    expect(await readFile(join(folder, 'place/file'), 'utf8')).toBe('new');
  });
});
