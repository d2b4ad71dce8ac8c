/**
 * Makes of a journal the session that it tells of: files are found by their names, and held against the inodes that they were. What
 * cannot be found again is told, and its fid is stale: the others are as they were.
 */
import { isFailure, type Failure } from '../../../errno.js';
import type { GivenDescriptor } from '../../../state-descriptors.js';
import {
  Attributes,
  isPromise,
  LockStatus,
  OpenFlag,
  type FileSystem,
  type FsNode,
  type OpenFile,
} from '../../fs/file-system.js';
import { MSIZE_MIN_BYTES, VERSION_9P2000_L } from '../../protocol/constants.js';
import { Fid } from '../fid.js';
import { OPEN_FLAGS } from '../operations/files.js';
import type { ServerOptions } from '../options.js';
import type { Session } from '../session.js';
import { QidMapper, qidTypeOf } from '../qid-mapper.js';
import { letGo, type RestoredSession } from '../state/restore.js';
import { SameFiles } from '../state/same-files.js';
import { Finder } from './finder.js';
import { regainFile, reopenFile, type HeldFiles } from './held-files.js';
import { RecordKind } from './record.js';
import { Repeats, type Known } from './repeats.js';
import { BrokenJournal, Replay, type ReplayFid } from './replay.js';
import type { SessionJournal } from './session-journal.js';
import { wasCarriedOut } from './resolve.js';
import { StaleFile, StaleNode } from '../stale.js';

/** Losses that are told in one message of the log. */
const LOSSES_TOLD = 8;

interface RecoveredSession extends RestoredSession {
  readonly msizeBytes: number;
  readonly repeats: Repeats;
  /** What is not as it was, a line each. */
  readonly losses: readonly string[];
}

/**
 * Has a new server's session go on where another one's was, from its journal, and says in the log what became of it. False where there
 * is nothing to go on from, or it is not wanted any more by the time it is found. Never rejects.
 */
export async function recoverInto(
  session: Session,
  journal: SessionJournal,
  isWanted: () => boolean,
): Promise<boolean> {
  const bytes = journal.takeLeft();
  if (bytes === undefined) return false;
  const recovered = await recoverSession(session.fs, bytes, session.options, journal.heldFiles);
  if (typeof recovered === 'string') {
    journal.clear();
    session.report(`what the guest had open is lost, for its journal cannot be used: ${recovered}`);
    return false;
  }
  const { fids, losses, msizeBytes, repeats } = recovered;
  if (!isWanted()) {
    await letGo(fids);
    return false;
  }
  session.adopt(recovered, msizeBytes);
  journal.resume(VERSION_9P2000_L, repeats);
  session.report(`found ${fids.length} fids of the guest's again${toldOf(losses)}`);
  return true;
}

/** The session; or why there is none. */
async function recoverSession(
  fs: FileSystem,
  journal: Uint8Array,
  options: ServerOptions,
  held: HeldFiles | undefined,
): Promise<RecoveredSession | string> {
  const replay = Replay.of(journal);
  if (typeof replay === 'string') return replay;
  const { msizeBytes, dialect } = replay;
  if (dialect !== VERSION_9P2000_L || msizeBytes < MSIZE_MIN_BYTES || msizeBytes > options.maxMsizeBytes)
    return `it is of a session of ${JSON.stringify(dialect)} with messages of ${msizeBytes} bytes`;
  const recovery = new Recovery(fs, replay, options, held);
  try {
    return await recovery.recover();
  } catch (error) {
    await recovery.letGo();
    return error instanceof BrokenJournal ? error.message : `looking for its files failed: ${String(error)}`;
  }
}

class Recovery {
  readonly #fs: FileSystem;
  readonly #replay: Replay;
  readonly #options: ServerOptions;
  readonly #same: SameFiles;
  readonly #finder: Finder;
  readonly #fids: Fid[] = [];
  readonly #losses: string[] = [];

  /** Files that some fid has open and that are held, by their qids' paths. */
  readonly #heldByPath = new Map<string, GivenDescriptor>();

  constructor(fs: FileSystem, replay: Replay, options: ServerOptions, held: HeldFiles | undefined) {
    this.#fs = fs;
    for (const state of replay.fids.values()) {
      const descriptor = held?.of(state.number);
      if (descriptor !== undefined) this.#heldByPath.set(pathKey(state), descriptor);
    }
    this.#replay = replay;
    this.#options = options;
    this.#same = new SameFiles([...replay.prefixes.values()]);
    this.#finder = new Finder(fs);
  }

  async recover(): Promise<RecoveredSession | string> {
    const known = await this.#knownRequests();
    for (const state of this.#replay.fids.values()) {
      const work = this.#recoverFid(state);
      if (work !== undefined) await work;
    }
    this.#finder.release();
    const prefixes = this.#same.prefixes();
    if (prefixes === undefined) throw new BrokenJournal('its numbers of files contradict each other');
    const { msizeBytes } = this.#replay;
    const losses = this.#losses;
    return {
      fids: this.#fids,
      qids: new QidMapper(prefixes),
      msizeBytes,
      repeats: new Repeats(known),
      losses,
    };
  }

