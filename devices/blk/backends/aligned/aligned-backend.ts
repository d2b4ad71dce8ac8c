/**
 * Any request, over a backend that takes only whole blocks (O_DIRECT, NBD servers with a minimum block size) or only aligned
 * memory. What is aligned passes as it is; the rest goes through a buffer, and a part of a block is read before it is written.
 */
import { Errno } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import { BlockBackend, PENDING, type BlockCompletion, type BlockLimits } from '../block-backend.js';
import { completed } from '../bytes.js';
import type { LifetimeEstimate } from '../lifetime.js';
import { WriteGate } from './write-gate.js';

export interface RequiredAlignment {
  /** Of offsets and lengths, in bytes: a power of two from 512 on. */
  readonly offsetBytes: number;
  /** Of segments' addresses, in bytes, and then their lengths are whole blocks, too; 1 where segments may be as they like. */
  readonly memoryBytes: number;
}

/** Memory that is aligned as required; a segment to be. */
export interface AlignedMemory {
  readonly bytes: Uint8Array;
  readonly offset: number;
  /** Where it lies in this process, or 0 where that does not matter. */
  readonly address: number;
}

const BOUNCE_BYTES = 256 * 1024;

/** A write of whole blocks that is under way. Pooled. */
class SharedCall implements BlockCompletion {
  completion!: BlockCompletion;
  readonly #ended: (call: SharedCall, result: number) => void;

  constructor(ended: (call: SharedCall, result: number) => void) {
    this.#ended = ended;
  }

  complete(result: number): void {
    this.#ended(this, result);
  }
}

