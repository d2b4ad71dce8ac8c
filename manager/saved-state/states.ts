/**
 * The states of a chassis's functions, as its device process writes them and reads them:
 *
 *     magic[4]="ChSs" version[4]=1 length[4] checksum[4]
 *     n[4] n*(function[b] n[4] n*base[4] moved[b])
 *
 * Little-endian, as `devices/virtio/state/` has it; `[b]` is a length of 4 bytes and the bytes. Only functions that a driver was at work on are in it.
 */
import { StateReader } from '../../devices/state-reader.js';
import { StateWriter } from '../../devices/state-writer.js';
import {
  beginState,
  problemOfHeader,
  sealState,
  StateHeader,
  type StateKind,
} from '../../devices/virtio/state/header.js';
import type { FileState } from '../ports/vhost-user/file-state.js';

const KIND: StateKind = { name: 'set of functions', magic: 0x7353_6843, version: 1 };

export interface FunctionFileState extends FileState {
  /** Its name between daemon and device process. */
  readonly function: string;
}

export function encodeStates(states: readonly FunctionFileState[]): Uint8Array {
  const writer = new StateWriter();
  beginState(writer, KIND);
  writer.list(states, ({ function: name, bases, moved }) => {
    writer.text(name);
    writer.list(bases, (base) => writer.write(4, base));
    writer.blob(moved);
  });
  return sealState(writer.bytes);
}

/** Answers what is wrong with bytes that come from outside. What is moved is still to be checked. */
export function decodeStates(bytes: Uint8Array): FunctionFileState[] | string {
  const problem = problemOfHeader(bytes, KIND);
  if (problem !== undefined) return problem;
  const reader = new StateReader(bytes.subarray(StateHeader.BYTES));
  const states = reader.list(() => ({
    function: reader.text(),
    bases: reader.list(() => reader.read(4)),
    moved: reader.blob(),
  }));
  if (reader.overrun || reader.leftBytes > 0) return 'the states have another length than their parts';
  if (new Set(states.map((state) => state.function)).size < states.length) return 'a function is there twice';
  return states;
}
