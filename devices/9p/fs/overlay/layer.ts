/** What an overlay asks of a layer, whatever file system that is: a look at an entry, a whole listing, a path, an empty directory. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  Attributes,
  FileMode,
  OpenFlag,
  type ByteString,
  type DirectorySink,
  type FsNode,
  type Owner,
} from '../file-system.js';
import { ENTRIES_A_TURN, Pace } from './pace.js';

/** uid_t and gid_t that leave a file to the layer's own user. */
export const LAYERS_OWN: Owner = { uid: 0xffff_ffff, gid: 0xffff_ffff };

const PRIVATE_MODE = 0o700;
/** Entries taken at a time. */
const LISTING_BATCH = 1024;
const DT_DIR = FileMode.S_IFDIR >> 12;

/** An entry of a layer; whoever gets it releases its node. */
export interface Look {
  readonly node: FsNode;
  readonly attributes: Attributes;
}

export interface LayerEntry {
  readonly name: ByteString;
  readonly inodeLow: number;
  readonly inodeHigh: number;
  readonly type: number;
}

export function typeOf({ mode }: Attributes): number {
  return mode & FileMode.S_IFMT;
}

export async function lookAt(directory: FsNode, name: ByteString): Promise<Look | Failure> {
  const attributes = new Attributes();
  const node = await directory.walk(name, attributes);
  if (isFailure(node)) return node;
  const error = attributes.filled ? 0 : await node.getattr(attributes);
  if (error === 0) return { node, attributes };
  node.release();
  return error;
}

/** The file at `path`, one name at a time from `root`. '' is the root itself. */
export async function lookAtPath(root: FsNode, path: ByteString): Promise<Look | Failure> {
  root.retain();
  let look: Look | Failure = { node: root, attributes: new Attributes() };
  if (path === '') {
    const error = await root.getattr(look.attributes);
    if (error < 0) root.release();
    return error < 0 ? error : look;
  }
  for (const name of path.slice(1).split('/')) {
    const above: FsNode = look.node;
    look = await lookAt(above, name);
    above.release();
    if (isFailure(look)) return look;
  }
  return look;
}

/** All entries but '.' and '..', in the layer's order. Stops early, with what it has, once `enough` says so. */
export async function listEntries(
  directory: FsNode,
  enough: (entries: readonly LayerEntry[]) => boolean = () => false,
): Promise<LayerEntry[] | Failure> {
  const file = await directory.open(OpenFlag.O_RDONLY | OpenFlag.O_DIRECTORY);
  if (isFailure(file)) return file;
  const entries: LayerEntry[] = [];
  let taken = 0;
  let last = 0;
  const sink: DirectorySink = {
    entry: (name, inodeLow, inodeHigh, type, cookie) => {
      if (taken === LISTING_BATCH) return false;
      taken++;
      last = cookie;
      if (name !== '.' && name !== '..') entries.push({ name, inodeLow, inodeHigh, type });
      return true;
    },
  };
  let error: number;
  do {
    taken = 0;
    error = await file.readdir(last, sink);
  } while (error >= 0 && taken > 0 && !enough(entries));
  await file.close();
  return error < 0 ? error : entries;
}

/** The directory `name`, made where there is none. */
export async function directoryAt(parent: FsNode, name: ByteString): Promise<FsNode | Failure> {
  const there = await parent.walk(name);
  return there === -Errno.ENOENT ? parent.mkdir(name, PRIVATE_MODE, LAYERS_OWN) : there;
}

/** Removes `name` and all below it, with as many directories open as it is deep. 0 or a negative errno. */
export async function removeTree(parent: FsNode, name: ByteString): Promise<number> {
  const look = await lookAt(parent, name);
  if (isFailure(look)) return look === -Errno.ENOENT ? 0 : look;
  const isDirectory = typeOf(look.attributes) === FileMode.S_IFDIR;
  const error = isDirectory ? await emptyDirectory(look.node) : 0;
  look.node.release();
  return error < 0 ? error : parent.unlink(name, isDirectory);
}

/** Removes all that is in a directory. 0 or a negative errno. */
export async function emptyDirectory(directory: FsNode): Promise<number> {
  const entries = await listEntries(directory);
  if (isFailure(entries)) return entries;
  const pace = new Pace(ENTRIES_A_TURN);
  for (const { name, type } of entries) {
    await pace.spend(1);
    const error = type === DT_DIR ? await removeTree(directory, name) : await directory.unlink(name, false);
    if (error < 0) return error;
  }
  return 0;
}
