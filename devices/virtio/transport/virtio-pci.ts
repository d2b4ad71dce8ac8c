/**
 * A virtio device as a PCI function (virtio 1.3, section 4.1): config space, modern structures behind BAR 4, legacy registers behind
 * BAR 0, and interrupts. Everything behind the registers is in `DeviceState` and `DeviceSession`.
 */
import { CapabilityList } from '../../pci/capabilities.js';
import { ConfigSpace, defineType0Header } from '../../pci/config-space.js';
import { PciCommand, PciConfig } from '../../pci/defs.js';
import type { AccessWidth, BarSpec, FunctionPort, PciFunction } from '../../pci/function.js';
import { MSIX_MAX_VECTORS, MsixTable } from '../../pci/msix.js';
import { SAME_PROCESS, type GivenDescriptors, type StateDestination } from '../../state-descriptors.js';
import type { QueueCounters, VirtioDevice } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { RingPoller } from '../ring-poller.js';
import type { CapabilityOffsets, FunctionParts } from '../state/function-parts.js';
import type { FunctionState } from '../state/function-state.js';
import { isBusy } from '../state/busy.js';
import { keepFunction, resumeKept } from '../state/keep.js';
import { replayState } from '../state/replay.js';
import { acceptState, applyState, prepareFunction } from '../state/restore.js';
import { saveFunction, type SavedState } from '../state/save.js';
import { CommonConfig } from './common-config.js';
import { DeviceState } from './device-state.js';
import type { DriverInterface } from './driver-progress.js';
import { LegacyConfig } from './legacy-config.js';
import { installPciCfgWindow } from './pci-cfg-window.js';
import { PciInterrupts } from './pci-interrupts.js';
import { VirtioPciCommon } from './virtio-pci-defs.js';
import { identityOf } from './virtio-pci-identity.js';
import type { VirtioPciOptions } from './virtio-pci-options.js';
import {
  LEGACY_BAR,
  MAX_DEVICE_CONFIG_BYTES,
  MSIX_BAR,
  StructureOffset,
  VIRTIO_BAR,
  VirtioPciLayout,
} from './virtio-pci-layout.js';

export type { VirtioPciOptions };

export class VirtioPciFunction implements PciFunction {
  readonly bars: readonly BarSpec[];
  readonly msixVectorCount: number;
  readonly msix: MsixTable | undefined;
  readonly hasIntx = true;
  readonly configSizeBytes: number;
  readonly #device: VirtioDevice;
  readonly #config = new ConfigSpace();
  readonly #layout: VirtioPciLayout;
  /** The device is held until the function may master the bus. */
  #held = false;
  readonly #parts: FunctionParts;
  readonly #interrupts: PciInterrupts;
  readonly #state: DeviceState;
  readonly #common: CommonConfig;
  readonly #legacy: LegacyConfig;
  #changes = 0;

