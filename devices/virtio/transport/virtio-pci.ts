/**
 * A modern virtio device as a PCI function (virtio 1.3, section 4.1): config space, the four structures behind BAR 4, and
 * interrupts. Everything behind the registers is in `DeviceState` and `DeviceSession`.
 */
import { CapabilityList } from '../../pci/capabilities.js';
import { ConfigSpace, defineType0Header } from '../../pci/config-space.js';
import { PciCommand, PciConfig } from '../../pci/defs.js';
import type { AccessWidth, BarSpec, FunctionPort, PciFunction } from '../../pci/function.js';
import { MsixTable } from '../../pci/msix.js';
import type { QueueCounters, VirtioDevice } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { CommonConfig } from './common-config.js';
import { DeviceState } from './device-state.js';
import { installPciCfgWindow } from './pci-cfg-window.js';
import { PciInterrupts } from './pci-interrupts.js';
import { VIRTIO_PCI_MODERN_DEVICE_ID_BASE, VIRTIO_PCI_VENDOR_ID } from './virtio-pci-defs.js';
import {
  MAX_DEVICE_CONFIG_BYTES,
  MSIX_BAR,
  NOTIFY_OFF_MULTIPLIER,
  StructureOffset,
  VIRTIO_BAR,
  addVirtioCapabilities,
  msixPbaOffset,
  virtioBars,
} from './virtio-pci-layout.js';

/** 1 and up says "no legacy interface". */
const MODERN_REVISION = 1;
/** 0x40 and up, for the same reason. */
const MODERN_SUBSYSTEM_ID = 0x40;

export interface VirtioPciOptions {
  /** Whether the function has MSI-X: one vector a queue, and one for config changes. INTx it always has. */
  readonly msix: boolean;
  /** Takes one line on each fault of the driver or the device. */
  readonly log?: (message: string) => void;
  /** Runs work soon, from the event loop. By default with setImmediate, or setTimeout where there is none. */
  readonly defer?: (work: () => void) => void;
}

export class VirtioPciFunction implements PciFunction {
  readonly bars: readonly BarSpec[];
  readonly msixVectorCount: number;
  readonly msix: MsixTable | undefined;
  readonly hasIntx = true;
  readonly configSizeBytes: number;
  readonly #device: VirtioDevice;
  readonly #config = new ConfigSpace();
  readonly #interrupts: PciInterrupts;
  readonly #state: DeviceState;
  readonly #common: CommonConfig;
  readonly #notifyBytes: number;

