/**
 * What one client has of the file system: its fids, open files and counters. Whatever a request takes here is noted on the
 * request, and `settle` gives it back when the request ends, however it ends: no error path has to remember.
 */
import { Errno, type Failure } from '../../errno.js';
import { LatencyCounts } from '../../latencies.js';
import { isPromise } from '../fs/file-system.js';
import type { FileSystem, FsNode, MaybePromise, OpenFile } from '../fs/file-system.js';
import { MSIZE_MIN_BYTES, P9_NOFID } from '../protocol/constants.js';
import { Fid, type Attachment, type NodeFid, type OpenFid, type XattrValue } from './fid.js';
import type { ServerLatencies, ServerOptions, ServerStatistics } from './options.js';
import { QidMapper } from './qid-mapper.js';
import type { Request } from './request.js';
import type { RestoredSession } from './state/restore.js';

/** Most fids at a time that hold an extended attribute's value: with 64 KiB each, 8 MiB. */
export const XATTR_FIDS_MAX = 128;
/** Most requests at a time that wait for a lock: others are told at once that it is taken, so that places stay free. */
export const LOCK_WAITS_MAX = 32;
/** Reports after which a server is silent, so that a guest that found a bug cannot fill the log with it. */
const REPORTS_MAX = 100;

/** What a session asks of its server. */
export interface SessionHooks {
  /** A close that took a while is done. */
  onClosed(): void;
  /** The fid is gone while requests use it: those that wait for something are to give up. */
  interrupt(fid: Fid): void;
}

export class Session {
  readonly fs: FileSystem;
  options: ServerOptions;
  qids = new QidMapper();
  readonly statistics: ServerStatistics = {
    requests: 0,
    errors: 0,
    bytesRead: 0,
    bytesWritten: 0,
    fids: 0,
    openFiles: 0,
  };
  readonly latencies: ServerLatencies = {
    read: new LatencyCounts(),
    write: new LatencyCounts(),
    metadata: new LatencyCounts(),
  };
  /** The message size agreed on. */
  msizeBytes: number;
  /** Files whose close is under way. */
  closing = 0;
  readonly #fids = new Map<number, Fid>();
  readonly #hooks: SessionHooks;
  #xattrFids = 0;
  #lockWaits = 0;
  #reports = 0;

  constructor(fs: FileSystem, options: ServerOptions, hooks: SessionHooks) {
    if (!(options.maxMsizeBytes >= MSIZE_MIN_BYTES))
      throw new RangeError(`maxMsizeBytes is below ${MSIZE_MIN_BYTES}`);
    this.fs = fs;
    this.options = options;
    this.msizeBytes = options.maxMsizeBytes;
    this.#hooks = hooks;
  }

