import { createFsFromVolume, type Volume } from 'memfs';
import { Union, type IUnionFs } from 'unionfs';
import type { NodeFsLike } from '../../../../../devices/9p/fs/node-fs/node-fs-like.js';

/** A union of volumes, the topmost last. Its package declares its functions more narrowly, and its constants more widely, than they are. */
export function union(...volumes: Volume[]): NodeFsLike {
  const made = new Union();
  for (const volume of volumes)
    made.use(createFsFromVolume(volume) as unknown as Parameters<IUnionFs['use']>[0]);
  return made as unknown as NodeFsLike;
}
