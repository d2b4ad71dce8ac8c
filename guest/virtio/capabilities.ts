/** Where a virtio function's register structures are (virtio 1.3, section 4.1.4). */
import { unusable, type GuestPciFunction } from '../pci/function.js';
import { PciCapabilityId } from '../pci/registers.js';
import { CommonConfig, VirtioPciCap, VirtioPciCapType } from './registers.js';

/** A register structure: its bus address and length, and where that is in which BAR. */
export interface RegisterRange {
  readonly address: number;
  readonly lengthBytes: number;
  readonly bar: number;
  readonly offset: number;
}

export interface NotifyRegisters extends RegisterRange {
  /** 0: every queue's doorbell is the same. */
  readonly offMultiplier: number;
}

export interface VirtioRegisters {
  readonly common: RegisterRange;
  /** One at least, best first. */
  readonly notify: readonly [NotifyRegisters, ...NotifyRegisters[]];
  readonly isr: RegisterRange;
  /** Undefined where the device has no config space. */
  readonly device: RegisterRange | undefined;
  /** Where the capability with the window through config space starts; undefined where there is none. */
  readonly window: number | undefined;
}

/** True where the function has any virtio structure: one without is a legacy device (4.1.5.1.1.1). */
export function hasVirtioCapabilities(fn: GuestPciFunction): boolean {
  const known: readonly number[] = Object.values(VirtioPciCapType);
  return vendorCapabilities(fn).some(({ type }) => known.includes(type));
}

/** Throws a GuestError ENODEV where one that every modern device needs is missing. */
export function findRegisters(fn: GuestPciFunction): VirtioRegisters {
  const capabilities = vendorCapabilities(fn);
  // A device may offer a structure several times, best first: those that cannot be used are passed over.
  const all = (wanted: number, minLengthBytes: number) =>
    capabilities.flatMap(({ type, offset }) => {
      const range = type === wanted ? locateStructure(fn, offset, minLengthBytes) : undefined;
      return range === undefined ? [] : [{ range, capability: offset }];
    });
  const [common] = all(VirtioPciCapType.VIRTIO_PCI_CAP_COMMON_CFG, CommonConfig.MIN_LENGTH);
  const [isr] = all(VirtioPciCapType.VIRTIO_PCI_CAP_ISR_CFG, 1);
  const [notify, ...others] = all(VirtioPciCapType.VIRTIO_PCI_CAP_NOTIFY_CFG, 2).map(
    ({ range, capability }) => ({
      ...range,
      offMultiplier: fn.readConfig(capability + VirtioPciCap.NOTIFY_OFF_MULTIPLIER, 4),
    }),
  );
  if (common === undefined || notify === undefined || isr === undefined) {
    throw unusable(fn, 'not a modern virtio device: a register structure is missing');
  }
  return {
    common: common.range,
    notify: [notify, ...others],
    isr: isr.range,
    device: all(VirtioPciCapType.VIRTIO_PCI_CAP_DEVICE_CFG, 1).at(0)?.range,
    window: capabilities.find(({ type }) => type === VirtioPciCapType.VIRTIO_PCI_CAP_PCI_CFG)?.offset,
  };
}

/** Queues that the function has; a legacy one does not say, and has the first. */
export function queueCountOf(fn: GuestPciFunction): number {
  if (!hasVirtioCapabilities(fn)) return 1;
  return fn.readMemory(findRegisters(fn).common.address + CommonConfig.NUM_QUEUES, 2);
}

function vendorCapabilities(fn: GuestPciFunction): { type: number; offset: number }[] {
  return fn
    .capabilities()
    .filter(({ id }) => id === PciCapabilityId.VENDOR_SPECIFIC)
    .map(({ offset }) => ({ type: fn.readConfig(offset + VirtioPciCap.CFG_TYPE, 1), offset }));
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
  return address === undefined ? undefined : { address, lengthBytes, bar, offset };
}
