import {
  BlockBackend,
  PENDING,
  type BlockCompletion,
  type BlockLimits,
} from '../../../../devices/blk/backends/block-backend.js';
import type { LifetimeEstimate } from '../../../../devices/blk/backends/lifetime.js';
import type { IoVector } from '../../../../devices/io-vector.js';

export interface Call {
  readonly operation: string;
  readonly offset: number;
  readonly length: number;
  readonly durable?: boolean;
  readonly mayUnmap?: boolean;
  readonly vector?: IoVector;
  /** Ends a call that was held. */
  complete(result: number): void;
}

export const PLAIN_LIMITS: BlockLimits = {
  readOnly: false,
  logicalBlockBytes: 512,
  physicalBlockBytes: 4096,
  alignmentOffsetBytes: 0,
  minimumIoBytes: 4096,
  optimalIoBytes: 0,
  discard: { maxBytes: 1 << 19, alignmentBytes: 4096 },
  writeZeroes: { maxBytes: 1 << 19, alignmentBytes: 512, mayUnmap: true },
  secureErase: { maxBytes: 1 << 19, alignmentBytes: 4096 },
  hasLifetime: true,
};

/** A backend that notes its calls, and answers each as the test says: with a result, or later. */
export class ScriptedBackend extends BlockBackend {
  readonly limits: BlockLimits;
  sizeBytes: number;
  readonly calls: Call[] = [];
  /** Calls that wait for the test. */
  readonly held: Call[] = [];
  /** The answer to a call: 0, an errno, or PENDING to hold it. */
  answer: (call: Call) => number = () => 0;
  estimate: LifetimeEstimate | undefined = { preEolInfo: 1, typeA: 2, typeB: 3 };
  resizeResult = 0;
  closed = 0;
  abandoned = 0;

  constructor(sizeBytes = 1 << 20, limits: Partial<BlockLimits> = {}) {
    super();
    this.sizeBytes = sizeBytes;
    this.limits = { ...PLAIN_LIMITS, ...limits };
  }

  get operations(): string[] {
    return this.calls.map(({ operation }) => operation);
  }

  hold(...operations: string[]): void {
    this.answer = ({ operation }) => (operations.includes(operation) ? PENDING : 0);
  }

  /** Ends every held call. */
  release(result = 0): void {
    for (const call of this.held.splice(0)) call.complete(result);
  }

  read(offset: number, vector: IoVector, done: BlockCompletion): number {
    return this.#call('read', offset, vector.byteLength, done, { vector });
  }

  write(offset: number, vector: IoVector, durable: boolean, done: BlockCompletion): number {
    return this.#call('write', offset, vector.byteLength, done, { vector, durable });
  }

  flush(done: BlockCompletion): number {
    return this.#call('flush', 0, 0, done, {});
  }

  override discard(offset: number, length: number, done: BlockCompletion): number {
    return this.#call('discard', offset, length, done, {});
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean, done: BlockCompletion): number {
    return this.#call('writeZeroes', offset, length, done, { mayUnmap });
  }

  override secureErase(offset: number, length: number, done: BlockCompletion): number {
    return this.#call('secureErase', offset, length, done, {});
  }

  override lifetime(): Promise<LifetimeEstimate | undefined> {
    return Promise.resolve(this.estimate);
  }

  override resize(sizeBytes: number): Promise<number> {
    this.calls.push({ operation: `resize ${sizeBytes}`, offset: 0, length: 0, complete: () => {} });
    if (this.resizeResult === 0) this.sizeBytes = sizeBytes;
    return Promise.resolve(this.resizeResult);
  }

  override abandon(): void {
    this.abandoned++;
  }

  close(): Promise<void> {
    this.closed++;
    return Promise.resolve();
  }

  #call(
    operation: string,
    offset: number,
    length: number,
    done: BlockCompletion,
    more: { vector?: IoVector; durable?: boolean; mayUnmap?: boolean },
  ): number {
    const call: Call = { operation, offset, length, ...more, complete: (result) => done.complete(result) };
    this.calls.push(call);
    const result = this.answer(call);
    if (result === PENDING) this.held.push(call);
    return result;
  }
}
