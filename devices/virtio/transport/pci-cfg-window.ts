import type { ConfigSpace } from '../../pci/config-space.js';
import type { AccessWidth } from '../../pci/function.js';
import { VirtioPciCapField } from './virtio-pci-defs.js';

/** What the window reaches: the BAR that holds the virtio structures, and no other. */
export interface WindowedBar {
  readonly bar: number;
  read(offset: number, width: AccessWidth): number;
  write(offset: number, width: AccessWidth, value: number): void;
}

/**
 * VIRTIO_PCI_CAP_PCI_CFG (virtio 1.3, section 4.1.4.9): firmware that cannot map BARs sets bar, offset and length (1, 2 or 4) in the
 * capability at `start`, and then accesses `pci_cfg_data` instead: any access to any part of that is one of `length` bytes to the BAR.
 * Other lengths, unaligned offsets and BARs without structures do nothing.
 */
export function installPciCfgWindow(space: ConfigSpace, start: number, target: WindowedBar): void {
  const data = start + VirtioPciCapField.PCI_CFG_DATA;
  space.define(start + VirtioPciCapField.BAR, 1, 0, 0xff);
  space.define(start + VirtioPciCapField.OFFSET, 4, 0, 0xffff_ffff);
  space.define(start + VirtioPciCapField.LENGTH, 4, 0, 0xffff_ffff);
  space.define(data, 4, 0, 0xffff_ffff);
  const offset = (): number => space.get(start + VirtioPciCapField.OFFSET, 4);
  const width = (): AccessWidth | undefined => {
    if (space.get(start + VirtioPciCapField.BAR, 1) !== target.bar) return undefined;
    const length = space.get(start + VirtioPciCapField.LENGTH, 4);
    const valid = (length === 1 || length === 2 || length === 4) && offset() % length === 0;
    return valid ? length : undefined;
  };
  space.hook(data, {
    beforeRead: () => {
      const bytes = width();
      if (bytes !== undefined) space.set(data, 4, target.read(offset(), bytes));
    },
    afterWrite: () => {
      const bytes = width();
      if (bytes !== undefined) target.write(offset(), bytes, space.get(data, bytes));
    },
  });
}
