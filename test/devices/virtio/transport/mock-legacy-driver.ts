/**
 * A driver of legacy virtio-pci functions, written from the specification (virtio 1.3, section 4.1.4.10) with constants of its own. It
 * knows BAR 0 and the MSI-X capability, and nothing else.
 */
import type { AccessWidth, PciFunction } from '../../../../devices/pci/function.js';
import type { MockSplitDriver } from '../mock-driver.js';

export const LegacyField = {
  deviceFeatures: [0, 4],
  driverFeatures: [4, 4],
  queueAddress: [8, 4],
  queueSize: [12, 2],
  queueSelect: [14, 2],
  queueNotify: [16, 2],
  status: [18, 1],
  isr: [19, 1],
  /** Only with MSI-X enabled. */
  configVector: [20, 2],
  queueVector: [22, 2],
} as const satisfies Record<string, readonly [number, AccessWidth]>;

export const PAGE = 4096;
export const ANY_LAYOUT = 1 << 27;
export const INDIRECT_DESC = 1 << 28;
export const LEGACY_EVENT_IDX = 1 << 29;

export class MockLegacyDriver {
  readonly fn: PciFunction;

  /** Switches I/O space and bus mastering on. */
  constructor(fn: PciFunction) {
    this.fn = fn;
    fn.writeConfig(0x04, 2, 0x0005);
  }

  read(field: keyof typeof LegacyField): number {
    const [offset, width] = LegacyField[field];
    return this.fn.readBar(0, offset, width);
  }

  /** Also runs the work that the write asks for, as a port does. */
  write(field: keyof typeof LegacyField, value: number): void {
    const [offset, width] = LegacyField[field];
    this.fn.writeBar(0, offset, width, value);
    this.fn.afterWrite();
  }

  addStatus(bits: number): number {
    this.write('status', this.read('status') | bits);
    return this.read('status');
  }

  /** Reset, acknowledge, driver, features: up to where queues are set up. */
  begin(features = LEGACY_EVENT_IDX | ANY_LAYOUT): void {
    this.write('status', 0);
    this.addStatus(1);
    this.addStatus(2);
    this.write('driverFeatures', features);
  }

  placeQueue(index: number, queue: MockSplitDriver): void {
    this.write('queueSelect', index);
    this.write('queueAddress', queue.descriptorArea / PAGE);
  }
}
