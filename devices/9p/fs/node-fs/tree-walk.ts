/** All that is below a directory of a node:fs-compatible object: for counting what it holds. */
import { Errno, isFailure } from '../../../errno.js';
import { FileMode } from '../file-system.js';
import { depthOf } from './depth.js';
import { inodeKey } from './inode-numbers.js';
import { isEntryName } from './names.js';
import type { NodeFsContext } from './node-fs-context.js';
import type { NodeFsStats } from './node-fs-like.js';
import { blocksOf, type Quota } from '../quota.js';
import { number, typeOf, whole } from './stats.js';

/** Calls `visit` for each entry below the directory `top`; 0, or the errno of the object. Keep the path lock meanwhile. */
async function walkTree(
  context: NodeFsContext,
  top: string,
  visit: (path: string, stats: NodeFsStats) => void,
): Promise<number> {
  const directories = [top];
  for (let path = directories.pop(); path !== undefined; path = directories.pop()) {
    const names = await context.list(path);
    if (isFailure(names)) return names;
    for (const name of names.filter(isEntryName)) {
      const entry = `${path.endsWith('/') ? path.slice(0, -1) : path}/${name}`;
      const stats = await context.lstat(entry);
      if (isFailure(stats)) return stats;
      if (typeOf(stats) === FileMode.S_IFDIR) directories.push(entry);
      visit(entry, stats);
    }
  }
  return 0;
}

/** Counts what is there. -EOPNOTSUPP of an object without inode numbers, by which hard links and open files are told apart. */
export async function countTree(context: NodeFsContext, quota: Quota, top: string): Promise<number> {
  const linked = new Set<string>();
  let blocks = 0;
  const types: number[] = [];
  let isNumbered = true;
  const error = await walkTree(context, top, (_path, stats) => {
    const type = typeOf(stats);
    types.push(type);
    if (type !== FileMode.S_IFREG) return;
    const key = inodeKey(stats);
    isNumbered &&= key !== undefined;
    if (key !== undefined && !linked.has(key)) blocks += blocksOf(whole(stats.size));
    if (key !== undefined && number(stats.nlink) > 1) linked.add(key);
  });
  if (error < 0 || !isNumbered) return error < 0 ? error : -Errno.EOPNOTSUPP;
  for (const type of types) quota.addName(type);
  quota.addBlocks(blocks);
  return 0;
}

/** How many levels of names are below the directory `top`, or a negative errno. */
export async function heightOf(context: NodeFsContext, top: string): Promise<number> {
  let height = 0;
  const error = await walkTree(context, top, (path) => {
    height = Math.max(height, depthOf(path) - depthOf(top));
  });
  return error < 0 ? error : height;
}
