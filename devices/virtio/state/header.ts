/**
 * How a state's blob begins, whatever it is the state of: `magic[4] version[4] length[4] checksum[4]`, little-endian. `length` is the whole
 * blob's, and the checksum is over everything but itself.
 */
import type { StateWriter } from '../../state-writer.js';
import { crc32c } from './checksum.js';

/** What a blob is the state of. */
export interface StateKind {
  /** For messages: "this is no state of a ..." */
  readonly name: string;
  readonly magic: number;
  readonly version: number;
}

/** Offsets in the header. */
export const StateHeader = { MAGIC: 0, VERSION: 4, LENGTH: 8, CHECKSUM: 12, BYTES: 16 } as const;

/** Writes a header, for `sealState` to complete. */
export function beginState(writer: StateWriter, { magic, version }: StateKind): void {
  for (const value of [magic, version, 0, 0]) writer.write(4, value);
}

/** Puts length and checksum into the header. */
export function sealState(blob: Uint8Array): Uint8Array {
  const view = viewOf(blob);
  view.setUint32(StateHeader.LENGTH, blob.length, true);
  view.setUint32(StateHeader.CHECKSUM, checksumOf(blob), true);
  return blob;
}

/** Why it is no whole blob of that kind; undefined where it is one. */
export function problemOfHeader(blob: Uint8Array, { name, magic, version }: StateKind): string | undefined {
  if (blob.length < StateHeader.BYTES) return 'the state is cut off in its header';
  const view = viewOf(blob);
  if (view.getUint32(StateHeader.MAGIC, true) !== magic) return `this is no state of a ${name}`;
  const given = view.getUint32(StateHeader.VERSION, true);
  if (given !== version) return `the state is of version ${given}, and only ${version} is known`;
  const lengthBytes = view.getUint32(StateHeader.LENGTH, true);
  if (lengthBytes !== blob.length)
    return `the state has ${blob.length} bytes, and should have ${lengthBytes}`;
  if (view.getUint32(StateHeader.CHECKSUM, true) !== checksumOf(blob)) return 'the checksum is wrong';
  return undefined;
}

function checksumOf(blob: Uint8Array): number {
  return crc32c(blob.subarray(0, StateHeader.CHECKSUM), blob.subarray(StateHeader.BYTES));
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
