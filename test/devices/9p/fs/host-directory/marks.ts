/** What tells a directory with a file "secret" from another one, but for their content. */
import type { FsNode } from '../../../../../devices/9p/fs/file-system.js';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { count, ok, self } from '../suite/driver.js';

/** Gives a directory a link, and its secret an extended attribute, that say `what`. */
export async function mark(path: string, what: string): Promise<void> {
  await within(path, async (directory, secret) => {
    (await ok<FsNode>(directory.symlink('pointer', what, self))).release();
    await count(secret.setxattr('user.mark', Buffer.from(what), 0));
  });
}

/** The names of the extended attributes of a directory and of the secret in it. */
export async function marksOf(path: string): Promise<string[]> {
  return within(path, async (...nodes) => {
    const lists: string[] = [];
    for (const node of nodes) lists.push(Buffer.from(await ok<Uint8Array>(node.listxattr())).toString());
    return lists;
  });
}

async function within<T>(path: string, work: (directory: FsNode, secret: FsNode) => Promise<T>): Promise<T> {
  const fs = await HostDirectory.open(path);
  const directory = await ok<FsNode>(fs.attach());
  const secret = await ok<FsNode>(directory.walk('secret'));
  const result = await work(directory, secret);
  for (const node of [secret, directory]) node.release();
  fs.close();
  return result;
}
