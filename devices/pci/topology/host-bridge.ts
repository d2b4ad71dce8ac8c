import { ConfigSpace, defineType0Header } from '../config-space.js';
import type { AccessWidth } from '../function.js';
import type { BusFunction } from './bus.js';

/** The host bridge at 00:00.0: it stands for the root complex in config space, and does nothing. */
export class HostBridge implements BusFunction {
  readonly devfn = 0;
  readonly bridge = undefined;
  readonly #space = new ConfigSpace();

  constructor() {
    const identity = {
      vendorId: 0x1b36,
      deviceId: 0x0008,
      revisionId: 0,
      classCode: 0x060000,
      subsystemVendorId: 0,
      subsystemId: 0,
      hasIntx: false,
    };
    defineType0Header(this.#space, identity, []);
    this.#space.seal();
  }

  readConfig(offset: number, width: AccessWidth): number {
    return this.#space.read(offset, width);
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.#space.write(offset, width, value);
  }

  claim(): void {}

  powerUp(): void {
    this.#space.reset();
  }

  powerDown(): void {}

  masteringChanged(): void {}
}
