/** The front-end's side of the log of dirty pages, written from the specification: a file of bits that it takes out while they are put in. */
import { onTestFinished } from 'vitest';
import { memfdCreate, SharedMapping } from '../../../../host/index.js';
import { owned } from './harness.js';
import { logBase, Request, VERSION, NEED_REPLY, type RawFrontEnd } from './raw-front-end.js';

const PAGE = 0x1000;

/** Bytes that a log needs for memory up to `endAddress`, as Cloud Hypervisor computes it. */
export function logBytesFor(endAddress: number): number {
  return Math.floor((endAddress - 1) / (PAGE * 8)) + 1;
}

export class LogFile {
  readonly fd: number;
  readonly sizeBytes: number;
  readonly offset: number;
  readonly #file: Uint8Array;

  /** With `offset`, the log lies between other bytes of the file, which have to stay 0. */
  constructor(sizeBytes: number, offset = 0) {
    const fileBytes = offset + sizeBytes + (offset > 0 ? PAGE : 0);
    this.fd = owned(memfdCreate('dirty-log', fileBytes));
    this.sizeBytes = sizeBytes;
    this.offset = offset;
    const mapping = new SharedMapping(this.fd);
    this.#file = mapping.window(0, fileBytes);
    onTestFinished(() => mapping.close());
  }

  /** Gives the log to the back-end: whether it was taken. */
  async give(frontEnd: RawFrontEnd, needReply = false): Promise<boolean> {
    const flags = needReply ? VERSION | NEED_REPLY : VERSION;
    const payload = logBase(this.sizeBytes, this.offset);
    const reply = await frontEnd.query(Request.SET_LOG_BASE, payload, [this.fd], flags);
    if (reply.equals(payload)) return true;
    if (!reply.equals(logBase(0, 0))) throw new Error(`a strange reply came: ${reply.toString('hex')}`);
    return false;
  }

  isMarked(address: number): boolean {
    const page = Math.floor(address / PAGE);
    return (this.#file[this.offset + Math.floor(page / 8)] & (1 << (page % 8))) !== 0;
  }

  /** Guest-physical addresses of the pages that are marked, lowest first. */
  pages(): number[] {
    return this.#each((i) => this.#file[i]);
  }

  /** The same, and they are marked no longer. */
  take(): Set<number> {
    return new Set(this.#each((i) => Atomics.exchange(this.#file, i, 0)));
  }

  /** Marks everything, as another back-end may have done. */
  fill(): void {
    this.#file.fill(0xff, this.offset, this.offset + this.sizeBytes);
  }

  /** Whether the file is as it was made, outside the log. */
  get untouchedAround(): boolean {
    const end = this.offset + this.sizeBytes;
    return [...this.#file.subarray(0, this.offset), ...this.#file.subarray(end)].every((byte) => byte === 0);
  }

  #each(read: (i: number) => number): number[] {
    const pages: number[] = [];
    for (let byte = 0; byte < this.sizeBytes; byte++) {
      if (this.#file[this.offset + byte] === 0) continue;
      const bits = read(this.offset + byte);
      for (let bit = 0; bit < 8; bit++) if ((bits & (1 << bit)) !== 0) pages.push((byte * 8 + bit) * PAGE);
    }
    return pages;
  }
}
