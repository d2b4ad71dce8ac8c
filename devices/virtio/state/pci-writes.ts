/** What PCI's part of an operating system writes: BARs, capabilities, the MSI-X table, and last the command register. */
import { PciCommand, PciConfig, PciMsix } from '../../pci/defs.js';
import { MSIX_BAR } from '../transport/virtio-pci-layout.js';
import { VirtioPciCapField } from '../transport/virtio-pci-defs.js';
import { configRegister } from './config-registers.js';
import type { FunctionState } from './function-state.js';
import type { FunctionParts } from './function-parts.js';
import type { RegisterWrite } from './register-write.js';

/** The function decodes then, does not master the bus, and has MSI-X, if at all, on and masked as a whole. */
export function pciSetUpWrites(saved: FunctionState, parts: FunctionParts): RegisterWrite[] {
  const { config, capabilities } = parts;
  const { pciCfgWindow, msix } = capabilities;
  const windowData = pciCfgWindow < 0 ? -1 : pciCfgWindow + VirtioPciCapField.PCI_CFG_DATA;
  const own: readonly number[] = [PciConfig.PCI_COMMAND, windowData, msix];
  const offsets = Array.from({ length: saved.configSpace.length / 4 }, (_, register) => 4 * register);
  const rest = offsets.filter((offset) => config.writableBits(offset) !== 0 && !own.includes(offset));
  const command = configRegister(saved, PciConfig.PCI_COMMAND) & 0xffff;
  return [
    // While the window's length is 0, as after a reset: later this would be an access through it.
    ...(windowData < 0 ? [] : [write(windowData, configRegister(saved, windowData))]),
    ...rest.map((offset) => write(offset, configRegister(saved, offset))),
    commandWrite(command & ~PciCommand.PCI_COMMAND_MASTER),
    ...(msix < 0 ? [] : msixTableWrites(saved)),
    ...(msix < 0 ? [] : [controlWrite(msix, PciMsix.PCI_MSIX_FLAGS_ENABLE | PciMsix.PCI_MSIX_FLAGS_MASKALL)]),
  ];
}

/** Lets interrupts and the function itself loose, as far as they were. */
export function pciFinalWrites(saved: FunctionState, { capabilities }: FunctionParts): RegisterWrite[] {
  const { msix } = capabilities;
  const control = msix < 0 ? 0 : configRegister(saved, msix) >>> (8 * PciMsix.PCI_MSIX_FLAGS);
  return [
    ...(msix < 0 ? [] : [controlWrite(msix, control)]),
    commandWrite(configRegister(saved, PciConfig.PCI_COMMAND) & 0xffff),
  ];
}

function msixTableWrites({ msixTable }: FunctionState): RegisterWrite[] {
  const table = new DataView(msixTable.buffer, msixTable.byteOffset, msixTable.byteLength);
  return Array.from({ length: msixTable.length / 4 }, (_, word) => ({
    space: { bar: MSIX_BAR },
    offset: 4 * word,
    width: 4,
    value: table.getUint32(4 * word, true),
  }));
}

function commandWrite(value: number): RegisterWrite {
  return { space: 'config', offset: PciConfig.PCI_COMMAND, width: 2, value };
}

function controlWrite(msix: number, value: number): RegisterWrite {
  return { space: 'config', offset: msix + PciMsix.PCI_MSIX_FLAGS, width: 2, value };
}

function write(offset: number, value: number): RegisterWrite {
  return { space: 'config', offset, width: 4, value };
}
