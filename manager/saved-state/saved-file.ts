/**
 * The file of `chassis save`: what a chassis is made of, and the states of its functions.
 *
 *     magic[4]="ChSv" version[4]=1 length[4] checksum[4]
 *     head[b] states[b]
 *
 * Little-endian; `[b]` is a length of 4 bytes and the bytes. `head` is JSON in UTF-8: see `Head`. `states` is as `states.ts` has it, or empty where the
 * guest is to bring them: for a guest that moves while it runs.
 */
import { Type, type Static } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { StateReader } from '../../devices/state-reader.js';
import { StateWriter } from '../../devices/state-writer.js';
import {
  beginState,
  problemOfHeader,
  sealState,
  StateHeader,
  type StateKind,
} from '../../devices/virtio/state/header.js';
import { JournalDocument } from '../journal-format.js';

const KIND: StateKind = { name: 'chassis', magic: 0x7653_6843, version: 1 };
/** Eight functions of the largest state that there is; the daemon reads a file as a whole. */
export const SAVED_BYTES_MAX = 2 ** 28;

const Head = Type.Object(
  {
    document: JournalDocument,
    /** How large each disk is, by name: a guest counts on that. */
    diskBytes: Type.Record(Type.String(), Type.Integer({ minimum: 0 })),
  },
  { additionalProperties: false },
);
type Head = Static<typeof Head>;

export interface SavedChassis extends Head {
  /** As `states.ts` has them; undefined where the guest is to bring them. */
  readonly states: Uint8Array | undefined;
}

export function encodeSaved({ states, ...head }: SavedChassis): Uint8Array {
  const writer = new StateWriter();
  beginState(writer, KIND);
  writer.blob(Buffer.from(JSON.stringify(head)));
  writer.blob(states ?? new Uint8Array(0));
  return sealState(writer.bytes);
}

/** Answers what is wrong with bytes that come from outside. The states are still to be checked, by who has the devices. */
export function decodeSaved(bytes: Uint8Array): SavedChassis | string {
  const problem = problemOfHeader(bytes, KIND);
  if (problem !== undefined) return problem;
  const reader = new StateReader(bytes.subarray(StateHeader.BYTES));
  const text = Buffer.from(reader.blob()).toString('utf8');
  const states = reader.blob();
  if (reader.overrun || reader.leftBytes > 0) return 'the file has another length than its parts';
  const head = headOf(text);
  return typeof head === 'string' ? head : { ...head, states: states.length > 0 ? states : undefined };
}

function headOf(text: string): Head | string {
  let head: unknown;
  try {
    head = JSON.parse(text);
  } catch (error) {
    return `its head is no JSON: ${(error as Error).message}`;
  }
  const problem = Value.Errors(Head, head).First();
  return problem ? `its head, at ${problem.path || 'the start'}: ${problem.message}` : (head as Head);
}
