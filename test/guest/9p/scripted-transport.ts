import { GuestError } from '../../../guest/errors.js';
import type { Exchange, Transport9p } from '../../../guest/9p/transport.js';

/** Bytes from hex, with spaces wherever they help. */
export function hex(text: string): Uint8Array {
  return Uint8Array.from(text.replaceAll(/\s/g, '').match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** A request that waits for its reply. */
export interface PendingRequest {
  readonly bytes: Uint8Array;
  readonly type: number;
  readonly tag: number;
  cancelled: boolean;
  released: boolean;
  /** Gives it back with these bytes, or (none) unanswered. `length` is what the transport claims. */
  reply(bytes: Uint8Array, length?: number): void;
  fail(code: string): void;
}

/** A transport whose other side is the test. */
export class ScriptedTransport implements Transport9p {
  readonly maxMessageBytes: number;
  readonly requests: PendingRequest[] = [];
  closed = false;
  /** Called with each request. */
  onRequest: (request: PendingRequest) => void = () => {};

  constructor(maxMessageBytes = 8192) {
    this.maxMessageBytes = maxMessageBytes;
  }

  acquire(requestBytes: number, replyBytes: number): Exchange {
    const request = buffer(requestBytes);
    const reply = buffer(replyBytes);
    let pending: PendingRequest | undefined;
    return {
      request,
      reply,
      replyCapacity: replyBytes,
      send: (lengthBytes, tag) =>
        new Promise((resolve, reject) => {
          pending = {
            bytes: request.bytes.slice(0, lengthBytes),
            type: request.bytes[4],
            tag,
            cancelled: false,
            released: false,
            reply: (bytes, length = bytes.byteLength) => {
              reply.bytes.set(bytes.subarray(0, replyBytes));
              resolve(length);
            },
            fail: (code) => reject(new GuestError(code, { syscall: 'send' })),
          };
          this.requests.push(pending);
          this.onRequest(pending);
        }),
      cancel: () => {
        if (pending !== undefined) pending.cancelled = true;
      },
      release: () => {
        if (pending !== undefined) pending.released = true;
      },
    };
  }

  close(): Promise<void> {
    this.closed = true;
    for (const request of this.requests) request.fail('EIO');
    return Promise.resolve();
  }
}

function buffer(sizeBytes: number) {
  const bytes = new Uint8Array(sizeBytes);
  return { bytes, view: new DataView(bytes.buffer) };
}
