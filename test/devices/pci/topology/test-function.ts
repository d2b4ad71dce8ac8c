/** A PCI Express function of plain registers, which knows what is done to it. */
import { CapabilityList } from '../../../../devices/pci/capabilities.js';
import { ConfigSpace, defineType0Header } from '../../../../devices/pci/config-space.js';
import type { AccessWidth, BarSpec, FunctionPort, PciFunction } from '../../../../devices/pci/function.js';
import { MsixTable } from '../../../../devices/pci/msix.js';

export const VENDOR_ID = 0x1234;

export const DEFAULT_BARS: readonly BarSpec[] = [
  { index: 0, kind: 'memory32', prefetchable: false, sizeBytes: 0x1000 },
  { index: 2, kind: 'memory64', prefetchable: true, sizeBytes: 0x4000 },
];

export class TestFunction implements PciFunction {
  readonly bars: readonly BarSpec[];
  readonly msixVectorCount = 1;
  readonly msix = new MsixTable(1, (vector) => this.port?.triggerMsix(vector));
  readonly hasIntx = true;
  readonly configSizeBytes: number;
  readonly space: ConfigSpace;
  /** What was written, by BAR and offset. */
  readonly registers = new Map<string, number>();
  port: FunctionPort | undefined;
  resets = 0;
  connects = 0;
  workDone = 0;
  onAfterWrite: () => void = () => {};

  readonly deviceId: number;

  constructor(
    deviceId: number,
    options: { readonly bars?: readonly BarSpec[]; readonly configSizeBytes?: number } = {},
  ) {
    this.deviceId = deviceId;
    this.bars = options.bars ?? DEFAULT_BARS;
    this.space = new ConfigSpace(options.configSizeBytes ?? 256);
    this.configSizeBytes = this.space.sizeBytes;
    const identity = { vendorId: VENDOR_ID, deviceId, revisionId: 1, classCode: 0x020000 };
    defineType0Header(
      this.space,
      { ...identity, subsystemVendorId: 1, subsystemId: 2, hasIntx: true },
      this.bars,
    );
    const list = new CapabilityList(this.space);
    list.addMsix(this.msix, { bar: 0, tableOffset: 0x800, pbaOffset: 0xc00 }, () => {});
    list.addExpressEndpoint(() => this.reset());
    this.space.seal();
  }

  readConfig(offset: number, width: AccessWidth): number {
    return this.space.read(offset, width);
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.space.write(offset, width, value);
  }

  /** A register that was not written reads the device id. */
  readBar(bar: number, offset: number, _width: AccessWidth): number {
    if (bar === 0 && isMsixTable(offset)) return this.msix.readTable(offset - 0x800, _width);
    return this.registers.get(`${bar}+${offset}`) ?? this.deviceId;
  }

  writeBar(bar: number, offset: number, width: AccessWidth, value: number): void {
    if (bar === 0 && isMsixTable(offset)) this.msix.writeTable(offset - 0x800, width, value);
    else this.registers.set(`${bar}+${offset}`, value);
  }

  afterWrite(): void {
    this.workDone++;
    this.onAfterWrite();
  }

  connect(port: FunctionPort | undefined): void {
    this.port?.setIntx(false);
    this.port = port;
    if (port !== undefined) this.connects++;
  }

  reset(): void {
    this.resets++;
    this.registers.clear();
    this.msix.reset();
    this.space.reset();
  }

  get command(): number {
    return this.space.get(0x04, 2);
  }
}

function isMsixTable(offset: number): boolean {
  return offset >= 0x800 && offset < 0x810;
}

/** Functions with consecutive numbers and device ids, for a card. */
export function testFunctions(count: number, firstDeviceId = 1) {
  return Array.from({ length: count }, (_, number) => ({
    number,
    function: new TestFunction(firstDeviceId + number),
  }));
}
