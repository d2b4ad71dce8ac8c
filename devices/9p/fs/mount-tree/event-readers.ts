import { Errno, type Failure } from '../../../errno.js';
import { EVERYTHING } from '../change-listener.js';
import type { ByteString, FsNode, OpenFile } from '../file-system.js';
import type { ChildTable } from './child-table.js';
import { EventsFile, type EventSource } from './events-file.js';
import type { TreeChild } from './tree-child.js';

/** Most open readers of events: with what each remembers, some MiB. */
const READERS_MAX = 64;
/** Most readers that wait at a time: each takes one of the server's places. */
const WAITING_MAX = 16;

/** All that have `ctl/events` open. */
export class EventReaders implements EventSource {
  readonly #table: ChildTable;
  readonly #readers = new Set<EventsFile>();
  /** Told when the first one comes, and when the last one has gone. */
  readonly #onPresence: (there: boolean) => void;
  #waiting = 0;

  constructor(table: ChildTable, onPresence: (there: boolean) => void) {
    this.#table = table;
    this.#onPresence = onPresence;
  }

  get any(): boolean {
    return this.#readers.size > 0;
  }

  /** `details` are those of a reader elsewhere, which this one goes on for: what changed on the host meanwhile nobody knows. */
  open(node: FsNode, details?: Uint8Array): OpenFile | Failure {
    if (this.#readers.size >= READERS_MAX) return -Errno.EMFILE;
    const reader = new EventsFile(this, node);
    this.#readers.add(reader);
    if (this.#readers.size === 1) this.#onPresence(true);
    if (details === undefined) return reader;
    reader.resume(details, this.#table.lastId);
    for (const child of this.#table.byName.values())
      if (child.child.watched) reader.noteChange(child, EVERYTHING);
    return reader;
  }

  announce(child: TreeChild): void {
    for (const reader of this.#readers) reader.note(child);
  }

  /** Something has changed on the host. Who opens the events later finds it changed. */
  announceChange(child: TreeChild, path: ByteString): void {
    for (const reader of this.#readers) reader.noteChange(child, path);
  }

  /** The guest has acted on the changes that it was told. */
  poked(): void {
    for (const reader of this.#readers) reader.poked();
  }

  /** Nothing will be told any more. */
  end(): void {
    for (const reader of this.#readers) reader.end();
  }

  children(): Iterator<TreeChild> {
    return this.#table.byName.values();
  }

  beginWait(): boolean {
    if (this.#waiting >= WAITING_MAX) return false;
    this.#waiting++;
    return true;
  }

  endWait(): void {
    this.#waiting--;
  }

  forget(reader: EventsFile): void {
    if (this.#readers.delete(reader) && this.#readers.size === 0) this.#onPresence(false);
  }
}