export class AlignedBackend extends BlockBackend {
  readonly limits: BlockLimits;
  readonly inner: BlockBackend;
  readonly #required: RequiredAlignment;
  readonly #allocate: (sizeBytes: number) => AlignedMemory;
  readonly #gate = new WriteGate();
  readonly #calls: SharedCall[] = [];
  readonly #sharedEnded = (call: SharedCall, result: number): void => {
    const { completion } = call;
    this.#calls.push(call);
    this.#gate.leaveShared();
    completion.complete(result);
  };

  /** `allocate` makes memory that is aligned as required; this owns `inner`. */
  constructor(
    inner: BlockBackend,
    required: RequiredAlignment,
    allocate: (sizeBytes: number) => AlignedMemory,
  ) {
    super();
    this.inner = inner;
    this.#required = required;
    this.#allocate = allocate;
    this.limits = inner.limits;
    inner.sizeChanged = () => this.sizeChanged();
    inner.troubled = (trouble) => this.troubled(trouble);
  }

  get sizeBytes(): number {
    return this.inner.sizeBytes;
  }

  override get trouble(): string | undefined {
    return this.inner.trouble;
  }

  override engage(): string | undefined {
    return this.inner.engage();
  }

  override rest(writeBack: boolean): void {
    this.inner.rest(writeBack);
  }

  override get writeBackBefore(): boolean | undefined {
    return this.inner.writeBackBefore;
  }

  read(offsetBytes: number, into: IoVector, completion: BlockCompletion): number {
    if (this.#isWhole(offsetBytes, into.byteLength) && this.#isInPlace(into)) {
      return this.inner.read(offsetBytes, into, completion);
    }
    return later(this.#bouncedRead(offsetBytes, into), completion);
  }

  write(offsetBytes: number, from: IoVector, durable: boolean, completion: BlockCompletion): number {
    if (this.limits.readOnly) return -Errno.EROFS;
    const whole = this.#isWhole(offsetBytes, from.byteLength);
    if (!whole || !this.#isInPlace(from)) {
      return later(this.#bouncedWrite(offsetBytes, from, durable, whole), completion);
    }
    if (!this.#gate.tryShared()) {
      const write = (done: BlockCompletion) => this.inner.write(offsetBytes, from, durable, done);
      return later(this.#inTurn(write), completion);
    }
    const call = this.#calls.pop() ?? new SharedCall(this.#sharedEnded);
    call.completion = completion;
    const result = this.inner.write(offsetBytes, from, durable, call);
    if (result !== PENDING) {
      this.#calls.push(call);
      this.#gate.leaveShared();
    }
    return result;
  }

  flush(completion: BlockCompletion): number {
    return this.inner.flush(completion);
  }

  /** Blocks that are not discarded as a whole are not discarded. */
  override discard(offsetBytes: number, lengthBytes: number, completion: BlockCompletion): number {
    const { start, end } = this.#wholeBlocks(offsetBytes, lengthBytes);
    if (end <= start) return 0;
    return later(
      this.#inTurn((done) => this.inner.discard(start, end - start, done)),
      completion,
    );
  }

  writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    completion: BlockCompletion,
  ): number {
    if (this.limits.readOnly) return -Errno.EROFS;
    return later(this.#zeroes(offsetBytes, lengthBytes, mayUnmap), completion);
  }

  override secureErase(offsetBytes: number, lengthBytes: number, completion: BlockCompletion): number {
    if (!this.#isWhole(offsetBytes, lengthBytes)) return -Errno.EINVAL;
    return later(
      this.#inTurn((done) => this.inner.secureErase(offsetBytes, lengthBytes, done)),
      completion,
    );
  }

  override lifetime(): Promise<LifetimeEstimate | undefined> {
    return this.inner.lifetime();
  }

  override resize(sizeBytes: number): Promise<number> {
    return this.inner.resize(sizeBytes);
  }

  override refreshSize(): Promise<number> {
    return this.inner.refreshSize();
  }

  override abandon(): void {
    this.inner.abandon();
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  #isWhole(offsetBytes: number, lengthBytes: number): boolean {
    const mask = this.#required.offsetBytes;
    return offsetBytes % mask === 0 && lengthBytes % mask === 0;
  }

  #isInPlace(vector: IoVector): boolean {
    const { memoryBytes, offsetBytes } = this.#required;
    if (memoryBytes <= 1) return true;
    for (let i = 0; i < vector.count; i++) {
      // Memory without an address may lie anywhere. Of each segment a device takes whole blocks.
      const address = vector.addresses[i];
      if (address === 0 || address % memoryBytes !== 0 || vector.lengths[i] % offsetBytes !== 0) return false;
    }
    return true;
  }

  #wholeBlocks(offsetBytes: number, lengthBytes: number): { start: number; end: number } {
    const block = this.#required.offsetBytes;
    return {
      start: Math.ceil(offsetBytes / block) * block,
      end: Math.floor((offsetBytes + lengthBytes) / block) * block,
    };
  }

  /** A call on whole blocks, when its turn comes. */
  async #inTurn(start: (completion: BlockCompletion) => number): Promise<number> {
    await this.#gate.shared();
    const result = await completed(start);
    this.#gate.leaveShared();
    return result;
  }

  async #bouncedRead(offsetBytes: number, into: IoVector): Promise<number> {
    const bounce = this.#bounce(offsetBytes, into.byteLength);
    for (let done = 0; done < into.byteLength;) {
      const part = bounce.part(offsetBytes + done, into.byteLength - done);
      const result = await completed((end) => this.inner.read(part.start, bounce.vector, end));
      if (result < 0) return result;
      into.scatter(done, bounce.bytes, bounce.offset + part.skip, part.lengthBytes);
      done += part.lengthBytes;
    }
    return 0;
  }

  async #bouncedWrite(
    offsetBytes: number,
    from: IoVector,
    durable: boolean,
    whole: boolean,
  ): Promise<number> {
    await (whole ? this.#gate.shared() : this.#gate.exclusive());
    const result = await this.#rewrite(offsetBytes, from, durable);
    if (whole) this.#gate.leaveShared();
    else this.#gate.leaveExclusive();
    return result;
  }

  async #rewrite(offsetBytes: number, from: IoVector, durable: boolean): Promise<number> {
    const bounce = this.#bounce(offsetBytes, from.byteLength);
    for (let done = 0; done < from.byteLength;) {
      const part = bounce.part(offsetBytes + done, from.byteLength - done);
      if (part.lengthBytes < bounce.vector.byteLength) {
        const read = await completed((end) => this.inner.read(part.start, bounce.vector, end));
        if (read < 0) return read;
      }
      from.gather(done, bounce.bytes, bounce.offset + part.skip, part.lengthBytes);
      const result = await completed((end) => this.inner.write(part.start, bounce.vector, durable, end));
      if (result < 0) return result;
      done += part.lengthBytes;
    }
    return 0;
  }

  /** Whole blocks by the backend's own way, the parts at both ends by writing. */
  async #zeroes(offsetBytes: number, lengthBytes: number, mayUnmap: boolean): Promise<number> {
    const { start, end } = this.#wholeBlocks(offsetBytes, lengthBytes);
    if (end <= start) return this.#writeZeroBytes(offsetBytes, lengthBytes);
    const head = await this.#writeZeroBytes(offsetBytes, start - offsetBytes);
    if (head < 0) return head;
    const middle = await this.#inTurn((done) => this.inner.writeZeroes(start, end - start, mayUnmap, done));
    if (middle < 0) return middle;
    return this.#writeZeroBytes(end, offsetBytes + lengthBytes - end);
  }

  /** Less than two blocks. */
  async #writeZeroBytes(offsetBytes: number, lengthBytes: number): Promise<number> {
    if (lengthBytes === 0) return 0;
    const zeroes = new IoVector();
    zeroes.push(new Uint8Array(lengthBytes), 0, lengthBytes, 0);
    return this.#bouncedWrite(offsetBytes, zeroes, false, false);
  }

  #bounce(offsetBytes: number, lengthBytes: number): Bounce {
    const block = this.#required.offsetBytes;
    const skip = offsetBytes % block;
    const spanBytes = Math.ceil((skip + lengthBytes) / block) * block;
    return new Bounce(block, this.#allocate(Math.min(spanBytes, Math.max(BOUNCE_BYTES, block))));
  }
}

/** A buffer of whole blocks, which a request passes through part by part. */
class Bounce {
  readonly vector = new IoVector();
  readonly bytes: Uint8Array;
  readonly offset: number;
  readonly #address: number;
  readonly #block: number;
  readonly #capacity: number;

  constructor(block: number, memory: AlignedMemory) {
    this.bytes = memory.bytes;
    this.offset = memory.offset;
    this.#address = memory.address;
    this.#block = block;
    this.#capacity = Math.floor((memory.bytes.length - memory.offset) / block) * block;
  }

  /**
   * Makes the vector the whole blocks from the one with `offsetBytes` on, as far as they are needed and fit. Answers where they
   * start on the disk, where in them the request's bytes are, and how many those are.
   */
  part(offsetBytes: number, lengthBytes: number): { start: number; skip: number; lengthBytes: number } {
    const skip = offsetBytes % this.#block;
    const needed = Math.ceil((skip + lengthBytes) / this.#block) * this.#block;
    const take = Math.min(needed, this.#capacity);
    this.vector.clear();
    this.vector.push(this.bytes, this.offset, take, this.#address);
    return { start: offsetBytes - skip, skip, lengthBytes: Math.min(take - skip, lengthBytes) };
  }
}

/** Work that goes on after the call; it does not reject. */
function later(work: Promise<number>, completion: BlockCompletion): number {
  void work.then((result) => completion.complete(result));
  return PENDING;
}
