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
import { intentOf } from './repeats.js';
import { decodeRequest, type Replay, type ReplayFid } from './replay.js';
import type { ReplayNode } from './replay-tree.js';

/** Times of files are those of the kernel's last tick, and so up to this much older than the clock. */
const TICK_MS = 10;

/** What a look is taken with. */
interface Look {
  readonly replay: Replay;
  readonly finder: Finder;
  readonly same: SameFiles;
  readonly m: TMessage;
  readonly sinceMs: number;
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
  const finder = new Finder(fs);
  const [timeMs] = intentOf(extra);
  const look = { replay, finder, same, m, sinceMs: timeMs - TICK_MS };
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

async function isMade(
  look: Look,
  directory: ReplayNode | undefined,
  isRight: (attributes: Attributes) => boolean,
): Promise<boolean> {
  const attributes = await attributesOf(look, directory, look.m.name);
  if (typeof attributes === 'number') return false;
  const { hasBtime, btimeSeconds, btimeNanoseconds, ctimeSeconds, ctimeNanoseconds } = attributes;
  const madeMs = hasBtime ? ms(btimeSeconds, btimeNanoseconds) : ms(ctimeSeconds, ctimeNanoseconds);
  return isRight(attributes) && madeMs >= look.sinceMs;
}

function ms(seconds: number, nanoseconds: number): number {
  return seconds * 1000 + nanoseconds / 1e6;
}

async function isSymlinked(look: Look, directory: ReplayNode | undefined): Promise<boolean> {
  if (!(await isMade(look, directory, ({ mode }) => isOf(mode, FileMode.S_IFLNK)))) return false;
  const found = await entry(look, directory, look.m.name);
  if (typeof found === 'number') return false;
  const target = await found.node.readlink();
  found.node.release();
  return target === look.m.symtgt;
}

async function isLinked(
  look: Look,
  directory: ReplayNode | undefined,
  fid: ReplayFid | undefined,
): Promise<boolean> {
  const attributes = await attributesOf(look, directory, look.m.name);
  if (typeof attributes === 'number' || fid === undefined) return false;
  const changedMs = ms(attributes.ctimeSeconds, attributes.ctimeNanoseconds);
  return look.same.isSame(attributes, fid.pathLow, fid.pathHigh) && changedMs >= look.sinceMs;
}

async function isUnlinked(look: Look, directory: ReplayNode | undefined): Promise<boolean> {
  if ((await attributesOf(look, directory, look.m.name)) !== -Errno.ENOENT) return false;
  directory?.child(look.m.name)?.detach();
  return true;
}

async function isRemoved(look: Look, fid: ReplayFid | undefined): Promise<boolean> {
  const node = fid?.node;
  if (node === undefined || node.detached || node.parent === undefined) return false;
  const attributes = await attributesOf(look, node.parent, node.name);
  if (typeof attributes === 'number' && attributes !== -Errno.ENOENT) return false;
  if (typeof attributes !== 'number' && look.same.isSame(attributes, fid?.pathLow ?? 0, fid?.pathHigh ?? 0))
    return false;
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
  if (from === undefined || to === undefined) return false;
  if ((await attributesOf(look, from, name)) !== -Errno.ENOENT) return false;
  const attributes = await attributesOf(look, to, newName);
  if (typeof attributes === 'number') return false;
  const moved = from.child(name);
  const changedMs = ms(attributes.ctimeSeconds, attributes.ctimeNanoseconds);
  const isIt = moved?.isKnown
    ? look.same.isSame(attributes, moved.pathLow, moved.pathHigh)
    : changedMs >= look.sinceMs;
  if (isIt) from.rename(name, to, newName);
  return isIt;
}

async function isXattrStored({ finder }: Look, fid: ReplayFid | undefined): Promise<boolean> {
  const xattr = fid?.xattr;
  if (fid?.node === undefined || xattr?.kind !== 'write') return false;
  const found = await finder.find(fid.node);
  if (typeof found === 'number') return false;
  const there = await found.node.getxattr(xattr.name);
  const { value, flags } = xattr;
  if (typeof there === 'number')
    return there === -Errno.ENODATA && value.length === 0 && flags === XattrFlag.XATTR_REPLACE;
  return there.length === value.length && there.every((byte, i) => byte === value[i]);
}
