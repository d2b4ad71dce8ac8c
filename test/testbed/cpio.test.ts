import { describe, expect, it } from 'vitest';
import { writeCpio } from '../../testbed/cpio.js';
import { withFolders } from '../../testbed/initramfs.js';

interface Member {
  readonly name: string;
  readonly mode: number;
  readonly inode: number;
  readonly body: string;
}

/** Reads "newc" by the kernel's description of it, independently of the writer. */
function readCpio(archive: Buffer): Member[] {
  const members: Member[] = [];
  for (let at = 0; at < archive.length;) {
    expect(archive.toString('latin1', at, at + 6)).toBe('070701');
    const field = (index: number) =>
      parseInt(archive.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
    const nameEnd = at + 110 + field(11);
    const bodyStart = Math.ceil(nameEnd / 4) * 4;
    const name = archive.toString('utf8', at + 110, nameEnd - 1);
    expect(archive[nameEnd - 1]).toBe(0);
    const body = archive.toString('latin1', bodyStart, bodyStart + field(6));
    members.push({ name, inode: field(0), mode: field(1), body });
    at = Math.ceil((bodyStart + field(6)) / 4) * 4;
  }
  return members;
}

describe('the cpio writer', () => {
  it('writes folders, files and links that a reader finds again, ended by the trailer', () => {
    const archive = writeCpio([
      { kind: 'folder', path: 'bin', mode: 0o755 },
      { kind: 'file', path: 'bin/tool', mode: 0o700, bytes: Buffer.from('abcde') },
      { kind: 'link', path: 'bin/alias', target: 'tool' },
    ]);
    expect(readCpio(archive).map(({ name, mode, body }) => [name, mode.toString(8), body])).toEqual([
      ['bin', '40755', ''],
      ['bin/tool', '100700', 'abcde'],
      ['bin/alias', '120777', 'tool'],
      ['TRAILER!!!', '0', ''],
    ]);
  });

  it('aligns every header, whatever the lengths of names and bodies', () => {
    const entries = Array.from({ length: 9 }, (_, length) => ({
      kind: 'file' as const,
      path: 'x'.repeat(1 + (length % 5)) + length,
      mode: 0o644,
      bytes: Buffer.alloc(length, 'b'),
    }));
    const members = readCpio(writeCpio(entries));
    expect(members.slice(0, -1).map(({ body }) => body.length)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('counts a name in bytes, not characters', () => {
    const [member] = readCpio(writeCpio([{ kind: 'folder', path: 'größe', mode: 0o755 }]));
    expect(member?.name).toBe('größe');
  });

  it('gives each member an inode of its own, or the kernel would take files for hard links', () => {
    const folders = ['a', 'b', 'c'].map((path) => ({ kind: 'folder' as const, path, mode: 0o755 }));
    expect(new Set(readCpio(writeCpio(folders)).map(({ inode }) => inode)).size).toBe(4);
  });
});

describe('parent folders', () => {
  it('come once each, before what lies in them', () => {
    const file = (path: string) => ({ kind: 'file' as const, path, mode: 0o644, bytes: Buffer.alloc(0) });
    const paths = withFolders([file('a/b/one'), file('a/b/two'), file('top')]).map(({ path }) => path);
    expect(paths).toEqual(['a', 'a/b', 'a/b/one', 'a/b/two', 'top']);
  });

  it('are not made in place of a link or a folder that is listed anyway', () => {
    const entries = [
      { kind: 'link' as const, path: 'usr/bin', target: '../bin' },
      { kind: 'folder' as const, path: 'dev', mode: 0o700 },
      { kind: 'link' as const, path: 'dev/fd', target: '/proc/self/fd' },
    ];
    expect(withFolders(entries).map(({ path }) => path)).toEqual(['usr', 'usr/bin', 'dev', 'dev/fd']);
  });
});
