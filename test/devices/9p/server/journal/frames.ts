/** Messages between two processes: length[4] number[4] restored[4] message[length - 8], little-endian. */

const HEADER_BYTES = 12;

export function encodeFrame(number: number, restored: boolean, message: Uint8Array): Buffer {
  const frame = Buffer.alloc(HEADER_BYTES + message.length);
  frame.writeUInt32LE(8 + message.length, 0);
  frame.writeUInt32LE(number, 4);
  frame.writeUInt32LE(restored ? 1 : 0, 8);
  frame.set(message, HEADER_BYTES);
  return frame;
}

export class Frames {
  #left = Buffer.alloc(0);
  readonly #onFrame: (number: number, restored: boolean, message: Uint8Array) => void;

  constructor(onFrame: (number: number, restored: boolean, message: Uint8Array) => void) {
    this.#onFrame = onFrame;
  }

  take(chunk: Buffer): void {
    this.#left = Buffer.concat([this.#left, chunk]);
    while (this.#left.length >= HEADER_BYTES) {
      const lengthBytes = 4 + this.#left.readUInt32LE(0);
      if (this.#left.length < lengthBytes) return;
      const frame = this.#left.subarray(0, lengthBytes);
      this.#left = this.#left.subarray(lengthBytes);
      this.#onFrame(
        frame.readUInt32LE(4),
        frame.readUInt32LE(8) !== 0,
        Uint8Array.from(frame.subarray(HEADER_BYTES)),
      );
    }
  }
}
