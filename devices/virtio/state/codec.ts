/**
 * A function's state as one flat blob:
 *
 *     magic[4] version[4] length[4] checksum[4]
 *     FUNCTION_FIELDS
 *     configSpace[b] msixTable[b] msixPending[b] deviceConfig[b]
 *     n[4] n*(QUEUE_FIELDS n[4] n*(CHAIN_FIELDS n[4] n*SEGMENT_FIELDS n[4] n*SEGMENT_FIELDS))
 *     device[b]
 *
 * where `[b]` is a length of 4 bytes and the bytes. `length` is the whole blob's. The checksum is over everything but itself. It is a CRC
 * because that catches every accident that a storage or transport makes: any change within 32 bits in a row, and so each single byte. It
 * keeps nobody out: who can write blobs can sum them up, and a longer hash without a key would not change that. So every field is
 * checked as if its guest had written it (`problemOfState`).
 */
import { sameBytes } from '../../same-bytes.js';
import { StateReader } from '../../state-reader.js';
import { StateWriter } from '../../state-writer.js';
import type { ChainState, SegmentState } from '../ring/chain-state.js';
import {
  CHAIN_FIELDS,
  FUNCTION_FIELDS,
  QUEUE_FIELDS,
  SEGMENT_FIELDS,
  type FunctionState,
  type QueueState,
} from './function-state.js';
import { beginState, problemOfHeader, sealState, StateHeader, type StateKind } from './header.js';

/** "ChSt". Another layout or meaning of a field is another version. There is no reading of others: see docs/device-state.md. */
const KIND: StateKind = { name: 'function', magic: 0x7453_6843, version: 1 };

export function encodeState(state: FunctionState): Uint8Array {
  const writer = new StateWriter();
  beginState(writer, KIND);
  writer.record(FUNCTION_FIELDS, state);
  writer.blob(state.configSpace);
  writer.blob(state.msixTable);
  writer.blob(state.msixPending);
  writer.blob(state.deviceConfig);
  writer.list(state.queues, (queue) => writeQueue(writer, queue));
  writer.blob(state.device);
  return sealState(writer.bytes);
}

/** The state, or why the blob is refused. What its fields say is still to be checked. */
export function decodeState(blob: Uint8Array): FunctionState | string {
  const problem = problemOfHeader(blob, KIND);
  if (problem !== undefined) return problem;
  const reader = new StateReader(blob.subarray(StateHeader.BYTES));
  const state: FunctionState = {
    ...reader.record(FUNCTION_FIELDS),
    configSpace: reader.blob(),
    msixTable: reader.blob(),
    msixPending: reader.blob(),
    deviceConfig: reader.blob(),
    queues: reader.list(() => readQueue(reader)),
    device: reader.blob(),
  };
  if (reader.overrun) return 'the state ends before its last field';
  if (reader.leftBytes > 0) return 'the state goes on after its last field';
  return sameBytes(encodeState(state), blob) ? state : 'a field of the state holds what it cannot hold';
}

function writeQueue(writer: StateWriter, queue: QueueState): void {
  writer.record(QUEUE_FIELDS, queue);
  writer.list(queue.chains, (chain) => {
    writer.record(CHAIN_FIELDS, { ...chain, completed: chain.completed ? 1 : 0 });
    writeSegments(writer, chain.readable);
    writeSegments(writer, chain.writable);
  });
}

function writeSegments(writer: StateWriter, segments: readonly SegmentState[]): void {
  writer.list(segments, (segment) => writer.record(SEGMENT_FIELDS, segment));
}

function readQueue(reader: StateReader): QueueState {
  return { ...reader.record(QUEUE_FIELDS), chains: reader.list(() => readChain(reader)) };
}

function readChain(reader: StateReader): ChainState {
  const { completed, ...fields } = reader.record(CHAIN_FIELDS);
  const readable = readSegments(reader);
  const writable = readSegments(reader);
  return { ...fields, completed: completed !== 0, readable, writable };
}

function readSegments(reader: StateReader): SegmentState[] {
  return reader.list(() => reader.record(SEGMENT_FIELDS));
}
