/** What a step is, in one word: where it is another, the step has changed. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { DesiredStep } from '../plan/desired.js';

/** @throws Error where something that is to be copied cannot be read */
export async function stepDigest({ action, user }: DesiredStep): Promise<string> {
  const hash = createHash('sha256');
  const { type } = action;
  hash.update(JSON.stringify([type, user ?? null, type === 'run' ? action.script : action.to]));
  if (type === 'copy') await addTree(hash, action.from, '');
  return hash.digest('hex');
}

/** Names, modes and contents; not times, which a checkout changes. */
async function addTree(hash: Hash, path: string, name: string): Promise<void> {
  const stats = await lstat(path);
  const note = (kind: string, more: string | number) =>
    hash.update(JSON.stringify([name, kind, stats.mode & 0o7777, more]));
  if (stats.isSymbolicLink()) note('link', await readlink(path));
  else if (stats.isDirectory()) {
    const names = (await readdir(path)).sort();
    note('directory', names.length);
    for (const each of names) await addTree(hash, join(path, each), `${name}/${each}`);
  } else if (stats.isFile()) {
    note('file', stats.size);
    for await (const bytes of createReadStream(path)) hash.update(bytes as Buffer);
  }
}
