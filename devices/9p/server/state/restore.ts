/**
 * Finds the files of another server's session again: by their names from the root, each held against what it was, or by descriptors that
 * came along. All of it or nothing: where one file is missing, or another one has its name, whatever was opened is closed, and the answer
 * says which. Fids are read, checked and found one after the other, so that the state of a million of them takes no room beside its bytes.
 */
import type { GivenDescriptors } from '../../../state-descriptors.js';
import { Attributes, type FileSystem } from '../../fs/file-system.js';
import { restoreStateOf } from '../../fs/kept.js';
import { MSIZE_MIN_BYTES, P9_NOFID, XATTR_SIZE_MAX_BYTES } from '../../protocol/constants.js';
import { dialectFor } from '../dialects.js';
import type { Fid } from '../fid.js';
import { checkEntryName } from '../names.js';
import type { ServerOptions } from '../options.js';
import { QidMapper } from '../qid-mapper.js';
import { XATTR_FIDS_MAX } from '../session.js';
import { Refusal, restoreFid, type Search } from './restore-fid.js';
import { SameFiles } from './same-files.js';
import { Found, type DecodedSession, type FidState } from './session-state.js';

/** So many files that are in the way are named. */
const REFUSED_MAX = 20;

/** What a session goes on with. */
export interface RestoredSession {
  readonly fids: readonly Fid[];
  readonly qids: QidMapper;
}

/** The session, or why it cannot be had here. Rejects only where the file system breaks its contract. */
export async function restoreSession(
  fs: FileSystem,
  state: DecodedSession,
  options: ServerOptions,
  descriptors: GivenDescriptors | undefined,
): Promise<RestoredSession | string> {
  const problem = problemOf(state, options) ?? (await restoreStateOf(fs, state.fileSystem, descriptors));
  if (problem !== undefined) return problem;
  const fids: Fid[] = [];
  const same = new SameFiles(state.prefixes);
  const search: Search = { fs, same, descriptors, attributes: new Attributes(), walker: undefined };
  try {
    const seen = new SeenFids(options);
    const refused: string[] = [];
    for (const each of state.fids) {
      seen.check(each);
      const refusal = await refusalOf(search, each, fids);
      if (refusal !== undefined && refused.push(refusal) === REFUSED_MAX) break;
    }
    if (refused.length > 0) throw new Refusal(refused.join('; '));
    const wrong = state.problem();
    if (wrong !== undefined) throw new Refusal(wrong);
    const prefixes = same.prefixes();
    if (prefixes === undefined) throw new Refusal('its numbers of files contradict each other');
    return { fids, qids: new QidMapper(prefixes) };
  } catch (error) {
    await letGo(fids);
    if (error instanceof Refusal) return error.message;
    throw error;
  } finally {
    search.walker?.release();
  }
}

/** Why the fid cannot be had here: the others are looked at all the same, so that whoever is to mend it hears of all. */
async function refusalOf(search: Search, state: FidState, fids: Fid[]): Promise<string | undefined> {
  try {
    await restoreFid(search, state, fids);
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error.message;
    throw error;
  }
}

/** What can be seen before any fid is. */
function problemOf(
  { dialect, msizeBytes, fidCount }: DecodedSession,
  { maxMsizeBytes, maxFids }: ServerOptions,
): string | undefined {
  if (dialect === '' ? fidCount > 0 : dialectFor(dialect)?.version !== dialect)
    return `its version of the protocol is ${JSON.stringify(dialect)}`;
  if (!(msizeBytes >= MSIZE_MIN_BYTES && msizeBytes <= maxMsizeBytes))
    return `its messages have up to ${msizeBytes} bytes, and ${maxMsizeBytes} are allowed here`;
  if (fidCount > maxFids) return `it has ${fidCount} fids, and ${maxFids} are allowed here`;
  return undefined;
}

/** The fids that have been read so far. */
class SeenFids {
  readonly #options: ServerOptions;
  readonly #numbers = new Set<number>();
  #open = 0;
  #xattrs = 0;

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  /** @throws Refusal for one that could not be, or would be too many */
  check(fid: FidState): void {
    const wrong = problemOfFid(fid);
    if (wrong !== undefined) throw new Refusal(`fid ${fid.number} ${wrong}`);
    if (this.#numbers.has(fid.number)) throw new Refusal('two of its fids have one number');
    this.#numbers.add(fid.number);
    const { maxOpenFiles } = this.#options;
    if (fid.isOpen !== 0 && ++this.#open > maxOpenFiles)
      throw new Refusal(`it has more open files than the ${maxOpenFiles} that are allowed here`);
    if (fid.xattr !== undefined && ++this.#xattrs > XATTR_FIDS_MAX)
      throw new Refusal('it holds too many extended attributes');
  }
}

function problemOfFid({ number, hasNode, isOpen, found, names, xattr }: FidState): string | undefined {
  if (number === P9_NOFID) return 'is none';
  if (hasNode === 0 && (isOpen !== 0 || xattr === undefined)) return 'is of nothing';
  if (found > Found.STALE) return 'is found in no way that there is';
  if (isOpen !== 0 && xattr !== undefined) return 'is open, and of an extended attribute';
  if (names.some((name) => checkEntryName(name) !== 0)) return 'is of a file with a name that is none';
  if (xattr === undefined) return undefined;
  const { value, writtenBytes } = xattr;
  if (value.length > XATTR_SIZE_MAX_BYTES || writtenBytes > value.length)
    return 'has a value that is too large';
  return undefined;
}

/** Closes and releases what fids have. */
export async function letGo(fids: readonly Fid[]): Promise<void> {
  for (const { file, node } of fids) {
    await file?.close();
    node?.release();
  }
}
