/** Where a virtio function's register structures are (virtio 1.3, section 4.1.4). */
import { unusable, type GuestPciFunction } from '../pci/function.js';
import { PciCapabilityId } from '../pci/registers.js';
import { CommonConfig, VirtioPciCap, VirtioPciCapType } from './registers.js';

/** A register structure's bus address and length. */
export interface RegisterRange {
  readonly address: number;
  readonly lengthBytes: number;
}

export interface VirtioRegisters {
  readonly common: RegisterRange;
  readonly notify: RegisterRange;
  readonly notifyOffMultiplier: number;
  readonly isr: RegisterRange;
  /** Undefined where the device has no config space. */
  readonly device: RegisterRange | undefined;
}

/** Throws a GuestError ENODEV where one that every modern device needs is missing. */
export function findRegisters(fn: GuestPciFunction): VirtioRegisters {
  const capabilities = fn.capabilities().filter(({ id }) => id === PciCapabilityId.VENDOR_SPECIFIC);
  // A device may offer a structure several times, best first: the first usable one is taken.
  const find = (type: number, minLengthBytes: number) => {
    for (const { offset } of capabilities) {
      if (fn.readConfig(offset + VirtioPciCap.CFG_TYPE, 1) !== type) continue;
      const range = locateStructure(fn, offset, minLengthBytes);
      if (range !== undefined) return { ...range, capability: offset };
    }
    return undefined;
  };
  const common = find(VirtioPciCapType.VIRTIO_PCI_CAP_COMMON_CFG, CommonConfig.MIN_LENGTH);
  const notify = find(VirtioPciCapType.VIRTIO_PCI_CAP_NOTIFY_CFG, 2);
  const isr = find(VirtioPciCapType.VIRTIO_PCI_CAP_ISR_CFG, 1);
  const device = find(VirtioPciCapType.VIRTIO_PCI_CAP_DEVICE_CFG, 1);
  if (common === undefined || notify === undefined || isr === undefined) {
    throw unusable(fn, 'not a modern virtio device: a register structure is missing');
  }
  const notifyOffMultiplier = fn.readConfig(notify.capability + VirtioPciCap.NOTIFY_OFF_MULTIPLIER, 4);
  return { common, notify, notifyOffMultiplier, isr, device };
}

function locateStructure(
  fn: GuestPciFunction,
  capability: number,
  minLengthBytes: number,
): RegisterRange | undefined {
  const bar = fn.readConfig(capability + VirtioPciCap.BAR, 1);
  const offset = fn.readConfig(capability + VirtioPciCap.OFFSET, 4);
  const lengthBytes = fn.readConfig(capability + VirtioPciCap.LENGTH, 4);
  if (lengthBytes < minLengthBytes) return undefined;
  const address = fn.locate(bar, offset, lengthBytes);
  return address === undefined ? undefined : { address, lengthBytes };
}
