/** What of a mount's session is to outlive the process: its journal, and open files that have no name any more. Whoever keeps the connection holds them. */
import type { HeldFiles } from '../../../devices/9p/server/journal/held-files.js';
import type { GivenDescriptor } from '../../../devices/state-descriptors.js';
import { closeFd, duplicateFd } from '../../../host/index.js';
import type { KeptParts } from '../../ports/vhost-user/kept-back-end.js';
import type { KeptExtras, ToldPart } from '../../ports/vhost-user/kept-state.js';
import { JournalMemory } from './journal-memory.js';

const JOURNAL = 'journal';
/** How the part of a file is named: its fid is behind it. */
const FILE = 'file ';
/** A guest that goes on beyond that loses those files with the process. */
const MAX_FILES = 1024;

export class HeldSession implements HeldFiles, KeptExtras {
  readonly journal: JournalMemory;
  /** By fid. */
  readonly #fds = new Map<number, number>();
  /** Tells of a part that has changed. */
  tell: (part: ToldPart) => Promise<void> = () => Promise.resolve();

  /** @throws HostError where there is no memory for the journal */
  constructor(log: (message: string) => void) {
    this.journal = new JournalMemory(this, log);
  }

  async hold(fid: number, descriptor: number): Promise<void> {
    this.#drop(fid);
    const own = this.#fds.size < MAX_FILES ? duplicateFd(descriptor) : -1;
    if (own < 0) return;
    this.#fds.set(fid, own);
    await this.tell(partOf(fid, [own]));
  }

  release(fid: number): void {
    if (this.#drop(fid)) void this.tell(partOf(fid, []));
  }

  of(fid: number): GivenDescriptor | undefined {
    const fd = this.#fds.get(fid);
    return fd === undefined ? undefined : { fd, take: () => duplicateFd(fd) };
  }

  parts(): ToldPart[] {
    const files = Array.from(this.#fds, ([fid, fd]) => partOf(fid, [fd]));
    return [{ name: JOURNAL, data: {}, fds: [this.journal.fd] }, ...files];
  }

  take(parts: KeptParts): void {
    const journal = parts.get(JOURNAL)?.parcel.takeFdIfThere(0) ?? -1;
    if (journal >= 0) this.journal.adopt(journal);
    for (const [name, { parcel }] of parts) {
      const fid = name.startsWith(FILE) ? Number(name.slice(FILE.length)) : -1;
      const fd =
        Number.isInteger(fid) && fid >= 0 && this.#fds.size < MAX_FILES ? parcel.takeFdIfThere(0) : -1;
      if (fd < 0) continue;
      this.#drop(fid);
      this.#fds.set(fid, fd);
    }
  }

  /** The mount is no more. */
  close(): void {
    for (const fid of [...this.#fds.keys()]) this.#drop(fid);
    this.journal.close();
  }

  #drop(fid: number): boolean {
    const fd = this.#fds.get(fid);
    if (fd !== undefined) closeFd(fd);
    return this.#fds.delete(fid);
  }
}

function partOf(fid: number, fds: readonly number[]): ToldPart {
  return { name: `${FILE}${fid}`, data: {}, fds };
}
