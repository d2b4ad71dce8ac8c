/**
 * What is wrong with a state for a function, before anything of it is applied. A blob comes from outside, so each of its fields is held
 * against what registers let a driver do: a state that no driver can bring about is refused.
 */
import { PciConfig, PciConfigSize, PciExpress, PciStatus } from '../../pci/defs.js';
import { MSIX_ENTRY_BYTES } from '../../pci/msix.js';
import { VIRTIO_MSI_NO_VECTOR } from '../ring/queue-config.js';
import { VirtioPciIsr } from '../transport/virtio-pci-defs.js';
import { configRegister, msixControl } from './config-registers.js';
import { problemOfDriver } from './driver-problem.js';
import type { FunctionState } from './function-state.js';
import type { FunctionParts } from './function-parts.js';
import { problemOfQueues } from './queue-problem.js';

/** Where a table entry's fields are that have reserved bits, and those bits. */
const MSIX_RESERVED = [
  { offset: 0, bits: 0x3 },
  { offset: 12, bits: 0xffff_fffe },
] as const;
/** The status register is the upper half of the 32 bits that begin with the command register. */
const STATUS_SHIFT = 16;

export function problemOfState(saved: FunctionState, parts: FunctionParts): string | undefined {
  return (
    problemOfShape(saved, parts) ??
    problemOfConfigSpace(saved, parts) ??
    problemOfMsix(saved, parts) ??
    problemOfVectors(saved, parts) ??
    problemOfDriver(saved, parts) ??
    problemOfQueues(saved, parts)
  );
}

function problemOfShape(saved: FunctionState, { msix, state }: FunctionParts): string | undefined {
  const lengths: readonly (readonly [what: string, saved: number, here: number])[] = [
    ['bytes of PCI config space', saved.configSpace.length, PciConfigSize.PCI_CFG_SPACE_SIZE],
    ['bytes of MSI-X table', saved.msixTable.length, msix?.tableBytes ?? 0],
    ['bytes of MSI-X pending bits', saved.msixPending.length, msix?.pbaBytes ?? 0],
    ['bytes of device config space', saved.deviceConfig.length, state.config.sizeBytes],
    ['queues', saved.queues.length, state.queues.length],
  ];
  for (const [what, there, here] of lengths) {
    if (there !== here) return `the state has ${there} ${what}, and this function ${here}`;
  }
  return undefined;
}

/** What no driver can write says which function it is: ids, BARs, all capabilities. */
function problemOfConfigSpace(saved: FunctionState, parts: FunctionParts): string | undefined {
  const { config, capabilities } = parts;
  const interrupt = PciStatus.PCI_STATUS_INTERRUPT << STATUS_SHIFT;
  const { enabled } = msixControl(saved, capabilities);
  const pinStatus = saved.isrStatus !== 0 && !enabled ? interrupt : 0;
  for (let offset = 0; offset < saved.configSpace.length; offset += 4) {
    const fixed = ~config.writableBits(offset);
    const here = config.get(offset, 4);
    const expected = offset === PciConfig.PCI_COMMAND ? (here & ~interrupt) | pinStatus : here;
    if (((configRegister(saved, offset) ^ expected) & fixed) !== 0) {
      return `the state is another function's: they differ in config space at 0x${offset.toString(16)}`;
    }
  }
  const deviceControl = configRegister(saved, capabilities.express + PciExpress.PCI_EXP_DEVCTL);
  // Writable, and never kept.
  if ((deviceControl & PciExpress.PCI_EXP_DEVCTL_BCR_FLR) !== 0) return 'a function-level reset is no state';
  return undefined;
}

function problemOfMsix(
  { msixTable, msixPending }: FunctionState,
  { msix }: FunctionParts,
): string | undefined {
  const table = new DataView(msixTable.buffer, msixTable.byteOffset, msixTable.byteLength);
  for (let entry = 0; entry < table.byteLength; entry += MSIX_ENTRY_BYTES) {
    for (const { offset, bits } of MSIX_RESERVED) {
      if ((table.getUint32(entry + offset, true) & bits) !== 0) return 'an MSI-X entry has reserved bits set';
    }
  }
  for (let vector = msix?.vectorCount ?? 0; vector < 8 * msixPending.length; vector++) {
    if ((msixPending[vector >> 3] & (1 << (vector & 7))) !== 0)
      return 'an MSI-X vector is pending that is not there';
  }
  return undefined;
}

function problemOfVectors(saved: FunctionState, { msix }: FunctionParts): string | undefined {
  const count = msix?.vectorCount ?? 0;
  const vectors = [saved.configVector, ...saved.queues.map(({ vector }) => vector)];
  if (vectors.some((vector) => vector >= count && vector !== VIRTIO_MSI_NO_VECTOR)) {
    return 'an MSI-X vector is beyond the table';
  }
  const isrBits = VirtioPciIsr.QUEUE | VirtioPciIsr.CONFIG;
  return (saved.isrStatus & ~isrBits) !== 0 ? 'ISR status has bits that do not exist' : undefined;
}
