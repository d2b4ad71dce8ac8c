import type { AccessWidth } from '../../pci/function.js';
import type { VirtioDevice } from '../device.js';

/**
 * A device's config space as its driver sees it through registers (virtio 1.3, section 2.5).
 *
 * The generation is kept by looking: it moves when a driver's access finds other bytes than the access before did. So a read that
 * was torn by a change always shows, whether or not the device said that it changed something (it cannot while no driver
 * is at work), and 256 changes between two looks do not bring the 8-bit register back to where it was.
 */
export class DeviceConfig {
  readonly #device: VirtioDevice;
  readonly #seen: Uint8Array;
  #generation = 0;

  constructor(device: VirtioDevice) {
    this.#device = device;
    this.#seen = device.config.slice();
  }

  get sizeBytes(): number {
    return this.#device.config.length;
  }

  /** `config_generation`, 8 bits. */
  get generation(): number {
    this.#look();
    return this.#generation;
  }

  /** All bytes, as of the generation. */
  get bytes(): Uint8Array {
    this.#look();
    return this.#seen.slice();
  }

  /** What a driver saw of another device like this one. Where this one's config differs, the generation moves on at the next look. */
  resume(generation: number, seen: Uint8Array): void {
    this.#generation = generation;
    this.#seen.set(seen);
  }

  /** Any width, aligned or not: legacy drivers may. Zeros behind the end. */
  read(offset: number, width: AccessWidth): number {
    this.#look();
    let value = 0;
    for (let i = 0; i < width; i++) value |= (this.#seen[offset + i] ?? 0) << (i * 8);
    return value >>> 0;
  }

  /** Hands a driver's write to the device; nothing of one that goes past the end. What the device throws comes out. */
  write(offset: number, width: AccessWidth, value: number): void {
    if (offset < 0 || offset + width > this.sizeBytes) return;
    const bytes = new Uint8Array(width);
    for (let i = 0; i < width; i++) bytes[i] = value >>> (i * 8);
    this.#device.writeConfig(offset, bytes);
  }

  #look(): void {
    const { config } = this.#device;
    let changed = false;
    for (let i = 0; i < this.#seen.length; i++) {
      if (this.#seen[i] === config[i]) continue;
      this.#seen[i] = config[i];
      changed = true;
    }
    if (changed) this.#generation = (this.#generation + 1) & 0xff;
  }
}