  async letGo(): Promise<void> {
    this.#finder.release();
    await letGo(this.#fids);
  }

  /** First of all: what was renamed is to be found by its new name. */
  async #knownRequests(): Promise<Map<number, Known>> {
    const known = new Map<number, Known>();
    for (const [tag, record] of this.#replay.latest) {
      const isIntent = record.kind === RecordKind.INTENT;
      const done = isIntent && (await wasCarriedOut(this.#fs, this.#replay, this.#same, record));
      known.set(tag, { record, done });
    }
    return known;
  }

  async #recoverFid(state: ReplayFid): Promise<void> {
    const { number, node, xattr, qidType, pathLow, pathHigh } = state;
    const fid = new Fid(number);
    this.#fids.push(fid);
    fid.xattr = xattr;
    fid.name = state.lastName;
    if (node === undefined) return;
    fid.attachment = { uid: state.uid, pathLow: state.rootLow, pathHigh: state.rootHigh };
    const found = await this.#finder.find(node);
    const isIt =
      typeof found !== 'number' &&
      this.#same.isSame(found.attributes, pathLow, pathHigh) &&
      qidTypeOf(found.attributes.mode) === qidType;
    fid.identify({ type: qidType, version: 0, pathLow, pathHigh }, isIt ? found.attributes.device : 0);
    const held = isIt ? undefined : this.#heldByPath.get(pathKey(state));
    if (isIt) {
      found.node.retain();
      fid.node = found.node;
    } else if (held === undefined || !(await this.#regain(fid, node.lastNames(), state, held))) {
      fid.node = new StaleNode();
      this.#lose(state, typeof found === 'number' ? `is gone (errno ${-found})` : 'is another file by now');
    }
    if (state.openFlags !== undefined && fid.node !== undefined)
      await this.#open(fid, fid.node, state.openFlags, state, held);
  }

  /** The file has no name any more, and was held. */
  async #regain(
    fid: Fid,
    names: readonly string[],
    { pathLow, pathHigh, qidType }: ReplayFid,
    descriptor: GivenDescriptor,
  ): Promise<boolean> {
    const root = await this.#fs.attach();
    if (isFailure(root)) return false;
    const node = await regainFile(root, names.length > 0 ? names : [fid.name], descriptor);
    root.release();
    if (isFailure(node)) return false;
    const attributes = new Attributes();
    const isIt =
      (await node.getattr(attributes)) === 0 &&
      this.#same.isSame(attributes, pathLow, pathHigh) &&
      qidTypeOf(attributes.mode) === qidType;
    if (!isIt) {
      node.release();
      return false;
    }
    fid.node = node;
    fid.identify({ type: qidType, version: 0, pathLow, pathHigh }, attributes.device);
    return true;
  }

  async #open(
    fid: Fid,
    node: FsNode,
    openFlags: number,
    state: ReplayFid,
    held?: GivenDescriptor,
  ): Promise<void> {
    fid.openFlags = openFlags & OPEN_FLAGS;
    const again = fid.openFlags & ~OpenFlag.O_TRUNC;
    const isHeld = held !== undefined && !(node instanceof StaleNode);
    const file = isHeld ? await reopenFile(node, again, held) : await openAgain(node, again);
    if (typeof file === 'number' && !(node instanceof StaleNode))
      this.#lose(state, `cannot be opened again (errno ${-file})`);
    fid.file = typeof file === 'number' ? new StaleFile() : file;
    if (fid.file instanceof StaleFile) return;
    for (const lock of this.#replay.locks.heldThrough(fid.number)) {
      const { readOnly } = this.#options;
      const status = await fid.file.lock({ ...lock, wait: false, readOnly });
      if (status === LockStatus.P9_LOCK_SUCCESS) continue;
      const isTaken = status === LockStatus.P9_LOCK_BLOCKED;
      this.#lose(
        state,
        isTaken ? 'was locked by somebody else meanwhile' : `cannot be locked again (${status})`,
      );
    }
  }

  #lose({ number, node, lastName }: ReplayFid, what: string): void {
    const names = node?.names();
    const path = names === undefined ? lastName : `/${names.join('/')}`;
    this.#losses.push(`${JSON.stringify(path)} (fid ${number}) ${what}`);
  }
}

function pathKey({ pathLow, pathHigh }: Pick<ReplayFid, 'pathLow' | 'pathHigh'>): string {
  return `${pathHigh}:${pathLow}`;
}

async function openAgain(node: FsNode, flags: number): Promise<OpenFile | Failure> {
  const answer = node.openAgain(flags);
  return isPromise(answer) ? await answer : answer;
}

/** What follows in a message that says what was found again. */
function toldOf(losses: readonly string[]): string {
  if (losses.length === 0) return '';
  const more = losses.length > LOSSES_TOLD ? [`and ${losses.length - LOSSES_TOLD} more`] : [];
  return `, but: ${[...losses.slice(0, LOSSES_TOLD), ...more].join('; ')}`;
}
