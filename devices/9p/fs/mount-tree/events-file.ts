/**
 * An open `ctl/events`: first what there is, then what changes, as lines; a read with nothing to tell waits. What has changed is kept
 * as a set of children, whose state is looked up when it is told: a reader that falls behind is told the latest only, and one that
 * falls far behind is told everything from the start. So it needs little memory, however slow or hostile it is.
 */
import { Errno } from '../../../errno.js';
import type { IoVector } from '../../../io-vector.js';
import {
  OpenFile,
  type Attributes,
  type ByteString,
  type FsNode,
  type Interruptible,
  type MaybePromise,
} from '../file-system.js';
import { StateReader } from '../../../state-reader.js';
import { StateWriter } from '../../../state-writer.js';
import { NOTHING_KEPT, type Kept } from '../kept.js';
import { NAME_MAX_BYTES } from '../node-fs/names.js';
import { ChangedPaths } from './changed-paths.js';
import { changeLineOf, lineOf, LOOK_LINE, POKE_LINE, READY_LINE, RESET_LINE } from './event-lines.js';
import type { TreeChild } from './tree-child.js';

/** Most changes that are remembered one by one. */
const CHANGES_MAX = 1024;
/**
 * Most changes on the host that are told before the reader is to act on them, and say so: more would only wait with it, in front of what
 * is asked of it meanwhile.
 */
const POKES_MAX = 256;
const NO_BYTES = new Uint8Array(0);
const NOWHERE = -1;
const READER_FIELDS = { knowsAll: 1, pokeUnderWay: 1, hasEnded: 1, endOffset: 8 } as const;
/** More than any line has: a path of 4,095 bytes, each as five characters. */
const TEXT_MAX_BYTES = 65_536;
const encoder = new TextEncoder();
/**
 * Ends what a reader may have been told of a line before its process was killed, and makes it one that asks for nothing: whatever path it was
 * about, it has a name now that is longer than any can be.
 */
const VOID = encoder.encode(`${'x'.repeat(NAME_MAX_BYTES + 1)}\n`);

/** What readers read from. */
export interface EventSource {
  /** All children in the order of their ids; an iterator of it sees those that are added while it runs. */
  children(): Iterator<TreeChild>;
  /** False where as many readers wait as may. Each that got true says when it waits no longer. */
  beginWait(): boolean;
  endWait(): void;
  forget(reader: EventsFile): void;
}

interface Wait {
  readonly offset: number;
  readonly into: IoVector;
  readonly resolve: (answer: number) => void;
}

export class EventsFile extends OpenFile {
  readonly #source: EventSource;
  readonly #node: FsNode;
  /** The children that are still to be told, from a reset on; undefined once all are. */
  #walk: Iterator<TreeChild> | undefined;
  /** The children up to this one have been told. */
  #toldId = 0;
  #resetDue = true;
  readonly #changed = new Set<TreeChild>();
  /** Kept through resets: what is told from the start does not include it. */
  readonly #paths = new ChangedPaths();
  /** Paths told since the reader was last told to act on them. */
  #pathsTold = 0;
  /** It has yet to say that it did. */
  #pokeUnderWay = false;
  /** A line that had no room, from `#textAt` on. */
  #text: Uint8Array = NO_BYTES;
  #textAt = 0;
  /** This answer has told the reader to look. */
  #lookTold = false;
  #wait: Wait | undefined;
  #wakeDue = false;
  /**
   * Linux goes on reading after a short answer until it gets no bytes, and only then lets its caller have what it has got. So the read
   * that goes on where a short answer ended is answered with none, once.
   */
  #endOffset = NOWHERE;

  constructor(source: EventSource, node: FsNode) {
    super();
    this.#source = source;
    this.#node = node;
  }

