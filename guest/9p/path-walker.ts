/**
 * Finds what a path names, as a kernel does: the server walks plain names, up to 16 at a time; symbolic links are read and
 * followed here, since they are the client's business. Absolute links start at the mount's root, the only tree there is.
 */
import { GuestError } from '../errors.js';
import type { Client9p } from './client.js';
import { MAX_WALK_ELEMENTS, QidType } from './constants.js';
import type { Bytes } from './cursor.js';
import type { Qid } from './messages.js';
import { isAbsolute, PARENT, splitPath, toText } from './path.js';

/** Links followed in one path at most, as Linux has it. */
const MAX_LINKS = 40;

/** A fid of the caller's, to be clunked by it, and what it stands for. */
export interface WalkedNode {
  readonly fid: number;
  readonly qid: Qid;
  /** Set where the path's last name does not exist, and that was allowed: `fid` is the directory it would be in. */
  readonly missing?: Bytes;
}

/** A directory's fid, to be clunked by the caller, and a name in it. */
export interface NameInDirectory {
  readonly fid: number;
  readonly name: Bytes;
}

export interface WalkOptions {
  /** Follow a link that the path's last name is. Links before the last name always are. */
  readonly follow: boolean;
  /** Settle for the directory where only the last name does not exist. */
  readonly orParent?: boolean;
  readonly signal?: AbortSignal;
}

/** How far a walk came: `depth` names deep. */
interface Descent {
  readonly fid: number;
  readonly qid: Qid;
  readonly depth: number;
  /** Why the next name could not be walked to. */
  readonly error?: GuestError;
}

export class PathWalker {
  readonly #client: Client9p;
  readonly #rootFid: number;
  readonly #rootQid: Qid;

  constructor(client: Client9p, rootFid: number, rootQid: Qid) {
    this.#client = client;
    this.#rootFid = rootFid;
    this.#rootQid = rootQid;
  }

  /** A new fid for what `path` names. */
  async walk(path: Bytes, options: WalkOptions): Promise<WalkedNode> {
    return this.walkNames(splitPath(path), options);
  }

  /** The directory that the path's last name is in. The last name itself may or may not exist; it cannot be '..' or the root. */
  async parent(path: Bytes, signal?: AbortSignal): Promise<NameInDirectory> {
    const names = splitPath(path);
    const name = names.pop();
    if (name === undefined) throw new GuestError('EBUSY', { syscall: 'walk', path: toText(path) });
    if (name === PARENT) throw new GuestError('EINVAL', { syscall: 'walk', path: toText(path) });
    const { fid } = await this.walkNames(names, { follow: true, signal });
    return { fid, name };
  }

  /** `walk` for a path in names, as `splitPath` makes them. */
  async walkNames(names: readonly Bytes[], options: WalkOptions): Promise<WalkedNode> {
    /** Names that are known to be directories and no links; what is still to do; links followed. */
    let done: Bytes[] = [];
    let pending = [...names];
    for (let links = 0; links <= MAX_LINKS;) {
      // What '..' goes up from has to be known first: it may be a link.
      const up = pending.indexOf(PARENT);
      const ahead = [...done, ...(up < 0 ? pending : pending.slice(0, up))];
      const at = await this.#descend(ahead, options.signal);
      const complete = at.depth === ahead.length;
      const isLink = (at.qid.type & QidType.QTSYMLINK) !== 0;
      if (isLink && (!complete || options.follow || up >= 0)) {
        links++;
        const target = await this.#readLink(at.fid, options.signal);
        done = isAbsolute(target) ? [] : ahead.slice(0, at.depth - 1);
        pending = [...splitPath(target), ...ahead.slice(at.depth), ...(up < 0 ? [] : pending.slice(up))];
      } else if (!complete) {
        return this.#stopped(at, ahead, options.orParent === true && up < 0);
      } else if (up < 0) {
        return { fid: at.fid, qid: at.qid };
      } else {
        await this.#client.clunk(at.fid);
        if ((at.qid.type & QidType.QTDIR) === 0) throw new GuestError('ENOTDIR', { syscall: 'walk' });
        done = ahead.slice(0, -1);
        pending = pending.slice(up + 1);
      }
    }
    throw new GuestError('ELOOP', { syscall: 'walk' });
  }

  /** The answer where a name cannot be walked to and is no link. */
  async #stopped(at: Descent, ahead: readonly Bytes[], orParent: boolean): Promise<WalkedNode> {
    const error = at.error ?? new GuestError('ENOTDIR', { syscall: 'walk' });
    if (orParent && error.code === 'ENOENT' && at.depth === ahead.length - 1) {
      return { fid: at.fid, qid: at.qid, missing: ahead[at.depth] };
    }
    await this.#abandon(at.fid, true);
    throw error;
  }

  /** Walks from the root as far as directories go. The fid it answers is established, whatever came in the way. */
  async #descend(names: readonly Bytes[], signal: AbortSignal | undefined): Promise<Descent> {
    const fid = this.#client.takeFid();
    let established = false;
    let qid = this.#rootQid;
    let depth = 0;
    try {
      while (depth < names.length && (depth === 0 || (qid.type & QidType.QTDIR) !== 0)) {
        const batch = names.slice(depth, depth + MAX_WALK_ELEMENTS);
        const walked = await this.#walkBatch(established ? fid : this.#rootFid, fid, batch, signal);
        if (walked instanceof GuestError) {
          if (!established) await this.#client.walk(this.#rootFid, fid, [], signal);
          return { fid, qid, depth, error: walked };
        }
        established = true;
        depth += walked.length;
        qid = walked[walked.length - 1];
      }
      if (!established) await this.#client.walk(this.#rootFid, fid, [], signal);
      return { fid, qid, depth };
    } catch (error) {
      await this.#abandon(fid, established);
      throw error;
    }
  }

  /**
   * Walks as many of the names as the server will, and establishes `newFid` there. An errno is the first name's: a server only
   * says how many names it walked when it walked some, so the next round asks about the one that stopped it.
   */
  async #walkBatch(
    fid: number,
    newFid: number,
    names: readonly Bytes[],
    signal: AbortSignal | undefined,
  ): Promise<Qid[] | GuestError> {
    try {
      const qids = await this.#client.walk(fid, newFid, names, signal);
      if (qids.length === names.length) return qids;
      const again = await this.#client.walk(fid, newFid, names.slice(0, qids.length), signal);
      return again.length === qids.length ? again : new GuestError('ESTALE', { syscall: 'walk' });
    } catch (error) {
      if (error instanceof GuestError) return error;
      throw error;
    }
  }

  async #readLink(fid: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    try {
      return await this.#client.readlink(fid, signal);
    } finally {
      await this.#client.clunk(fid);
    }
  }

  /** On the way out with an error, which one of the clunk's must not hide. */
  async #abandon(fid: number, established: boolean): Promise<void> {
    if (established) await this.#client.clunk(fid).catch(() => undefined);
    else this.#client.giveFid(fid);
  }
}
