/** Qids of an export that spans file systems: of real ones, whose roots have the same inode number. */
import { statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { HostDirectory } from '../../../../devices/9p/fs/host-directory/host-directory.js';
import { Sender } from './support/client.js';
import { T } from './support/wire.js';

/** Mount points that every Linux system has. */
const MOUNTS = ['proc', 'sys', 'dev'];

describe('an export that spans file systems', () => {
  it('gives files with one inode number on different devices different qids, and each file always the same', async () => {
    const inodes = new Map<string, string[]>();
    for (const name of MOUNTS) {
      const { ino } = statSync(`/${name}`);
      inodes.set(String(ino), [...(inodes.get(String(ino)) ?? []), name]);
    }
    // Otherwise nothing is tried here: proc's and sysfs's roots both have the inode number 1.
    expect([...inodes.values()].some((names) => names.length > 1)).toBe(true);
    const fs = await HostDirectory.open('/');
    const client = new Sender(fs, { readOnly: true });
    await client.start();
    const paths = async (): Promise<bigint[]> => {
      const found: bigint[] = [];
      for (const names of [[], ...MOUNTS.map((name) => [name]), ['proc', 'self'], ['dev', 'null']]) {
        await client.ok(T.walk(1, 0, 1, ...names));
        const { fields } = await client.ok(T.getattr(1, 1));
        fields.number(8);
        found.push(fields.qid().path);
        await client.ok(T.clunk(1, 1));
      }
      return found;
    };
    const first = await paths();
    expect(new Set(first).size).toBe(first.length);
    expect(await paths()).toEqual(first);
    await client.server.close();
  });
});
