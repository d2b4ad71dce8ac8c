import { addressOf, type IovecBuffer } from '../../../../host/index.js';
import type { IoVector } from '../../../io-vector.js';

/** Points the iovecs at the vector's bytes from `from` on, as many segments as fit; answers how many it set. */
export function fillIovecs(iovecs: IovecBuffer, vector: IoVector, from: number): number {
  const { offsets, lengths, addresses, bytes } = vector;
  let skip = from;
  let count = 0;
  for (let i = 0; i < vector.count && count < iovecs.capacity; i++) {
    const length = lengths[i];
    if (skip >= length) {
      skip -= length;
      continue;
    }
    // Memory of JavaScript's own stays in place, too, as long as the vector holds it.
    const address = addresses[i] === 0 ? addressOf(bytes[i]) + offsets[i] : addresses[i];
    iovecs.set(count++, address + skip, length - skip);
    skip = 0;
  }
  return count;
}
