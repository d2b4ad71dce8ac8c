import type { IoVector } from '../../../devices/io-vector.js';
import type { Chain } from '../../../devices/virtio/device.js';
import { bytes, type Piece } from './layout.js';
import type { Expected, Extent } from './reference.js';

/** What is wrong with a chain that a ring gave: it lies outside what memory there is, or is not what it has to be. */
export function problemOfChain(
  chain: Chain | undefined,
  expected: Expected | undefined,
  present: readonly Piece[],
): string | undefined {
  if (chain === undefined) return undefined;
  const readable = extentsOf(chain.readable, false, present);
  const writable = extentsOf(chain.writable, true, present);
  if (typeof readable === 'string') return readable;
  if (typeof writable === 'string') return writable;
  if (expected === undefined) return undefined;
  if (!same(readable, expected.readable)) return 'it is to be read elsewhere';
  if (!same(writable, expected.writable)) return 'it is to be written elsewhere';
  const { id } = chain as Chain & { readonly id: number };
  return id === expected.id ? undefined : `it goes by ${id}, and not by ${expected.id}`;
}

/** Where the segments lie in guest memory; those that follow on one another are one. */
function extentsOf(segments: IoVector, isWritable: boolean, present: readonly Piece[]): Extent[] | string {
  const extents: Extent[] = [];
  let total = 0;
  for (let i = 0; i < segments.count; i++) {
    const length = segments.lengths[i];
    const start = segments.bytes[i].byteOffset + segments.offsets[i];
    const piece = present.find(
      ({ offset, start: first, end }) => start >= offset && start < offset + end - first,
    );
    if (segments.bytes[i].buffer !== bytes.buffer || piece === undefined) return 'a segment is no memory';
    const address = start - piece.offset + piece.start;
    if (length <= 0 || address + length > piece.end) return 'a segment goes too far';
    if (isWritable && !piece.writable) return 'a segment must not be written';
    total += length;
    extents.push({ address, length });
  }
  if (total !== segments.byteLength) return 'the length is wrong';
  return joined(extents);
}

/** Without empty extents, and with those that touch put together: buffers may be cut anywhere. */
function joined(extents: readonly Extent[]): Extent[] {
  const all: Extent[] = [];
  for (const { address, length } of extents) {
    const last = all.at(-1);
    if (length === 0) continue;
    if (last !== undefined && last.address + last.length === address) {
      all[all.length - 1] = { address: last.address, length: last.length + length };
    } else all.push({ address, length });
  }
  return all;
}

function same(actual: readonly Extent[], expected: readonly Extent[]): boolean {
  const wanted = joined(expected);
  return (
    actual.length === wanted.length &&
    actual.every(({ address, length }, i) => address === wanted[i].address && length === wanted[i].length)
  );
}
