/** Directories as a whole: listing one, making a chain of them, removing a tree. */
import { GuestError } from '../errors.js';
import type { Client9p } from './client.js';
import { AT_REMOVEDIR, OpenFlags, QidType } from './constants.js';
import type { Bytes } from './cursor.js';
import type { Qid, RawDirectoryEntry } from './messages.js';
import { splitPath, toText } from './path.js';
import type { PathWalker } from './path-walker.js';

const OPEN_DIRECTORY = OpenFlags.O_RDONLY | OpenFlags.O_DIRECTORY | OpenFlags.O_LARGEFILE;

/** Reads the directory that `fid` stands for, which is clunked. '.' and '..' are left out. */
export async function listDirectory(
  client: Client9p,
  fid: number,
  signal: AbortSignal | undefined,
): Promise<RawDirectoryEntry[]> {
  try {
    await client.lopen(fid, OPEN_DIRECTORY, signal);
    const entries: RawDirectoryEntry[] = [];
    let offsetLow = 0;
    let offsetHigh = 0;
    for (;;) {
      const batch = await client.readdir(fid, offsetLow, offsetHigh, signal);
      const last = batch.at(-1);
      if (last === undefined) return entries;
      // A position that does not move would be read for ever.
      if (last.offsetLow === offsetLow && last.offsetHigh === offsetHigh) {
        throw new GuestError('EIO', { syscall: 'readdir', detail: 'the directory goes in circles' });
      }
      ({ offsetLow, offsetHigh } = last);
      for (const entry of batch) if (!isDotName(entry.name)) entries.push(entry);
    }
  } finally {
    await client.clunk(fid);
  }
}

/** Makes the directories of `path` that are missing. */
export async function makeDirectories(
  client: Client9p,
  walker: PathWalker,
  path: Bytes,
  attributes: { readonly mode: number; readonly gid: number },
  signal: AbortSignal | undefined,
): Promise<void> {
  const names = splitPath(path);
  for (let depth = 1; depth <= names.length; depth++) {
    const options = { follow: true, orParent: true, signal };
    const { fid, qid, missing } = await walker.walkNames(names.slice(0, depth), options);
    try {
      if (missing !== undefined) await client.mkdir(fid, missing, attributes.mode, attributes.gid, signal);
      else if ((qid.type & QidType.QTDIR) === 0) throw notDirectory(depth === names.length);
    } catch (error) {
      // Somebody else made it in the meantime, or a file: the next round, or the caller's next call, sees which.
      if (missing === undefined || !(error instanceof GuestError) || error.code !== 'EEXIST') throw error;
    } finally {
      await client.clunk(fid);
    }
  }
}

function notDirectory(isLast: boolean): GuestError {
  return new GuestError(isLast ? 'EEXIST' : 'ENOTDIR', { syscall: 'mkdir' });
}

/** Removes what `name` in directory `directoryFid` is, and everything in it. Links are removed, never followed. */
export async function removeTree(
  client: Client9p,
  directoryFid: number,
  name: Bytes,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { fid, qids } = await walkTo(client, directoryFid, [name], signal);
  const isDirectory = (qids[0].type & QidType.QTDIR) !== 0;
  try {
    if (isDirectory) {
      // An open fid cannot be walked from: the listing takes one of its own.
      const clone = await walkTo(client, fid, [], signal);
      const listed = await listDirectory(client, clone.fid, signal);
      for (const entry of listed) await removeTree(client, fid, entry.name, signal);
    }
  } finally {
    await client.clunk(fid);
  }
  await client.unlinkat(directoryFid, name, isDirectory ? AT_REMOVEDIR : 0, signal);
}

/** A new fid, and the qids on the way to it. */
async function walkTo(
  client: Client9p,
  fid: number,
  names: readonly Bytes[],
  signal: AbortSignal | undefined,
): Promise<{ fid: number; qids: Qid[] }> {
  const newFid = client.takeFid();
  try {
    return { fid: newFid, qids: await client.walk(fid, newFid, names, signal) };
  } catch (error) {
    client.giveFid(newFid);
    throw error;
  }
}

function isDotName(name: Uint8Array): boolean {
  const text = name.byteLength <= 2 ? toText(name) : '';
  return text === '.' || text === '..';
}