  /** Where the reader stands: in a line, in the file, and whether it has been told all there is, for which it is told again from the start if not. */
  override keep(): Kept {
    const writer = new StateWriter();
    const knowsAll = !this.#resetDue && this.#walk === undefined && this.#changed.size === 0;
    writer.record(READER_FIELDS, {
      knowsAll: knowsAll ? 1 : 0,
      pokeUnderWay: this.#pokeUnderWay ? 1 : 0,
      hasEnded: this.#endOffset === NOWHERE ? 0 : 1,
      endOffset: Math.max(this.#endOffset, 0),
    });
    writer.blob(this.#text.subarray(this.#textAt));
    return { ...NOTHING_KEPT, details: writer.bytes };
  }

  /** Goes on from what `keep` told, before anything was read. Details that make no sense, or none, are those of a reader that knows nothing. */
  resume(details: Uint8Array, lastId: number): void {
    const reader = new StateReader(details);
    const { knowsAll, pokeUnderWay, hasEnded, endOffset } = reader.record(READER_FIELDS);
    const text = reader.blob();
    const isKnown = !reader.overrun && text.length <= TEXT_MAX_BYTES;
    this.#text = isKnown ? text : VOID;
    if (!isKnown) return;
    this.#resetDue = knowsAll === 0;
    this.#toldId = knowsAll === 0 ? 0 : lastId;
    this.#pokeUnderWay = pokeUnderWay !== 0;
    this.#endOffset = hasEnded === 0 ? NOWHERE : endOffset;
  }

  /** Something about the child has changed. */
  note(child: TreeChild): void {
    const willBeTold = this.#resetDue || (this.#walk !== undefined && child.id > this.#toldId);
    if (!willBeTold) {
      if (this.#changed.size < CHANGES_MAX || this.#changed.has(child)) this.#changed.add(child);
      else this.#reset();
    }
    this.#wake();
  }

  /** A file of the child has changed on the host. */
  noteChange(child: TreeChild, path: ByteString): void {
    this.#paths.add(child, path);
    this.#wake();
  }

  /** The reader has acted on the changes that it was told. */
  poked(): void {
    this.#pokeUnderWay = false;
    this.#wake();
  }

  #reset(): void {
    this.#resetDue = true;
    this.#walk = undefined;
    this.#changed.clear();
  }

  /** In a turn of its own, so that what changes together is told together. */
  #wake(): void {
    if (this.#wait === undefined || this.#wakeDue) return;
    this.#wakeDue = true;
    queueMicrotask(() => {
      this.#wakeDue = false;
      const wait = this.#wait;
      if (wait === undefined) return;
      const given = this.#give(wait.offset, wait.into);
      // No bytes would be the end of the file.
      if (given > 0) this.#endWait(given);
    });
  }

  /** Answers at once where there is something to tell, and else waits for it. */
  override read(offset: number, into: IoVector): MaybePromise<number> {
    if (this.#wait !== undefined) return -Errno.EBUSY;
    const goesOn = offset === this.#endOffset;
    this.#endOffset = NOWHERE;
    const given = this.#give(offset, into);
    if (given > 0 || goesOn || into.byteLength === 0) return given;
    if (!this.#source.beginWait()) return -Errno.EAGAIN;
    return new Promise((resolve) => (this.#wait = { offset, into, resolve }));
  }

  override interrupt(operation: Interruptible): void {
    if (this.#wait?.into === operation) this.#endWait(-Errno.EINTR);
  }

  override getattr(out: Attributes): MaybePromise<number> {
    return this.#node.getattr(out);
  }

  override close(): void {
    this.end();
    this.#source.forget(this);
  }

  /** Nothing will be told any more. */
  end(): void {
    this.#reset();
    if (this.#wait !== undefined) this.#endWait(-Errno.EIO);
  }

  #endWait(answer: number): void {
    const wait = this.#wait;
    this.#wait = undefined;
    this.#source.endWait();
    wait?.resolve(answer);
  }

  /** Fills as much of `into` as there is to tell. */
  #give(offset: number, into: IoVector): number {
    let given = 0;
    this.#lookTold = false;
    while (given < into.byteLength && this.#hasText()) {
      const taken = into.scatter(given, this.#text, this.#textAt, this.#text.length - this.#textAt);
      given += taken;
      this.#textAt += taken;
    }
    if (given > 0 && given < into.byteLength) this.#endOffset = offset + given;
    return given;
  }

  #hasText(): boolean {
    if (this.#textAt < this.#text.length) return true;
    const line = this.#nextLine();
    this.#text = line === undefined ? NO_BYTES : encoder.encode(line);
    this.#textAt = 0;
    return line !== undefined;
  }

  #nextLine(): string | undefined {
    if (this.#resetDue) return this.#beginWalk();
    if (this.#walk !== undefined) {
      const next = this.#walk.next();
      if (next.done === true) {
        this.#walk = undefined;
        return READY_LINE;
      }
      this.#toldId = next.value.id;
      return this.#tell(next.value);
    }
    for (const child of this.#changed) {
      this.#changed.delete(child);
      return this.#tell(child);
    }
    return this.#nextChange();
  }

  #nextChange(): string | undefined {
    if (this.#pokeUnderWay) return undefined;
    const next = this.#pathsTold < POKES_MAX ? this.#paths.take() : undefined;
    if (next !== undefined) {
      this.#pathsTold++;
      return changeLineOf(next);
    }
    if (this.#pathsTold === 0) return undefined;
    this.#pathsTold = 0;
    this.#pokeUnderWay = true;
    return POKE_LINE;
  }

  /** A look is dear: one does for all the releases in an answer. */
  #tell(child: TreeChild): string {
    const line = lineOf(child);
    if (this.#lookTold || !child.mounting.unwanted || child.removed) return line;
    this.#lookTold = true;
    return LOOK_LINE + line;
  }

  #beginWalk(): string {
    this.#resetDue = false;
    this.#walk = this.#source.children();
    this.#toldId = 0;
    return RESET_LINE;
  }
}
