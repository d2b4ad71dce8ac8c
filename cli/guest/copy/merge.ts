/** Moves a tree to where it belongs. A link there is never followed: an earlier copy may have brought it from a guest. */
import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Stats } from 'node:fs';
import { ChassisError } from '../../../manager/control/api.js';

/** `from` becomes `to`; directories that are there are merged, files replaced. @throws ChassisError BAD_REQUEST where one is in the way of the other */
export async function moveInto(from: string, to: string): Promise<void> {
  const [source, target] = [await lstat(from), await lstatOrNone(to)];
  if (target === undefined) return rename(from, to);
  if (source.isDirectory() !== target.isDirectory()) throw inTheWay(to, source.isDirectory());
  if (!source.isDirectory()) return rename(from, to);
  await moveContents(from, to);
}

/** The same for what is in `from`. */
export async function moveContents(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const name of await readdir(from)) await moveInto(join(from, name), join(to, name));
}

export async function lstatOrNone(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function inTheWay(path: string, wantsDirectory: boolean): ChassisError {
  const what = wantsDirectory ? 'something else than a directory' : 'a directory';
  return new ChassisError('BAD_REQUEST', `${path} is ${what} here`, 'move it away, or copy to elsewhere');
}
