/** The device's regions as VFIO numbers them: BARs 0–5, the expansion ROM (none), config space and VGA (none). */
import type { AccessWidth, PciFunction } from '../../../devices/pci/function.js';
import { VfioPciRegion, VfioRegionInfoFlag, VfioUserLimit } from './protocol.js';
import type { WireReader, WireWriter } from './wire.js';

const { VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_NUM_REGIONS } = VfioPciRegion;
const READ_WRITE =
  VfioRegionInfoFlag.VFIO_REGION_INFO_FLAG_READ | VfioRegionInfoFlag.VFIO_REGION_INFO_FLAG_WRITE;

export class Regions {
  readonly #fn: PciFunction;
  /** 0 for a region that the device lacks. */
  readonly #sizes = new Array<number>(VFIO_PCI_NUM_REGIONS).fill(0);

  constructor(fn: PciFunction) {
    this.#fn = fn;
    for (const bar of fn.bars) this.#sizes[bar.index] = bar.sizeBytes;
    this.#sizes[VFIO_PCI_CONFIG_REGION_INDEX] = fn.configSizeBytes;
  }

  /** Size of a region; 0 for one that the device lacks, and for a number that there is not. */
  size(region: number): number {
    return region < VFIO_PCI_NUM_REGIONS ? this.#sizes[region] : 0;
  }

  /** VFIO_REGION_INFO_FLAG_… of a region. None can be mapped: every access is a message. */
  flags(region: number): number {
    return this.size(region) === 0 ? 0 : READ_WRITE;
  }

  /** True where an access lies within its region and within what one message may move. */
  admits(region: number, offset: number, count: number): boolean {
    return (
      count <= VfioUserLimit.MAX_DATA_XFER_SIZE &&
      this.size(region) > 0 &&
      offset + count <= this.size(region)
    );
  }

  /** Reads an admitted range of any length, in the widest aligned accesses, into room reserved in `into`. */
  read(region: number, offset: number, count: number, into: WireWriter): void {
    const fn = this.#fn;
    const end = offset + count;
    for (let at = offset; at < end;) {
      const width = widestAccess(at, end - at);
      const value =
        region === VFIO_PCI_CONFIG_REGION_INDEX ? fn.readConfig(at, width) : fn.readBar(region, at, width);
      into.putValue(width, value);
      at += width;
    }
  }

  /** Writes an admitted range of any length, in the widest aligned accesses, from the next bytes of `from`. */
  write(region: number, offset: number, count: number, from: WireReader): void {
    const fn = this.#fn;
    const end = offset + count;
    for (let at = offset; at < end;) {
      const width = widestAccess(at, end - at);
      const value = from.value(width);
      if (region === VFIO_PCI_CONFIG_REGION_INDEX) fn.writeConfig(at, width, value);
      else fn.writeBar(region, at, width, value);
      at += width;
    }
  }
}

function widestAccess(offset: number, left: number): AccessWidth {
  if (left >= 4 && (offset & 3) === 0) return 4;
  return left >= 2 && (offset & 1) === 0 ? 2 : 1;
}
