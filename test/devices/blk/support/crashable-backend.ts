import {
  BlockBackend,
  PENDING,
  type BlockCompletion,
  type BlockLimits,
} from '../../../../devices/blk/backends/block-backend.js';
import type { IoVector } from '../../../../devices/io-vector.js';
import { PLAIN_LIMITS } from './scripted-backend.js';

interface Write {
  readonly offset: number;
  readonly bytes: Buffer;
  /** Whether it has to be on the medium: it was durable, or a flush covered it. */
  isSafe: boolean;
}

/**
 * A medium behind a cache. A crash loses the cache: of what was not flushed, any sectors may have got to the medium and any not. Calls end
 * later, in the order they came; a flush covers what had ended before it came.
 */
export class CrashableBackend extends BlockBackend {
  readonly limits: BlockLimits = { ...PLAIN_LIMITS, hasLifetime: false, secureErase: undefined };
  /** Fails the next flush with this. */
  flushResult = 0;
  #cache: Buffer;
  readonly #medium: Buffer;
  /** What came after what the medium holds, in order. */
  readonly #log: Write[] = [];

  constructor(medium: Buffer) {
    super();
    this.#medium = medium;
    this.#cache = Buffer.from(medium);
  }

  get sizeBytes(): number {
    return this.#cache.length;
  }

  /** What the machine finds when it is on again. */
  crash(random: (below: number) => number): Buffer {
    const medium = Buffer.from(this.#medium);
    for (const { offset, bytes, isSafe } of this.#log) {
      for (let at = 0; at < bytes.length; at += 512) {
        if (isSafe || random(2) === 0) bytes.copy(medium, offset + at, at, at + 512);
      }
    }
    return medium;
  }

  read(offset: number, into: IoVector, completion: BlockCompletion): number {
    return this.#later(completion, () => {
      into.scatter(0, this.#cache, offset, into.byteLength);
      return 0;
    });
  }

  write(offset: number, from: IoVector, durable: boolean, completion: BlockCompletion): number {
    const bytes = Buffer.alloc(from.byteLength);
    from.gather(0, bytes, 0, bytes.length);
    return this.#change(offset, bytes, durable, completion);
  }

  writeZeroes(offset: number, length: number, _mayUnmap: boolean, completion: BlockCompletion): number {
    return this.#change(offset, Buffer.alloc(length), false, completion);
  }

  override discard(offset: number, length: number, completion: BlockCompletion): number {
    return this.#change(offset, Buffer.alloc(length), false, completion);
  }

  flush(completion: BlockCompletion): number {
    const covered = [...this.#log];
    const result = this.flushResult;
    this.flushResult = 0;
    return this.#later(completion, () => {
      if (result < 0) return result;
      for (const write of covered) write.isSafe = true;
      while (this.#log.length > 0 && this.#log[0].isSafe) {
        const { offset, bytes } = this.#log.shift() as Write;
        bytes.copy(this.#medium, offset);
      }
      return 0;
    });
  }

  override resize(sizeBytes: number): Promise<number> {
    const grown = Buffer.alloc(sizeBytes);
    this.#cache.copy(grown);
    this.#cache = grown;
    return Promise.resolve(0);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #change(offset: number, bytes: Buffer, durable: boolean, completion: BlockCompletion): number {
    return this.#later(completion, () => {
      bytes.copy(this.#cache, offset);
      this.#log.push({ offset, bytes, isSafe: durable });
      return 0;
    });
  }

  #later(completion: BlockCompletion, work: () => number): number {
    setImmediate(() => completion.complete(work()));
    return PENDING;
  }
}
