/**
 * The registers of the multiplexing 9p device, as docs/9p-multiplexing.md has them. Of the guest's own, so that one which the device
 * has wrong is seen.
 */
import type { VirtioTransport } from '../virtio/transport.js';

const Register = {
  TAG_LENGTH: 0,
  TAG: 2,
  SELECT: 224,
  CHANGES: 228,
  CHANGED_QUEUE: 234,
  STATE: 236,
  SERIAL: 240,
} as const;
const TAG_ROOM = Register.SELECT - Register.TAG;
const STATE_SERVING = 1;

/** What a queue serves. */
export interface QueueMount {
  readonly tag: string;
  /** Another one for each mount that the queue ever served. */
  readonly serial: number;
}

export interface MuxChanges {
  /** Mounts that came and went since the device was made, in 32 bits. */
  readonly count: number;
  /** The queue of the last one. */
  readonly lastQueue: number;
}

export function readChanges(transport: VirtioTransport): MuxChanges {
  return transport.readDeviceConfig((byteAt) => ({
    count: numberAt(byteAt, Register.CHANGES, 4),
    lastQueue: numberAt(byteAt, Register.CHANGED_QUEUE, 2),
  }));
}

/** What a queue serves now; undefined where that is nothing. */
export function readQueueMount(transport: VirtioTransport, queue: number): QueueMount | undefined {
  transport.writeDeviceConfig(Register.SELECT, 2, queue);
  return transport.readDeviceConfig((byteAt) => {
    const length = Math.min(numberAt(byteAt, Register.TAG_LENGTH, 2), TAG_ROOM);
    if (numberAt(byteAt, Register.STATE, 2) !== STATE_SERVING || length === 0) return undefined;
    const bytes = Uint8Array.from({ length }, (_, i) => byteAt(Register.TAG + i));
    return { tag: new TextDecoder().decode(bytes), serial: numberAt(byteAt, Register.SERIAL, 4) };
  });
}

function numberAt(byteAt: (offset: number) => number, offset: number, bytes: number): number {
  let value = 0;
  for (let i = bytes - 1; i >= 0; i--) value = value * 256 + byteAt(offset + i);
  return value;
}
