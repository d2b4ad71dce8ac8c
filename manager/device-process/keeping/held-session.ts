/** What of a mount's session is to outlive the process: its journal, and open files that have no name any more. Whoever keeps the connection holds them. */
import type { HeldFiles } from '../../../devices/9p/server/journal/held-files.js';
import type { GivenDescriptor } from '../../../devices/state-descriptors.js';
import { closeFd, duplicateFd } from '../../../host/index.js';
import type { LogMethod } from '../../logging/log.js';
import type { KeptParts, ToldPart } from '../../ports/keeping/told.js';
import { Allowance } from './allowance.js';
import type { Held } from './held.js';
import { JournalMemory } from './journal-memory.js';

const JOURNAL = 'journal';
/** How the part of a file is named: its fid is behind it. */
const FILE = 'file ';
/** A guest that goes on beyond that loses those files with the process. */
export const MAX_FILES = 1024;

/** Of a session that shares what there is with others. */
export interface HeldAmong {
  /** What the names of its parts begin with. */
  readonly prefix: string;
  readonly files: Allowance;
  /** Of journals, as `JournalMemory` has it. */
  readonly pages: Allowance;
}

export class HeldSession implements HeldFiles, Held {
  readonly journal: JournalMemory;
  readonly #prefix: string;
  readonly #files: Allowance;
  /** By fid. */
  readonly #fds = new Map<number, number>();
  tell: (part: ToldPart) => Promise<void> = () => Promise.resolve();

  /** @throws HostError where there is no memory for the journal */
  constructor(log: LogMethod, among?: HeldAmong) {
    this.#prefix = among?.prefix ?? '';
    this.#files = among?.files ?? new Allowance(MAX_FILES);
    this.journal = new JournalMemory(this, log, among?.pages);
  }

  async hold(fid: number, descriptor: number): Promise<void> {
    this.#drop(fid);
    const own = this.#take(fid, () => duplicateFd(descriptor));
    if (own >= 0) await this.tell(this.#partOf(fid, [own]));
  }

  release(fid: number): void {
    if (this.#drop(fid)) void this.tell(this.#partOf(fid, []));
  }

  of(fid: number): GivenDescriptor | undefined {
    const fd = this.#fds.get(fid);
    return fd === undefined ? undefined : { fd, take: () => duplicateFd(fd) };
  }

  parts(): ToldPart[] {
    const files = Array.from(this.#fds, ([fid, fd]) => this.#partOf(fid, [fd]));
    return [this.#journalPart([this.journal.fd]), ...files];
  }

  /** Tells of the session, which is a new one on a connection that is kept already. */
  begin(): Promise<void> {
    return this.tell(this.#journalPart([this.journal.fd]));
  }

  /** The session's mount is gone, and the connection goes on without. */
  async end(): Promise<void> {
    for (const fid of [...this.#fds.keys()]) this.release(fid);
    this.close();
    await this.tell(this.#journalPart([]));
  }

  take(parts: KeptParts): void {
    const journal = parts.get(this.#prefix + JOURNAL)?.parcel.takeFdIfThere(0) ?? -1;
    if (journal >= 0) this.journal.adopt(journal);
    const beginning = this.#prefix + FILE;
    for (const [name, { parcel }] of parts) {
      const fid = name.startsWith(beginning) ? Number(name.slice(beginning.length)) : -1;
      if (Number.isInteger(fid) && fid >= 0 && !this.#fds.has(fid))
        this.#take(fid, () => parcel.takeFdIfThere(0));
    }
  }

  close(): void {
    for (const fid of [...this.#fds.keys()]) this.#drop(fid);
    this.journal.close();
  }

  /** The descriptor that the fid has now; -1 where there is none to be had. */
  #take(fid: number, get: () => number): number {
    if (!this.#files.take(1)) return -1;
    const fd = get();
    if (fd >= 0) this.#fds.set(fid, fd);
    else this.#files.giveBack(1);
    return fd;
  }

  #drop(fid: number): boolean {
    const fd = this.#fds.get(fid);
    if (fd === undefined) return false;
    closeFd(fd);
    this.#files.giveBack(1);
    return this.#fds.delete(fid);
  }

  #journalPart(fds: readonly number[]): ToldPart {
    return { name: this.#prefix + JOURNAL, data: {}, fds };
  }

  #partOf(fid: number, fds: readonly number[]): ToldPart {
    return { name: `${this.#prefix}${FILE}${fid}`, data: {}, fds };
  }
}
