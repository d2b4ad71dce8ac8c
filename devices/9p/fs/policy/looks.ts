/** What a look at files tells. */
import { Attributes, FileMode, type FsNode } from '../file-system.js';

export async function isDirectory(node: FsNode): Promise<boolean> {
  const attributes = new Attributes();
  const error = await node.getattr(attributes);
  return error === 0 && (attributes.mode & FileMode.S_IFMT) === FileMode.S_IFDIR;
}

export async function isSameFile(a: FsNode, b: FsNode): Promise<boolean> {
  const [one, other] = [new Attributes(), new Attributes()];
  if ((await a.getattr(one)) < 0 || (await b.getattr(other)) < 0) return false;
  return one.device === other.device && one.inodeLow === other.inodeLow && one.inodeHigh === other.inodeHigh;
}
