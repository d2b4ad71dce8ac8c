/**
 * What a card has to go on from where another one is to take over: what its driver said by commands. version[1] announce[1] pairs[2] offloads[8]
 * filter[…], little-endian.
 */
import { ReceiveFilter } from './receive-filter.js';

const VERSION = 1;
const FILTER_AT = 12;
const STATE_BYTES = FILTER_AT + ReceiveFilter.STATE_BYTES;

export interface CardState {
  /** The driver has yet to acknowledge an announcement. */
  readonly announce: boolean;
  readonly queuePairs: number;
  /** Features that are offloads of the guest's, as they are in force. */
  readonly guestOffloads: bigint;
  readonly filter: ReceiveFilter;
}

export function encodeCardState(state: CardState): Uint8Array {
  const bytes = new Uint8Array(STATE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, VERSION);
  view.setUint8(1, state.announce ? 1 : 0);
  view.setUint16(2, state.queuePairs, true);
  view.setBigUint64(4, state.guestOffloads, true);
  state.filter.saveInto(bytes, FILTER_AT);
  return bytes;
}

/** Answers what is wrong with the bytes where they are no state of a card with so many pairs of queues. */
export function decodeCardState(bytes: Uint8Array, maxQueuePairs: number): CardState | string {
  if (bytes.length !== STATE_BYTES || bytes[0] !== VERSION) return 'it is no state of a network card';
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const queuePairs = view.getUint16(2, true);
  if (queuePairs < 1 || queuePairs > maxQueuePairs) return `it uses ${queuePairs} pairs of queues`;
  const filter = new ReceiveFilter();
  if (bytes[1] > 1 || !filter.restoreFrom(bytes, FILTER_AT)) return 'its receive filter is none';
  return { announce: bytes[1] === 1, queuePairs, guestOffloads: view.getBigUint64(4, true), filter };
}
