/**
 * What the driver has set of a function, in a memory file that whoever keeps the connection holds open: written after each access that changes it, so
 * that nobody has to be told of registers, however often a guest writes to them.
 */
import { JournalMemory } from '../../device-process/keeping/journal-memory.js';
import { part, type KeptParts, type ToldPart } from '../keeping/told.js';
import { KeptPart } from './kept-state.js';

/** In front of what is kept, whose file has whole pages. */
const LENGTH_BYTES = 4;

/** A function that another process can go on with. */
export interface KeepableFunction {
  /** Goes up by each access that may have changed what `keepState` tells. */
  readonly changes: number;
  keepState(): Uint8Array;
  /** Goes on where another one was. Answers why not. */
  resumeKept(kept: Uint8Array): string | undefined;
  /** Serves what is there from now on. */
  goOn(): void;
}

export class KeptFunction {
  readonly #fn: KeepableFunction;
  readonly #memory: JournalMemory;
  /** Of what was written last. */
  #changes = -1;

  /** @throws HostError where there is no memory for it */
  constructor(fn: KeepableFunction, log: (message: string) => void) {
    this.#fn = fn;
    this.#memory = new JournalMemory(undefined, log);
  }

  /** Writes down what has changed, if accesses have changed something or the device has. False where that cannot be. */
  commit(hasDeviceChanged = false): boolean {
    const { changes } = this.#fn;
    if (changes === this.#changes && !hasDeviceChanged) return true;
    const kept = this.#fn.keepState();
    const place = this.#memory.create(LENGTH_BYTES + kept.length);
    if (place === undefined) return false;
    new DataView(place.buffer, place.byteOffset).setUint32(0, kept.length, true);
    place.set(kept, LENGTH_BYTES);
    this.#memory.commit();
    this.#changes = changes;
    return true;
  }

  get part(): ToldPart {
    return part(KeptPart.FUNCTION, (parcel) => ({ fd: parcel.addFd(this.#memory.fd) }));
  }

  /** Has the function go on with what was kept of it. Answers why not. */
  resume(parts: KeptParts): string | undefined {
    const fd = parts.get(KeptPart.FUNCTION)?.parcel.takeFdIfThere(0) ?? -1;
    const written = fd >= 0 && this.#memory.adopt(fd) ? this.#memory.read() : undefined;
    if (written === undefined) return 'what its driver has set is not known';
    const length = new DataView(written.buffer, written.byteOffset).getUint32(0, true);
    return this.#fn.resumeKept(written.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
  }

  close(): void {
    this.#memory.close();
  }
}
