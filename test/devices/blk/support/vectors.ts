import { addressOf } from '../../../../host/index.js';
import { IoVector } from '../../../../devices/io-vector.js';
import type { BlockBackend, BlockCompletion } from '../../../../devices/blk/backends/block-backend.js';
import { PENDING } from '../../../../devices/blk/backends/block-backend.js';

export { randomFrom } from '../../../support/random.js';

/** A vector over `bytes`, cut after each of `lengths` (the last piece is what is left), with native addresses or without. */
export function vectorOver(bytes: Uint8Array, lengths: readonly number[] = [], native = false): IoVector {
  const vector = new IoVector();
  let at = 0;
  for (const length of [...lengths, bytes.length]) {
    const take = Math.min(length, bytes.length - at);
    if (take > 0) vector.push(bytes, at, take, native ? addressOf(bytes) + at : 0);
    at += take;
  }
  return vector;
}

/** Long patterns, which are asked for again and again, by their seed. */
const patterns = new Map<string, Uint8Array>();
const LONG_BYTES = 256 * 1024;

/** Bytes that differ from sector to sector and from seed to seed. Not to be changed where they are many. */
export function pattern(lengthBytes: number, seed: number): Uint8Array {
  if (lengthBytes < LONG_BYTES) return makePattern(lengthBytes, seed);
  const name = `${lengthBytes} ${seed}`;
  const known = patterns.get(name) ?? makePattern(lengthBytes, seed);
  patterns.set(name, known);
  return known;
}

function makePattern(lengthBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  for (let i = 0; i < lengthBytes; i++) bytes[i] = (i * 31 + (i >>> 9) * 17 + seed * 101 + 1) & 0xff;
  return bytes;
}

/** Waits for a call, and checks that it ends once, and not from within. */
export function ended(start: (completion: BlockCompletion) => number): Promise<number> {
  return new Promise((resolve, reject) => {
    let within = true;
    let times = 0;
    const result = start({
      complete: (value) => {
        if (within) reject(new Error('completed from within the call'));
        if (++times > 1) reject(new Error('completed twice'));
        // Whoever completes twice does it soon.
        setImmediate(resolve, value);
      },
    });
    within = false;
    if (result !== PENDING) resolve(result);
  });
}

export async function readBack(
  backend: BlockBackend,
  offset: number,
  length: number,
  cuts: readonly number[] = [],
): Promise<Buffer> {
  const bytes = new Uint8Array(length).fill(0xee);
  const result = await ended((done) => backend.read(offset, vectorOver(bytes, cuts), done));
  if (result !== 0) throw new Error(`read failed: ${result}`);
  return Buffer.from(bytes);
}

export function put(
  backend: BlockBackend,
  offset: number,
  bytes: Uint8Array,
  { durable = false, cuts = [] as readonly number[], native = false } = {},
): Promise<number> {
  return ended((done) => backend.write(offset, vectorOver(bytes, cuts, native), durable, done));
}

export const flushed = (backend: BlockBackend): Promise<number> => ended((done) => backend.flush(done));
