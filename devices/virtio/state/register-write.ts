import type { AccessWidth, PciFunction } from '../../pci/function.js';

/** One write of a driver: to config space, or to a BAR. */
export interface RegisterWrite {
  readonly space: 'config' | { readonly bar: number };
  readonly offset: number;
  readonly width: AccessWidth;
  readonly value: number;
}

/** What one set of virtio registers is written, in three parts between which other things happen. */
export interface DriverWrites {
  /** From the reset to the last queue. */
  readonly setUp: readonly RegisterWrite[];
  /** What has the device begin. Not for one that is faulted: it has ended already. */
  readonly start: readonly RegisterWrite[];
  /** The selectors, which setting up moves. They outlive a reset of the device. */
  readonly selectors: readonly RegisterWrite[];
  readonly reset: RegisterWrite;
}

export function writeAll(fn: PciFunction, writes: readonly RegisterWrite[]): void {
  for (const { space, offset, width, value } of writes) {
    if (space === 'config') fn.writeConfig(offset, width, value);
    else fn.writeBar(space.bar, offset, width, value);
  }
}
