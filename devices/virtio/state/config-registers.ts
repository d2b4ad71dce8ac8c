/** What a saved PCI config space says. */
import { PciMsix } from '../../pci/defs.js';
import type { FunctionState } from './function-state.js';
import type { CapabilityOffsets } from './function-parts.js';

/** The 32-bit register at `offset`. */
export function configRegister({ configSpace }: FunctionState, offset: number): number {
  return new DataView(configSpace.buffer, configSpace.byteOffset).getUint32(offset, true);
}

/** MSI-X as its control register has it; off where there is none. */
export function msixControl(
  state: FunctionState,
  { msix }: CapabilityOffsets,
): { readonly enabled: boolean; readonly functionMasked: boolean } {
  const flags = msix < 0 ? 0 : configRegister(state, msix) >>> (8 * PciMsix.PCI_MSIX_FLAGS);
  return {
    enabled: (flags & PciMsix.PCI_MSIX_FLAGS_ENABLE) !== 0,
    functionMasked: (flags & PciMsix.PCI_MSIX_FLAGS_MASKALL) !== 0,
  };
}
