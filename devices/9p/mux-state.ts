/**
 * What a multiplexing device says of itself: its registers, and the session of each queue that serves a mount:
 * `MUX_FIELDS n[4] n*(SEAT_FIELDS tag[b] server[b])`.
 */
import { StateReader } from '../state-reader.js';
import { StateWriter } from '../state-writer.js';
import type { MuxConfigState } from './mux-config.js';

const MUX_FIELDS = { select: 2, serial: 4, changes: 4, changedQueue: 2 } as const;
const SEAT_FIELDS = { queue: 2, readOnly: 1, serial: 4 } as const;

const NO_SESSION = new Uint8Array(0);

export interface MuxState extends MuxConfigState {
  /** `Server.saveState` of each seat. */
  readonly servers: readonly Uint8Array[];
}

export function encodeMux(state: MuxState): Uint8Array {
  const writer = new StateWriter();
  writer.record(MUX_FIELDS, state);
  writer.list([...state.seats.entries()], ([index, seat]) => {
    writer.record(SEAT_FIELDS, seat);
    writer.blob(seat.tag);
    writer.blob(state.servers[index]);
  });
  return writer.bytes;
}

/** The registers alone, in memory that may go on behind them: `length[4]`, and as above without sessions. */
export function encodeRegisters(registers: MuxConfigState): Uint8Array {
  const writer = new StateWriter();
  writer.blob(encodeMux({ ...registers, servers: registers.seats.map(() => NO_SESSION) }));
  return writer.bytes;
}

/** Undefined where that memory has something else. */
export function decodeRegisters(bytes: Uint8Array): MuxConfigState | undefined {
  const state = decodeMux(new StateReader(bytes).blob());
  return typeof state === 'string' ? undefined : state;
}

/** The state, or what is wrong with the bytes. What its fields say is still to be checked. */
export function decodeMux(bytes: Uint8Array): MuxState | string {
  const reader = new StateReader(bytes);
  const registers = reader.record(MUX_FIELDS);
  const seats = reader.list(() => ({
    ...reader.record(SEAT_FIELDS),
    tag: reader.blob(),
    server: reader.blob(),
  }));
  if (reader.overrun) return 'the state of the device ends before its last field';
  if (reader.leftBytes > 0) return 'the state of the device goes on after its last field';
  return { ...registers, seats, servers: seats.map(({ server }) => server) };
}
