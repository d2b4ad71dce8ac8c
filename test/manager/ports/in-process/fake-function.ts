import { MsixTable } from '../../../../devices/pci/msix.js';
import type { AccessWidth, BarSpec, FunctionPort, PciFunction } from '../../../../devices/pci/function.js';

/** A function whose registers are bytes: two BARs of plain memory, an MSI-X table, and a record of what happens to it. */
export class FakeFunction implements PciFunction {
  readonly bars: readonly BarSpec[] = [
    { index: 0, kind: 'memory32', prefetchable: false, sizeBytes: 0x1000 },
    { index: 2, kind: 'memory64', prefetchable: false, sizeBytes: 0x100 },
    { index: 1, kind: 'io', prefetchable: false, sizeBytes: 0x10 },
  ];
  readonly msixVectorCount = 2;
  readonly msix = new MsixTable(2, (vector) => this.port?.triggerMsix(vector));
  readonly hasIntx = true;
  readonly configSizeBytes = 256;
  readonly config = new DataView(new ArrayBuffer(256));
  readonly registers = new DataView(new ArrayBuffer(0x1000));
  readonly log: string[] = [];
  port: FunctionPort | undefined;
  onAfterWrite: () => void = () => {};

  constructor(deviceId = 1) {
    this.config.setUint16(0, 0x1234, true);
    this.config.setUint16(2, deviceId, true);
  }

  /** Places BAR 0 and BAR 2, and sets the command register. */
  place(
    low: number,
    wide: number,
    command: number,
    write: (offset: number, width: 2 | 4, value: number) => void,
  ) {
    write(0x10, 4, low);
    write(0x18, 4, wide % 2 ** 32);
    write(0x1c, 4, Math.floor(wide / 2 ** 32));
    write(0x04, 2, command);
  }

  readConfig(offset: number, width: AccessWidth): number {
    if (offset + width > 256) return 2 ** (8 * width) - 1;
    return read(this.config, offset, width);
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    if (offset + width <= 256) write(this.config, offset, width, value);
  }

  readBar(bar: number, offset: number, width: AccessWidth): number {
    this.log.push(`read ${bar}+${offset}/${width}`);
    return read(this.registers, offset, width);
  }

  writeBar(bar: number, offset: number, width: AccessWidth, value: number): void {
    this.log.push(`write ${bar}+${offset}/${width}=${value}`);
    write(this.registers, offset, width, value);
  }

  afterWrite(): void {
    this.log.push('work');
    this.onAfterWrite();
  }

  connect(port: FunctionPort | undefined): void {
    this.log.push(port === undefined ? 'out' : 'in');
    this.port = port;
  }

  reset(): void {
    this.log.push('reset');
    this.config.setUint16(4, 0, true);
    this.msix.reset();
  }
}

function read(view: DataView, offset: number, width: AccessWidth): number {
  if (width === 1) return view.getUint8(offset);
  return width === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
}

function write(view: DataView, offset: number, width: AccessWidth, value: number): void {
  if (width === 1) view.setUint8(offset, value);
  else if (width === 2) view.setUint16(offset, value, true);
  else view.setUint32(offset, value, true);
}