  report(what: string, error?: unknown): void {
    if (this.#reports++ < REPORTS_MAX) this.options.log(`9p: ${what}`, error);
  }

  /** The fid of any kind, held or not; undefined where there is none. */
  fid(number: number): Fid | undefined {
    return this.#fids.get(number);
  }

  /** All fids, reserved ones among them. */
  get fids(): Iterable<Fid> {
    return this.#fids.values();
  }

  /** Goes on with what another server's client had; there is nothing here yet. */
  adopt({ fids, qids }: RestoredSession, msizeBytes: number): void {
    this.qids = qids;
    this.msizeBytes = msizeBytes;
    for (const fid of fids) {
      this.#fids.set(fid.number, fid);
      if (fid.file !== undefined) this.statistics.openFiles++;
      if (fid.xattr !== undefined) this.#xattrFids++;
    }
    this.statistics.fids = this.#fids.size;
  }

  /** Has the request give up what it waits for, if it does. */
  interrupt({ blocked, blockedOn }: Request): void {
    if (blocked === undefined || blockedOn === undefined) return;
    try {
      blocked.interrupt(blockedOn);
    } catch (error) {
      this.report('interrupt threw', error);
    }
  }

  /** True of a request that has waited for something on a fid that is there still, and whose client wants it. */
  mayBeginAnew({ blockedOn, flushed, fid }: Request): boolean {
    const isKnown = fid !== undefined && this.#fids.get(fid.number) === fid;
    return isKnown && blockedOn !== undefined && !flushed;
  }

  /** The fid of any kind but reserved, held until the request ends; -EBADF where there is none. */
  hold(r: Request, number: number): Fid | Failure {
    const fid = this.#fids.get(number);
    if (fid === undefined || (fid.node === undefined && fid.xattr === undefined)) return -Errno.EBADF;
    fid.holds++;
    r.fid = fid;
    return fid;
  }

  /** The fid of a node, open or not. */
  holdNode(r: Request, number: number): NodeFid | Failure {
    const fid = this.#fids.get(number);
    if (fid === undefined || fid.node === undefined || fid.xattr !== undefined) return -Errno.EBADF;
    fid.holds++;
    r.fid = fid;
    return fid as NodeFid;
  }

  /** The fid of an open file or directory. */
  holdOpen(r: Request, number: number): OpenFid | Failure {
    const fid = this.#fids.get(number);
    if (fid === undefined || fid.file === undefined) return -Errno.EBADF;
    fid.holds++;
    r.fid = fid;
    return fid as OpenFid;
  }

  /** True where the fid is one of an open directory. Holds nothing. */
  isOpenDirectory(number: number): boolean {
    const fid = this.#fids.get(number);
    return fid?.file !== undefined && fid.isDirectory;
  }

  /** The fid of a node, for a request that has another one, too. */
  holdOther(r: Request, number: number): NodeFid | Failure {
    const fid = this.#fids.get(number);
    if (fid === undefined || fid.node === undefined || fid.xattr !== undefined) return -Errno.EBADF;
    fid.holds++;
    r.dfid = fid;
    return fid as NodeFid;
  }

  /** The fid of a directory, for a request that may name another file as well; -ENOTDIR where it is something else. */
  holdDirectory(r: Request, number: number): NodeFid | Failure {
    const fid = this.#fids.get(number);
    if (fid === undefined || fid.node === undefined || fid.xattr !== undefined) return -Errno.EBADF;
    if (!fid.isDirectory) return -Errno.ENOTDIR;
    fid.holds++;
    r.dfid = fid;
    return fid as NodeFid;
  }

  /** Marks the fid, which the request holds, as about to become something else: -EBUSY while another request does that. */
  change(r: Request, fid: Fid): number {
    if (fid.file !== undefined) return -Errno.EINVAL;
    if (fid.changing) return -Errno.EBUSY;
    fid.changing = true;
    r.changing = fid;
    return 0;
  }

  /** Takes a fid's number before the file system is asked, so that no other request can. `establish` makes it lasting. */
  reserve(r: Request, number: number): number {
    if (number === P9_NOFID || this.#fids.has(number)) return -Errno.EINVAL;
    if (this.#fids.size >= this.options.maxFids) return -Errno.EMFILE;
    const fid = new Fid(number);
    this.#fids.set(number, fid);
    this.statistics.fids = this.#fids.size;
    fid.holds++;
    r.reserved = fid;
    return 0;
  }

  /** Makes the reserved fid the client's: one of `node`, with the request's qid. The caller's reference becomes the fid's. */
  establish(r: Request, node: FsNode, attachment: Attachment): void {
    const fid = r.reserved;
    if (fid === undefined) throw new Error('a fid was established that was not reserved');
    r.reserved = undefined;
    fid.establish(node, attachment);
    fid.identify(r.qid, r.attributes.device);
    void this.release(fid);
  }

  /** Makes the reserved fid the client's: one of an extended attribute's value, in the place that `reserveXattr` gave. */
  establishXattr(r: Request, xattr: XattrValue): void {
    const fid = r.reserved;
    if (fid === undefined) throw new Error('a fid was established that was not reserved');
    r.reserved = undefined;
    r.xattrReserved = false;
    fid.xattr = xattr;
    void this.release(fid);
  }

  /** Puts `next` in the place of `old`; false where that is no longer there, and `next` is released. */
  replace(old: Fid, next: Fid): boolean {
    const current = this.#fids.get(old.number) === old;
    if (current) this.#fids.set(old.number, next);
    void this.release(current ? old : next);
    return current;
  }

  /** Takes the fid out of the table; the table's hold is the caller's now. Undefined where there is none. */
  remove(number: number): Fid | undefined {
    const fid = this.#fids.get(number);
    if (fid === undefined || (fid.node === undefined && fid.xattr === undefined)) return undefined;
    this.#fids.delete(number);
    this.statistics.fids = this.#fids.size;
    if (fid.holds > 1) this.#hooks.interrupt(fid);
    return fid;
  }

  /** Room for one more open file, given back by `settle` or, once it is a fid's, by closing it. */
  reserveOpen(r: Request): boolean {
    if (this.statistics.openFiles >= this.options.maxOpenFiles) return false;
    this.statistics.openFiles++;
    r.openReserved = true;
    return true;
  }

  reserveXattr(r: Request): boolean {
    if (this.#xattrFids >= XATTR_FIDS_MAX) return false;
    this.#xattrFids++;
    r.xattrReserved = true;
    return true;
  }

  get mayWaitForLock(): boolean {
    return this.#lockWaits < LOCK_WAITS_MAX;
  }

  /** Counts the request among those that wait for a lock, until it ends. */
  waitForLock(r: Request): void {
    this.#lockWaits++;
    r.lockWaits = true;
  }

  /** Drops every fid. Those that requests use stay until those requests end. */
  drop(): void {
    const fids = [...this.#fids.values()];
    this.#fids.clear();
    this.statistics.fids = 0;
    for (const fid of fids) void this.release(fid);
  }

  /** Gives back all that the request still holds. */
  settle(r: Request): void {
    if (r.changing !== undefined) r.changing.changing = false;
    r.changing = undefined;
    if (r.readingDirectory !== undefined) r.readingDirectory.readingDirectory = false;
    r.readingDirectory = undefined;
    if (r.reserved !== undefined) this.#unreserve(r.reserved);
    r.reserved = undefined;
    if (r.ownedFile !== undefined) void this.#close(r.ownedFile, r.ownedNode);
    else this.#releaseOwned(r);
    r.ownedFile = undefined;
    r.ownedNode = undefined;
    r.openReserved = false;
    if (r.xattrReserved) this.#xattrFids--;
    r.xattrReserved = false;
    if (r.lockWaits) this.#lockWaits--;
    r.lockWaits = false;
    if (r.fid !== undefined) void this.release(r.fid);
    r.fid = undefined;
    if (r.dfid !== undefined) void this.release(r.dfid);
    r.dfid = undefined;
  }

  #releaseOwned(r: Request): void {
    if (r.openReserved) this.statistics.openFiles--;
    if (r.ownedNode !== undefined) this.releaseNode(r.ownedNode);
  }

  #unreserve(fid: Fid): void {
    if (this.#fids.get(fid.number) === fid) {
      this.#fids.delete(fid.number);
      this.statistics.fids = this.#fids.size;
      void this.release(fid);
    }
    void this.release(fid);
  }

  /** One hold less; the last one closes the file and releases the node. Never rejects. */
  release(fid: Fid): MaybePromise<void> {
    if (--fid.holds > 0) return;
    if (fid.xattr !== undefined) this.#xattrFids--;
    const { file, node } = fid;
    fid.file = undefined;
    fid.node = undefined;
    if (file !== undefined) return this.#close(file, node);
    if (node !== undefined) this.releaseNode(node);
  }

  releaseNode(node: FsNode): void {
    try {
      node.release();
    } catch (error) {
      this.report('release threw', error);
    }
  }

  /** Closes the file, and then releases the node that it was opened on. */
  #close(file: OpenFile, node: FsNode | undefined): MaybePromise<void> {
    try {
      const answer = file.close();
      if (isPromise(answer)) return this.#closeLater(answer, node);
    } catch (error) {
      this.report('close threw', error);
    }
    this.#closed(node);
  }

  #closeLater(answer: Promise<void>, node: FsNode | undefined): Promise<void> {
    const finish = (): void => {
      this.closing--;
      this.#closed(node);
      this.#hooks.onClosed();
    };
    this.closing++;
    return answer.then(finish, (error: unknown) => {
      this.report('close failed', error);
      finish();
    });
  }

  #closed(node: FsNode | undefined): void {
    this.statistics.openFiles--;
    if (node !== undefined) this.releaseNode(node);
  }
}
