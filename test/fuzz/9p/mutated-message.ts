/** Messages made of a case's numbers: one that is valid in its session, with a few changes. */
import { NOFID } from '../../devices/9p/server/support/wire.js';

const HEADER_BYTES = 7;
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x2f, 0x2e, 0x0a];
const FIDS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, NOFID];
/** Of an operation on bytes: what, where, and with which value. */
const NUMBERS_PER_CHANGE = 3;
/** Values that 32 and 64 bit fields go wrong at. */
const EDGES = [0n, 1n, 0x7fffffffn, 0xffffffffn, 2n ** 31n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 64n - 1n];

/**
 * `base` with the changes that `numbers` say, three each, and this tag. The size field is made to fit again, unless the last
 * number says not.
 */
export function mutatedMessage(
  base: Uint8Array,
  others: readonly Uint8Array[],
  tag: number,
  numbers: readonly number[],
): Uint8Array {
  let bytes: Uint8Array = base.slice();
  for (let i = 0; i + NUMBERS_PER_CHANGE <= numbers.length; i += NUMBERS_PER_CHANGE)
    bytes = changed(bytes, others, numbers[i], numbers[i + 1], numbers[i + 2]);
  if (bytes.length < HEADER_BYTES) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint16(5, tag, true);
  if ((numbers.at(-1) ?? 0) % 8 !== 7) view.setUint32(0, bytes.length, true);
  return bytes;
}

function changed(
  bytes: Uint8Array,
  others: readonly Uint8Array[],
  what: number,
  where: number,
  value: number,
): Uint8Array {
  const at = where % Math.max(bytes.length, 1);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (what % 12) {
    case 0:
      bytes[at] ^= 1 << (value % 8);
      break;
    case 1:
      bytes[at] = INTERESTING[value % INTERESTING.length];
      break;
    case 2:
      return bytes.slice(0, at);
    case 3:
      return joined(bytes.subarray(0, at), others[value % others.length].subarray(HEADER_BYTES));
    case 4:
    case 5:
      if (bytes.length >= 11) view.setUint32(7, FIDS[value % FIDS.length], true);
      break;
    case 6:
      bytes[Math.min(4, at)] = value;
      break;
    case 7:
      if (at + 8 <= bytes.length) view.setBigUint64(at, EDGES[value % EDGES.length], true);
      break;
    case 8:
      return joined(bytes.subarray(0, at), new Uint8Array(value % 300).fill(0x61));
    default:
      // Half of the numbers change nothing, so that valid messages are common.
      break;
  }
  return bytes;
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  const all = new Uint8Array(one.length + other.length);
  all.set(one);
  all.set(other, one.length);
  return all;
}
