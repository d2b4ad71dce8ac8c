import type { ConfigSpace } from '../../pci/config-space.js';
import type { MsixTable } from '../../pci/msix.js';
import type { VirtioDevice } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { CommonConfig } from '../transport/common-config.js';
import type { DeviceState } from '../transport/device-state.js';
import type { LegacyConfig } from '../transport/legacy-config.js';
import type { PciInterrupts } from '../transport/pci-interrupts.js';
import type { VirtioPciLayout } from '../transport/virtio-pci-layout.js';

/** Where each capability of a function starts in config space; -1 where it has none. */
export interface CapabilityOffsets {
  readonly express: number;
  readonly msix: number;
  /** VIRTIO_PCI_CAP_PCI_CFG. */
  readonly pciCfgWindow: number;
}

/** All that holds some of a virtio-pci function's state. */
export interface FunctionParts {
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  readonly config: ConfigSpace;
  readonly capabilities: CapabilityOffsets;
  readonly msix: MsixTable | undefined;
  readonly layout: VirtioPciLayout;
  readonly state: DeviceState;
  readonly common: CommonConfig;
  readonly legacy: LegacyConfig;
  readonly interrupts: PciInterrupts;
  /** Brings everything in line with the command register. */
  commandChanged(): void;
}