  /**
   * `memory` is the guest's, kept up to date by the port.
   * @throws RangeError where the device has too much config space, or no legacy interface that was asked for
   */
  constructor(device: VirtioDevice, memory: GuestMemory, options: VirtioPciOptions) {
    if (device.config.length > MAX_DEVICE_CONFIG_BYTES) {
      throw new RangeError(`a device's config space has at most ${MAX_DEVICE_CONFIG_BYTES} bytes`);
    }
    this.#device = device;
    this.msixVectorCount = vectorCount(device, options);
    this.msix = options.msix
      ? new MsixTable(this.msixVectorCount, (vector) => this.#interrupts.fire(vector))
      : undefined;
    this.#layout = new VirtioPciLayout({
      registers: options.registers ?? 'modern',
      queueCount: device.queueSizes.length,
      deviceConfigBytes: device.config.length,
      vectorCount: this.msixVectorCount,
      doorbells: options.doorbells ?? ['queue'],
    });
    this.bars = this.#layout.bars;
    this.configSizeBytes = this.#config.sizeBytes;
    this.#interrupts = new PciInterrupts(this.#config, this.msix);
    this.#state = this.#newState(memory, options);
    for (const queue of this.#state.queues) queue.records = options.records;
    this.#common = new CommonConfig(this.#state, this.msixVectorCount);
    this.#legacy = new LegacyConfig(this.#state, this.msixVectorCount, this.#interrupts);
    this.#parts = {
      device,
      memory,
      config: this.#config,
      capabilities: this.#buildConfigSpace(),
      msix: this.msix,
      layout: this.#layout,
      state: this.#state,
      common: this.#common,
      legacy: this.#legacy,
      interrupts: this.#interrupts,
      commandChanged: () => this.#commandChanged(),
    };
    this.#busMasterChanged();
  }

  readConfig(offset: number, width: AccessWidth): number {
    return this.#config.read(offset, width);
  }

  /** Goes up by each access that may have changed what `keepState` tells: doorbells do not. */
  get changes(): number {
    return this.#changes;
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.#changes++;
    this.#config.write(offset, width, value);
  }

  readBar(bar: number, offset: number, width: AccessWidth): number {
    if (bar === VIRTIO_BAR && this.#layout.hasModern) return this.#readStructure(offset, width);
    if (bar === LEGACY_BAR && this.#layout.hasLegacy) return this.#legacy.read(offset, width);
    if (bar !== MSIX_BAR || this.msix === undefined) return 0;
    const pba = this.#layout.msixPbaOffset;
    return offset < pba ? this.msix.readTable(offset, width) : this.msix.readPba(offset - pba, width);
  }

  writeBar(bar: number, offset: number, width: AccessWidth, value: number): void {
    const isModern = bar === VIRTIO_BAR && this.#layout.hasModern;
    if (!isModern || offset < StructureOffset.NOTIFY) this.#changes++;
    if (isModern) this.#writeStructure(offset, width, value);
    else if (bar === LEGACY_BAR && this.#layout.hasLegacy) this.#legacy.write(offset, width, value);
    else if (bar === MSIX_BAR) this.msix?.writeTable(offset, width, value);
  }

  afterWrite(): void {
    this.#state.session?.run();
  }

  connect(port: FunctionPort | undefined): void {
    this.#interrupts.connect(port);
  }

  reset(): void {
    // A device that is reset holds nothing.
    this.#held = false;
    this.#changes++;
    this.#state.reset();
    this.#common.reset();
    this.#legacy.reset();
    this.msix?.reset();
    this.#config.reset();
    this.#busMasterChanged();
    this.#interrupts.update();
  }

  /**
   * Everything about the function as one blob, which `restoreState` and `replayState` of a function like this one take. It may be called at any
   * moment. This function must answer nothing after it, unless the other never does: see `save.ts`. Descriptors that go along stay this
   * function's.
   */
  saveState(to: StateDestination = SAME_PROCESS): SavedState {
    return saveFunction(this.#parts, to);
  }

  /**
   * Lets the device get ready for `restoreState` or `replayState` of this blob, in the time that it takes: those set all at once. Answers why it
   * cannot, and then nothing has changed; where nothing comes of it afterwards, `reset` the function. Of `descriptors`, the caller closes
   * what is left.
   */
  async prepareState(blob: Uint8Array, descriptors?: GivenDescriptors): Promise<string | undefined> {
    return prepareFunction(this.#parts, blob, descriptors);
  }

  /**
   * Goes on where another function stopped, in whose place this one is. Answers why not, and then nothing has changed: also where a driver has
   * this one at work. Otherwise it is to be told `afterWrite` once it may begin; a port that keeps what is in config space reads that anew.
   */
  restoreState(blob: Uint8Array): string | undefined {
    return this.#goOn(blob, (saved) => applyState(this.#parts, saved));
  }

  /** The same by the register writes that a driver makes, as far as those go: see `replay.ts`. */
  replayState(blob: Uint8Array): string | undefined {
    return this.#goOn(blob, (saved) => replayState(this, this.#parts, saved));
  }

  /** What a driver has set, for a process that is to go on where this one is killed: see `keep.ts`. */
  keepState(): Uint8Array {
    return keepFunction(this.#parts);
  }

  /**
   * Goes on, once `goOn` is called, where a function like this one was killed, of which `keepState` told last. Answers why not: then nothing has
   * changed. This one is as at power-on, and knows memory and its port.
   */
  resumeKept(kept: Uint8Array): string | undefined {
    return resumeKept(this.#parts, kept);
  }

  /** Takes nothing from rings from now on, for a hand-over; what the device has comes back as ever. */
  stopTaking(): void {
    if (this.#state.session !== undefined) this.#state.session.taking = false;
  }

  /** Whether the device has requests under way, or a reset. */
  get busy(): boolean {
    return isBusy(this.#parts);
  }

  /** Whether the device is busy with a reset. */
  get resetting(): boolean {
    return this.#state.session === undefined && !this.#state.idle;
  }

  /** Whether the device has requests that it has not given back, or a reset to finish: it may touch guest memory then. */
  get underWay(): boolean {
    const { session, idle } = this.#state;
    if (session === undefined) return !idle;
    return this.#state.queues.some(({ index }) => session.ring(index)?.underWay === true);
  }

  /** As `VirtioDevice.hold`: until `release`, and as long as the function may not master the bus. */
  hold(): void | Promise<void> {
    this.#held = true;
    return this.#device.hold?.();
  }

  release(): void {
    const command = this.#config.get(PciConfig.PCI_COMMAND, 2);
    if (!this.#held || (command & PciCommand.PCI_COMMAND_MASTER) === 0) return;
    this.#held = false;
    this.#device.unhold?.();
  }

  /** Leaves guest memory alone: what comes back from now on is kept. */
  standStill(): void {
    this.#state.paused = true;
  }

  /** Goes on after `stopTaking` and `standStill`, or begins after a restore. */
  goOn(): void {
    this.#busMasterChanged();
    const { session } = this.#state;
    if (session === undefined) return;
    session.taking = true;
    session.kickAll();
    session.run();
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

  /** Which registers the driver uses that started the device; undefined while none has. */
  get driverInterface(): DriverInterface | undefined {
    return this.#state.session && this.#state.driverInterface;
  }

  #newState(memory: GuestMemory, options: VirtioPciOptions): DeviceState {
    const { log = () => {}, defer = deferToEventLoop, keepAwake, withheldFeatures = 0n } = options;
    const poller = options.polled === true ? new RingPoller(defer) : undefined;
    return new DeviceState(this.#device, memory, {
      interruptQueue: (index) => this.#interrupts.queue(this.#state.queues[index].vector),
      interruptConfig: () => this.#interrupts.configuration(this.#state.configVector),
      started: (by) => {
        if (by === 'legacy') this.#grantBusMaster();
      },
      ended: () => poller?.stop(),
      wasReset: () => this.#interrupts.clear(),
      log,
      defer,
      keepAwake: poller === undefined ? keepAwake : (session) => poller.start(session),
      withheldFeatures,
    });
  }

  #goOn(blob: Uint8Array, apply: (saved: FunctionState) => void): string | undefined {
    const saved = acceptState(this.#parts, blob);
    if (typeof saved === 'string') return saved;
    this.reset();
    apply(saved);
    return undefined;
  }

  #buildConfigSpace(): CapabilityOffsets {
    const space = this.#config;
    const { hasModern, hasLegacy } = this.#layout;
    defineType0Header(space, identityOf(this.#device, hasLegacy), this.bars);
    space.hook(PciConfig.PCI_COMMAND, { afterWrite: () => this.#commandChanged() });
    const list = new CapabilityList(space);
    let pciCfgWindow = -1;
    let msix = -1;
    if (hasModern) {
      pciCfgWindow = this.#layout.addCapabilities(list);
      installPciCfgWindow(space, pciCfgWindow, {
        bar: VIRTIO_BAR,
        read: (offset, width) => this.#readStructure(offset, width),
        write: (offset, width, value) => this.#writeStructure(offset, width, value),
      });
    }
    if (this.msix !== undefined) {
      const layout = { bar: MSIX_BAR, tableOffset: 0, pbaOffset: this.#layout.msixPbaOffset };
      msix = list.addMsix(this.msix, layout, () => this.#interrupts.update());
    }
    const express = list.addExpressEndpoint(() => this.reset(), hasLegacy);
    space.seal();
    return { express, msix, pciCfgWindow };
  }

  #commandChanged(): void {
    this.#interrupts.update();
    this.#busMasterChanged();
  }

  /** A function that may not master the bus leaves guest memory alone: a kernel that hands over to the next relies on it. */
  #busMasterChanged(): void {
    const command = this.#config.get(PciConfig.PCI_COMMAND, 2);
    this.#state.paused = (command & PciCommand.PCI_COMMAND_MASTER) === 0;
    this.release();
  }

  /** Linux before 2.6.34 forgot to, and it worked: no machine looked at the bit then. */
  #grantBusMaster(): void {
    const command = this.#config.get(PciConfig.PCI_COMMAND, 2);
    this.#config.set(PciConfig.PCI_COMMAND, 2, command | PciCommand.PCI_COMMAND_MASTER);
    this.#busMasterChanged();
  }

  #readStructure(offset: number, width: AccessWidth): number {
    if (offset < StructureOffset.ISR) return this.#common.table.read(offset, width);
    if (offset < StructureOffset.DEVICE)
      return offset === StructureOffset.ISR ? this.#interrupts.readIsr() : 0;
    if (offset >= StructureOffset.NOTIFY) return 0;
    return this.#state.config.read(offset - StructureOffset.DEVICE, width);
  }

  /** Void where the driver uses the legacy registers, but for a reset, with which every driver begins. */
  #writeStructure(offset: number, width: AccessWidth, value: number): void {
    const isReset =
      offset === VirtioPciCommon.VIRTIO_PCI_COMMON_STATUS && width === 1 && (value & 0xff) === 0;
    if (!isReset && !this.#state.claim('modern')) return;
    if (offset >= StructureOffset.NOTIFY) this.#ring(offset - StructureOffset.NOTIFY, value);
    else if (offset < StructureOffset.ISR) this.#common.table.write(offset, width, value);
    else if (offset >= StructureOffset.DEVICE) {
      this.#state.writeConfig(offset - StructureOffset.DEVICE, width, value);
    }
  }

  /**
   * A doorbell was rung. With VIRTIO_F_NOTIFICATION_DATA the upper 16 bits say how far the driver has come; nothing follows from that: the ring
   * is looked at whatever they say, since it alone counts, and a driver that lies gets no look too few.
   */
  #ring(offset: number, value: number): void {
    const queue = this.#layout.queueOfDoorbell(offset);
    if (queue !== undefined) this.#state.kick(queue);
    else if (this.#layout.isDeviceDoorbell(offset)) this.#state.kickDevice(value & 0xffff);
  }
}

function vectorCount(device: VirtioDevice, options: VirtioPciOptions): number {
  if (!options.msix) return 0;
  return options.msixVectorCount ?? Math.min(device.queueSizes.length + 1, MSIX_MAX_VECTORS);
}

function deferToEventLoop(work: () => void): void {
  if (typeof setImmediate === 'function') setImmediate(work);
  else setTimeout(work, 0);
}
