/** Going on with what another file system over the same directory had, by the descriptors that it told. */
import { closeFd, OpenFlags } from '../../../../host/index.js';
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { FileMode, type ByteString, type OpenFile } from '../file-system.js';
import type { Given } from '../kept.js';
import { isEntryName } from '../node-fs/names.js';
import type { ExportContext } from './export-context.js';
import { HostFile, isOpenedWith } from './host-file.js';
import type { HostNode } from './host-node.js';
import { HostOpenDirectory } from './host-open-directory.js';

/**
 * The node of a file that has lost its name, below `directory`. It gets a descriptor of its own: the given one may be an open file's, too.
 */
export function regainNode(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  { descriptor }: Given,
): HostNode | Failure {
  if (descriptor === undefined) return -Errno.ESTALE;
  const fd = context.reopen(descriptor.fd, OpenFlags.O_PATH);
  const error = fd < 0 ? fd : context.statx.load(fd);
  if (error < 0) {
    if (fd >= 0) closeFd(fd);
    return error;
  }
  return directory.adoptRegained(name, fd);
}

/** The very open file, taken; undefined where another one was given, or it was opened otherwise. */
export function takeOpenFile(
  context: ExportContext,
  node: HostNode,
  flags: number,
  { descriptor }: Given,
): OpenFile | undefined {
  if (descriptor === undefined || node.type !== FileMode.S_IFREG) return undefined;
  if (!isSame(context, node, descriptor.fd) || !isOpenedWith(descriptor.fd, flags)) return undefined;
  return new HostFile(context, descriptor.take(), node, flags);
}

/**
 * The directory, open to go on where another one was. Not by the given descriptor itself: a position of the host's goes with that, which the
 * other one may be moving still.
 */
export function reopenDirectory(
  context: ExportContext,
  node: HostNode,
  { descriptor, details }: Given,
): OpenFile | Failure {
  const from =
    descriptor !== undefined && isSame(context, node, descriptor.fd) ? descriptor.fd : node.handle();
  let fd = from < 0 ? from : context.openListing(from);
  // One that was removed has no '.' any more.
  if (fd === -Errno.ENOENT) fd = context.reopen(from, OpenFlags.O_RDONLY | OpenFlags.O_DIRECTORY);
  if (fd < 0) return fd;
  context.watch?.used(node, fd);
  return new HostOpenDirectory(context, fd, node, node.parentNode === null, details);
}

function isSame({ statx }: ExportContext, node: HostNode, fd: number): boolean {
  return statx.load(fd) === 0 && node.is(statx);
}

/** Has the directory watched that these names, which come from outside, lead to from the root, if there is one. */
export function watchAgain({ watch }: ExportContext, root: HostNode, names: readonly ByteString[]): void {
  root.retain();
  let node = root;
  for (const name of names) {
    const next = isEntryName(name) ? node.walk(name) : -Errno.EINVAL;
    node.release();
    if (isFailure(next)) return;
    node = next;
  }
  const fd = node.type === FileMode.S_IFDIR ? node.handle() : -1;
  if (fd >= 0) watch?.used(node, fd);
  node.release();
}
