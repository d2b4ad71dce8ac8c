/**
 * Requests that were about to change files when their server was killed: whether they did, by a look at the files. Where somebody else
 * on the host made the very change that was asked for, in that moment or after it, nobody can tell, and the request succeeds.
 */
import { Errno, type Failure } from '../../../errno.js';
import { FileMode, type Attributes, type FileSystem } from '../../fs/file-system.js';
import { MessageType, XattrFlag } from '../../protocol/constants.js';
import { TMessage } from '../../protocol/messages.js';
import type { SameFiles } from '../state/same-files.js';
import { Finder, lookUp, type Found } from './finder.js';
import type { JournalRecord } from './record.js';
import { isSameInode, readIntent, type Intent } from './intent.js';
import { BrokenJournal, decodeRequest, type Replay, type ReplayFid } from './replay.js';
import type { ReplayNode } from './replay-tree.js';

/** What a look is taken with. */
interface Look {
  readonly replay: Replay;
  readonly finder: Finder;
  readonly same: SameFiles;
  readonly m: TMessage;
  readonly before: Intent;
}

/** Whether the request was carried out. Where it moved or removed something, `replay` has it that way from then on. */
export async function wasCarriedOut(
  fs: FileSystem,
  replay: Replay,
  same: SameFiles,
  { request, extra }: JournalRecord,
): Promise<boolean> {
  const m = new TMessage();
  decodeRequest(request, m);
  const before = readIntent(extra);
  if (before === undefined) throw new BrokenJournal('it does not say what was there before a change');
  const finder = new Finder(fs);
  const look = { replay, finder, same, m, before };
  try {
    return await decide(look);
  } finally {
    finder.release();
  }
}

async function decide(look: Look): Promise<boolean> {
  const { replay, m } = look;
  const fid = replay.fids.get(m.fid);
  const directory = replay.fids.get(m.dfid)?.node;
  switch (m.type) {
    case MessageType.Tlcreate:
      return isMade(look, fid?.node, ({ mode }) => isOf(mode, FileMode.S_IFREG));
    case MessageType.Tmkdir:
      return isMade(look, directory, ({ mode }) => isOf(mode, FileMode.S_IFDIR));
    case MessageType.Tmknod:
      return isMade(look, directory, ({ mode }) => !isOf(mode, FileMode.S_IFDIR));
    case MessageType.Tsymlink:
      return isSymlinked(look, directory);
    case MessageType.Tlink:
      return isLinked(look, directory, fid);
    case MessageType.Tunlinkat:
      return isUnlinked(look, directory);
    case MessageType.Tremove:
      return isRemoved(look, fid);
    case MessageType.Trename:
      return isRenamed(look, fid?.node?.parent, fid?.node?.name ?? '', directory, m.name);
    case MessageType.Trenameat:
      return isRenamed(look, fid?.node, m.name, directory, m.newname);
    case MessageType.Tclunk:
      return isXattrStored(look, fid);
    default:
      return false;
  }
}

function isOf(mode: number, type: number): boolean {
  return (mode & FileMode.S_IFMT) === type;
}

/** The entry of a directory; -ENOENT where there is none. */
async function entry(
  { finder }: Look,
  directory: ReplayNode | undefined,
  name: string,
): Promise<Found | Failure> {
  if (directory === undefined) return -Errno.ESTALE;
  const found = await finder.find(directory);
  return typeof found === 'number' ? found : lookUp(found.node, name);
}

/** The attributes of the entry, which is let go; or a negative errno. */
async function attributesOf(
  look: Look,
  directory: ReplayNode | undefined,
  name: string,
): Promise<Attributes | Failure> {
  const found = await entry(look, directory, name);
  if (typeof found === 'number') return found;
  // All of them: a walk tells what it has seen.
  const failure = await found.node.getattr(found.attributes);
  found.node.release();
  return failure < 0 ? failure : found.attributes;
}

/** It was not there before. */
async function isMade(
  look: Look,
  directory: ReplayNode | undefined,
  isRight: (attributes: Attributes) => boolean,
): Promise<boolean> {
  if (look.before.isThere) return false;
  const attributes = await attributesOf(look, directory, look.m.name);
  return typeof attributes !== 'number' && isRight(attributes);
}

async function isSymlinked(look: Look, directory: ReplayNode | undefined): Promise<boolean> {
  if (!(await isMade(look, directory, ({ mode }) => isOf(mode, FileMode.S_IFLNK)))) return false;
  const found = await entry(look, directory, look.m.name);
  if (typeof found === 'number') return false;
  const target = await found.node.readlink();
  found.node.release();
  return target === look.m.symtgt;
}

function isLinked(
  look: Look,
  directory: ReplayNode | undefined,
  fid: ReplayFid | undefined,
): Promise<boolean> {
  return isMade(
    look,
    directory,
    (attributes) => fid !== undefined && look.same.isSame(attributes, fid.pathLow, fid.pathHigh),
  );
}

/** What the name led to is not what it leads to. */
async function isGone(look: Look, directory: ReplayNode | undefined, name: string): Promise<boolean> {
  if (!look.before.isThere) return false;
  const attributes = await attributesOf(look, directory, name);
  return typeof attributes === 'number'
    ? attributes === -Errno.ENOENT
    : !isSameInode(look.before, attributes);
}

async function isUnlinked(look: Look, directory: ReplayNode | undefined): Promise<boolean> {
  if (!(await isGone(look, directory, look.m.name))) return false;
  directory?.child(look.m.name)?.detach();
  return true;
}

async function isRemoved(look: Look, fid: ReplayFid | undefined): Promise<boolean> {
  const node = fid?.node;
  if (node === undefined || !look.before.isThere) return false;
  // A server before this one may have seen that it is gone.
  if (node.detached) return true;
  if (!(await isGone(look, node.parent, node.name))) return false;
  node.detach();
  return true;
}

async function isRenamed(
  look: Look,
  from: ReplayNode | undefined,
  name: string,
  to: ReplayNode | undefined,
  newName: string,
): Promise<boolean> {
  if (!(await isGone(look, from, name))) return false;
  const attributes = await attributesOf(look, to, newName);
  if (typeof attributes === 'number' || !isSameInode(look.before, attributes)) return false;
  const known = to?.child(newName);
  const isTold = known?.isKnown && look.same.isSame(attributes, known.pathLow, known.pathHigh);
  if (from !== undefined && to !== undefined && !isTold) from.rename(name, to, newName);
  return true;
}

/** Stored again, a value is what it was; but not where it had to be new, or is to be gone. */
async function isXattrStored({ finder, before }: Look, fid: ReplayFid | undefined): Promise<boolean> {
  const xattr = fid?.xattr;
  if (fid?.node === undefined || xattr?.kind !== 'write') return false;
  const isRemoval = xattr.value.length === 0 && xattr.flags === XattrFlag.XATTR_REPLACE;
  const found = await finder.find(fid.node);
  if (typeof found === 'number' || before.isThere !== isRemoval) return false;
  const there = await found.node.getxattr(xattr.name);
  if (isRemoval || typeof there === 'number') return isRemoval && there === -Errno.ENODATA;
  return there.length === xattr.value.length && there.every((byte, i) => byte === xattr.value[i]);
}
