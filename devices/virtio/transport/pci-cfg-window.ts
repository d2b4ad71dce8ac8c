import type { ConfigSpace } from '../../pci/config-space.js';
import type { AccessWidth } from '../../pci/function.js';
import { VirtioPciCapField } from './virtio-pci-defs.js';

/** What the window reaches: the function's own BARs. */
export interface BarAccess {
  readBar(bar: number, offset: number, width: AccessWidth): number;
  writeBar(bar: number, offset: number, width: AccessWidth, value: number): void;
}

/**
 * VIRTIO_PCI_CAP_PCI_CFG (virtio 1.3, section 4.1.4.9): firmware that cannot map BARs sets bar, offset and length (1, 2 or 4) in the
 * capability at `start`, and then accesses `pci_cfg_data` instead. Other lengths and unaligned offsets do nothing.
 */
export function installPciCfgWindow(space: ConfigSpace, start: number, bars: BarAccess): void {
  const data = start + VirtioPciCapField.PCI_CFG_DATA;
  space.define(start + VirtioPciCapField.BAR, 1, 0, 0xff);
  space.define(start + VirtioPciCapField.OFFSET, 4, 0, 0xffff_ffff);
  space.define(start + VirtioPciCapField.LENGTH, 4, 0, 0xffff_ffff);
  space.define(data, 4, 0, 0xffff_ffff);
  const bar = (): number => space.get(start + VirtioPciCapField.BAR, 1);
  const offset = (): number => space.get(start + VirtioPciCapField.OFFSET, 4);
  const width = (): AccessWidth | undefined => {
    const length = space.get(start + VirtioPciCapField.LENGTH, 4);
    const valid = (length === 1 || length === 2 || length === 4) && offset() % length === 0;
    return valid ? length : undefined;
  };
  space.hook(data, {
    beforeRead: () => {
      const bytes = width();
      if (bytes !== undefined) space.set(data, 4, bars.readBar(bar(), offset(), bytes));
    },
    afterWrite: () => {
      const bytes = width();
      if (bytes !== undefined) bars.writeBar(bar(), offset(), bytes, space.get(data, bytes));
    },
  });
}
