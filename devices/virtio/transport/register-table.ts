import type { AccessWidth } from '../../pci/function.js';

/** One register. Without `write` it is read-only. Values are unsigned. */
export interface Register {
  readonly offset: number;
  readonly width: AccessWidth;
  readonly name: string;
  read(): number;
  write?(value: number): void;
}

/**
 * A block of registers. A write counts only where it is exactly one register (the rule for drivers, virtio 1.3 section
 * 4.1.3.1); a read may take any part or several. What no register claims reads 0 and ignores writes.
 */
export class RegisterTable {
  readonly sizeBytes: number;
  /** The register that holds each byte. */
  readonly #byByte: (Register | undefined)[];

  constructor(sizeBytes: number, registers: readonly Register[]) {
    this.sizeBytes = sizeBytes;
    this.#byByte = new Array<Register | undefined>(sizeBytes).fill(undefined);
    for (const register of registers) {
      for (let i = 0; i < register.width; i++) {
        const at = register.offset + i;
        if (at >= sizeBytes || this.#byByte[at] !== undefined) {
          throw new Error(`register ${register.name} overlaps another or the end`);
        }
        this.#byByte[at] = register;
      }
    }
  }

  read(offset: number, width: AccessWidth): number {
    let value = 0;
    let at = offset;
    const end = Math.min(offset + width, this.sizeBytes);
    while (at < end) {
      const register = this.#byByte[at];
      if (register === undefined) {
        at++;
        continue;
      }
      const skip = at - register.offset;
      const bytes = Math.min(register.width - skip, end - at);
      value |= lowBytes(register.read() >>> (skip * 8), bytes) << ((at - offset) * 8);
      at += bytes;
    }
    return value >>> 0;
  }

  write(offset: number, width: AccessWidth, value: number): void {
    const register = this.#byByte[offset];
    if (register?.write === undefined || register.offset !== offset || register.width !== width) return;
    register.write(lowBytes(value, width) >>> 0);
  }
}

function lowBytes(value: number, bytes: number): number {
  return bytes === 4 ? value : value & ((1 << (bytes * 8)) - 1);
}