  /** `memory` is the guest's, kept up to date by the port. */
  constructor(device: VirtioDevice, memory: GuestMemory, options: VirtioPciOptions) {
    if (device.config.length > MAX_DEVICE_CONFIG_BYTES) {
      throw new RangeError(`a device's config space has at most ${MAX_DEVICE_CONFIG_BYTES} bytes`);
    }
    const queueCount = device.queueSizes.length;
    this.#device = device;
    this.#notifyBytes = queueCount * NOTIFY_OFF_MULTIPLIER;
    this.msixVectorCount = options.msix ? queueCount + 1 : 0;
    this.msix = options.msix
      ? new MsixTable(this.msixVectorCount, (vector) => this.#interrupts.fire(vector))
      : undefined;
    this.bars = virtioBars(queueCount, this.msixVectorCount);
    this.configSizeBytes = this.#config.sizeBytes;
    this.#interrupts = new PciInterrupts(this.#config, this.msix);
    this.#state = this.#newState(memory, options);
    this.#common = new CommonConfig(this.#state, this.msixVectorCount);
    this.#buildConfigSpace();
    this.#busMasterChanged();
  }

  readConfig(offset: number, width: AccessWidth): number {
    return this.#config.read(offset, width);
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.#config.write(offset, width, value);
  }

  readBar(bar: number, offset: number, width: AccessWidth): number {
    if (bar === VIRTIO_BAR) return this.#readStructure(offset, width);
    if (bar !== MSIX_BAR || this.msix === undefined) return 0;
    const pba = msixPbaOffset(this.msixVectorCount);
    return offset < pba ? this.msix.readTable(offset, width) : this.msix.readPba(offset - pba, width);
  }

  writeBar(bar: number, offset: number, width: AccessWidth, value: number): void {
    if (bar === VIRTIO_BAR) this.#writeStructure(offset, width, value);
    else if (bar === MSIX_BAR) this.msix?.writeTable(offset, width, value);
  }

  afterWrite(): void {
    this.#state.session?.run();
  }

  connect(port: FunctionPort | undefined): void {
    this.#interrupts.connect(port);
  }

  reset(): void {
    this.#state.reset();
    this.#common.reset();
    this.msix?.reset();
    this.#config.reset();
    this.#busMasterChanged();
    this.#interrupts.update();
  }

  /** True where kicked queues wait to be served: `service` or `afterWrite` serves them. */
  get needsService(): boolean {
    return this.#state.session?.needsService ?? false;
  }

  /** Serves kicked queues for a turn each; true where work is left. */
  service(): boolean {
    return this.#state.session?.run() ?? false;
  }

  /** Looks at a queue that was not kicked; answers how many chains it served. */
  poll(queueIndex: number): number {
    return this.#state.session?.poll(queueIndex) ?? 0;
  }

  /** What a queue counted since the driver started the device. */
  counters(queueIndex: number): Readonly<QueueCounters> {
    return this.#state.counters(queueIndex);
  }

  #newState(memory: GuestMemory, options: VirtioPciOptions): DeviceState {
    return new DeviceState(this.#device, memory, {
      interruptQueue: (index) => this.#interrupts.queue(this.#state.queues[index].vector),
      interruptConfig: () => this.#interrupts.configuration(this.#state.configVector),
      wasReset: () => this.#interrupts.clear(),
      log: options.log ?? (() => {}),
      defer: options.defer ?? deferToEventLoop,
    });
  }

  #buildConfigSpace(): void {
    const space = this.#config;
    const { deviceId, pciClass } = this.#device;
    const identity = {
      vendorId: VIRTIO_PCI_VENDOR_ID,
      deviceId: VIRTIO_PCI_MODERN_DEVICE_ID_BASE + deviceId,
      revisionId: MODERN_REVISION,
      classCode: pciClass,
      subsystemVendorId: VIRTIO_PCI_VENDOR_ID,
      subsystemId: MODERN_SUBSYSTEM_ID + deviceId,
      hasIntx: this.hasIntx,
    };
    defineType0Header(space, identity, this.bars);
    space.hook(PciConfig.PCI_COMMAND, {
      afterWrite: () => {
        this.#interrupts.update();
        this.#busMasterChanged();
      },
    });
    const list = new CapabilityList(space);
    const { queueSizes, config } = this.#device;
    installPciCfgWindow(space, addVirtioCapabilities(list, queueSizes.length, config.length), this);
    if (this.msix !== undefined) {
      const layout = { bar: MSIX_BAR, tableOffset: 0, pbaOffset: msixPbaOffset(this.msixVectorCount) };
      list.addMsix(this.msix, layout, () => this.#interrupts.update());
    }
    list.addExpressEndpoint(() => this.reset());
    space.seal();
  }

  /** A function that may not master the bus leaves guest memory alone: a kernel that hands over to the next relies on it. */
  #busMasterChanged(): void {
    const command = this.#config.get(PciConfig.PCI_COMMAND, 2);
    this.#state.paused = (command & PciCommand.PCI_COMMAND_MASTER) === 0;
  }

  #readStructure(offset: number, width: AccessWidth): number {
    if (offset < StructureOffset.ISR) return this.#common.table.read(offset, width);
    if (offset < StructureOffset.DEVICE)
      return offset === StructureOffset.ISR ? this.#interrupts.readIsr() : 0;
    if (offset >= StructureOffset.NOTIFY) return 0;
    return this.#readDeviceConfig(offset - StructureOffset.DEVICE, width);
  }

  #writeStructure(offset: number, width: AccessWidth, value: number): void {
    const doorbell = offset - StructureOffset.NOTIFY;
    if (doorbell >= 0) {
      const aligned = doorbell % NOTIFY_OFF_MULTIPLIER === 0 && doorbell < this.#notifyBytes;
      if (aligned) this.#state.session?.kick(doorbell / NOTIFY_OFF_MULTIPLIER);
    } else if (offset < StructureOffset.ISR) {
      this.#common.table.write(offset, width, value);
    } else if (offset >= StructureOffset.DEVICE) {
      this.#writeDeviceConfig(offset - StructureOffset.DEVICE, width, value);
    }
  }

  #readDeviceConfig(offset: number, width: AccessWidth): number {
    const { config } = this.#device;
    let value = 0;
    for (let i = 0; i < width; i++) value |= (config[offset + i] ?? 0) << (i * 8);
    return value >>> 0;
  }

  #writeDeviceConfig(offset: number, width: AccessWidth, value: number): void {
    if (offset + width > this.#device.config.length) return;
    const bytes = new Uint8Array(width);
    for (let i = 0; i < width; i++) bytes[i] = value >>> (i * 8);
    this.#state.writeConfig(offset, bytes);
  }
}

function deferToEventLoop(work: () => void): void {
  if (typeof setImmediate === 'function') setImmediate(work);
  else setTimeout(work, 0);
}
