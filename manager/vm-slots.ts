/**
 * The slots of one chassis in the VM: plugs what is parked, unplugs, and follows what happens by itself (a VM that comes or
 * goes, a guest that lets go, a process that dies). Those events change the model at once, in the middle of operations,
 * so every operation looks at the model again after it has waited. The caller runs operations one at a time.
 */
import { ChassisError } from './control/api.js';
import type { ChassisPaths } from './control/state-directory.js';
import { isCard, isMount, type CardRecord, type ChassisModel, type DeviceRecord } from './chassis/chassis.js';
import { functionBit, functionsIn, isDead, type FunctionMask } from './chassis/hotplug.js';
import type { UnusableSlots } from './chassis/planner.js';
import type { DeviceFunctions } from './device-functions.js';
import type { Log } from './logging/log.js';
import type { PluggableFunction, VmmDriver, VmmEndpoint } from './vmm/driver.js';
import { choosePort, type PortUse, type VmmAbilities } from './vmm/port-choice.js';

export interface VmSlotsOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly paths: ChassisPaths;
  readonly vmm: VmmEndpoint;
  /** What that VMM can do, where it is known before it runs. */
  readonly expected: VmmAbilities | undefined;
  /** Notes how the chassis is now. @throws ChassisError STATE_UNWRITABLE */
  readonly record: () => void;
  readonly log: Log;
}

/** How long a VM that came up may take to add one slot's functions. */
const SYNC_TIMEOUT_MS = 15_000;
/** For taking back what a failed attach left in the VM. */
const TAKE_BACK_TIMEOUT_MS = 5000;

/**
 * QEMU's client does not connect again, and reads of a function that is cut off give all ones. A Linux guest that is asked to
 * let it go waits for ever until its status register reads 0, and with it waits all ACPI hot-plug of that guest. So a
 * cut-off function is left in its slot: tried with QEMU 11.1.3 and Linux 6.1.
 */
export const CUT_OFF =
  'cut off from the VM when the device process died; it comes back when the VM is started anew';

export class VmSlots {
  /** Why something is not plugged although it could be, by tag. */
  readonly reasons = new Map<string, string>();
  private readonly model: ChassisModel;
  private readonly devices: DeviceFunctions;
  private readonly paths: ChassisPaths;
  private readonly vmm: VmmEndpoint;
  private readonly expected: VmmAbilities | undefined;
  private readonly record: () => void;
  private readonly log: Log;
  private current: VmmDriver | undefined;
  /** Slots that the VM would not survive losing. */
  private readonly stuck = new Set<number>();
  /** Slots that an earlier daemon had asked the guest to let go. */
  readonly unfinished = new Set<number>();
  /** Functions with our names in the VM that no mount stands for: left by an earlier daemon. */
  private readonly strangers = new Map<number, FunctionMask>();

  constructor(options: VmSlotsOptions) {
    this.model = options.model;
    this.devices = options.devices;
    this.paths = options.paths;
    this.vmm = options.vmm;
    this.expected = options.expected;
    this.record = options.record;
    this.log = options.log;
  }

  /** Slots that are to go, as soon as the guest complies. */
  get unplugging(): number[] {
    const { model } = this;
    return model.slotNumbers.filter(
      (slot) => model.slot(slot).state === 'unplugging' || this.unfinished.has(slot),
    );
  }

  /** The VM, if one is connected. */
  get driver(): VmmDriver | undefined {
    return this.current;
  }

  /** Slots that can take no mount in this VM, and why. */
  get unusable(): UnusableSlots {
    const strangers = [...this.strangers.keys()].map((slot): [number, string] => [
      slot,
      `slot ${slot} of the VM holds functions of an earlier daemon, which nothing serves any more`,
    ]);
    return new Map([...strangers, ...(this.current?.unusable ?? [])]);
  }

  /** How a function should be served in this VM, or in the one to come. @throws ChassisError VMM_UNSUITABLE */
  choose(device: DeviceRecord, abilities = this.current?.abilities ?? this.expected): PortUse {
    return choosePort(device, abilities);
  }

  /** True where unplugging the slot would crash the VM. */
  isStuck(slot: number): boolean {
    return this.stuck.has(slot);
  }

  pluggable(slot: number): PluggableFunction[] {
    return this.model.devicesIn(slot).map((device) => ({
      function: device.function,
      tag: device.tag,
      mux: isMount(device) && device.mux === true,
      ...(device.disk && { disk: device.disk }),
      ...(device.card && { card: device.card }),
      port: this.devices.use(device)?.port ?? this.choose(device).port,
      socketPath: this.paths.functionSocket(slot, device.function),
    }));
  }

  /** Makes a VM the chassis's own: recognises what it has of ours, and plugs in what it lacks. */
  async connect(driver: VmmDriver): Promise<void> {
    this.current = driver;
    await this.devices.refresh();
    const present = await driver.present();
    if (this.current !== driver) return;
    for (const [slot, functions] of present) {
      const ours = slot <= this.model.slotCount ? this.model.slot(slot).functions & functions : 0;
      if (ours !== 0 && this.model.slot(slot).state === 'parked') await this.recognise(slot, ours);
      if ((functions & ~ours) !== 0) this.strangers.set(slot, functions & ~ours);
    }
    for (const slot of [...this.unfinished]) await this.finishUnplug(slot);
    for (const slot of this.model.slotNumbers) await this.plugOrNote(slot);
    // One that a VM has from its command line is up in it.
    for (const card of this.model.cards().filter((each) => !each.card.up)) await this.setLink(card);
  }

  /** Tells the VMM of a card's cable, where it is the VMM that tells the guest: over vhost-user, and while it has the card. */
  async setLink(card: CardRecord): Promise<void> {
    if (this.devices.use(card)?.port !== 'vhost-user' || !this.model.isPresent(card)) return;
    await this.current?.setLink(card.slot, card.function, card.card.up);
  }

  /** The VM is gone, and its functions are free for the next one. With `driver`: unless another has come already. */
  lost(driver?: VmmDriver): void {
    if (driver && driver !== this.current) return;
    this.current = undefined;
    this.strangers.clear();
    this.stuck.clear();
    this.reasons.clear();
    for (const slot of this.model.slotNumbers) {
      for (const device of this.model.apply(slot, { type: 'vmLost' })) this.devices.remove(device);
    }
  }

  /**
   * The VM let a function go, asked or not. True where the slot lost the last function that was cut off: it can be
   * plugged anew.
   */
  deleted(slot: number, fn: number): boolean {
    const functions = functionBit(fn);
    const strangers = (this.strangers.get(slot) ?? 0) & ~functions;
    if (strangers === 0) this.strangers.delete(slot);
    else this.strangers.set(slot, strangers);
    if (slot > this.model.slotCount) return false;
    const wasLost = isDead(this.model.slot(slot));
    for (const device of this.model.apply(slot, { type: 'deleted', functions })) this.devices.remove(device);
    if (this.model.slot(slot).present === 0) this.stuck.delete(slot);
    return wasLost && this.model.slot(slot).state === 'parked';
  }

  /** The device process died: what the VM has of it waits for the next one. */
  deviceProcessLost(): void {
    for (const slot of this.model.slotNumbers) this.model.apply(slot, { type: 'deviceProcessLost' });
  }

  /**
   * Plugs a parked slot whose function 0 is there, if there is a VM; leaves it parked otherwise.
   * @throws ChassisError; the slot is then parked as before, unless the guest saw it: then it may hold the functions
   */
  async plug(slot: number, timeoutMs: number): Promise<void> {
    const driver = this.current;
    const { state, functions } = this.model.slot(slot);
    if (!driver || state !== 'parked' || (functions & 1) === 0) return;
    for (const device of this.model.devicesIn(slot)) {
      await this.refuseIfHeld(device);
      await this.devices.provide(device, this.choose(device));
    }
    this.model.apply(slot, { type: 'plug' });
    try {
      await driver.plug(slot, this.pluggable(slot), timeoutMs);
    } catch (error) {
      if (error instanceof ChassisError && error.code === 'VMM_GONE') this.lost(driver);
      if (this.model.slot(slot).state === 'plugging') this.model.apply(slot, { type: 'plugFailed' });
      throw error;
    }
    await this.confirmPlugged(slot);
  }

  /** Plugs where nobody waits for the outcome: a failure is kept for whoever lists the mounts. */
  async plugOrNote(slot: number): Promise<void> {
    try {
      await this.plug(slot, SYNC_TIMEOUT_MS);
    } catch (error) {
      this.note(slot, error);
    }
  }

  /**
   * Unplugs all that the VM has in a slot; the mounts leave the chassis as the guest lets go.
   * @throws ChassisError VMM_REFUSED, or GUEST_TIMEOUT, after which the slot still goes once the guest complies
   */
  async unplug(slot: number, timeoutMs: number): Promise<void> {
    const driver = this.current;
    if (!driver) throw new ChassisError('VMM_GONE', 'the VM went away meanwhile', 'try again');
    const functions = functionsIn(this.model.slot(slot).present);
    this.model.apply(slot, { type: 'unplug' });
    try {
      this.record();
      await driver.unplug(slot, functions, timeoutMs);
    } catch (error) {
      const code = error instanceof ChassisError ? error.code : 'INTERNAL';
      // The functions went with the VM, which is what was asked for.
      if (code === 'VMM_GONE') return this.lost(driver);
      if (code !== 'GUEST_TIMEOUT' && this.model.slot(slot).state === 'unplugging') {
        this.model.apply(slot, { type: 'unplugRejected' });
        this.noticeDeadDevices(slot);
      }
      throw error;
    } finally {
      await this.devices.removed();
    }
  }

  /** After a failed attach. The guest has seen these functions, so it must agree: if it takes longer, they go later. */
  async takeOut(slot: number): Promise<void> {
    if (this.model.slot(slot).present === 0 || this.isStuck(slot)) return;
    await this.unplug(slot, TAKE_BACK_TIMEOUT_MS).catch((error: unknown) => this.note(slot, error));
  }

  /** Once a device process is there again: plugs what is parked. What the VM does not connect again by itself stays cut off (see CUT_OFF). */
  async revive(): Promise<void> {
    for (const slot of this.model.slotNumbers) {
      const { state } = this.model.slot(slot);
      if (isDead(this.model.slot(slot)) && !this.reconnects(slot)) {
        if (state === 'recovering') this.model.apply(slot, { type: 'cutOff' });
        this.note(slot, new Error(CUT_OFF));
      }
      await this.plugOrNote(slot);
    }
    this.connected();
  }

  /** A VM has opened a function: a slot that waited for that goes on. */
  connected(): void {
    for (const slot of this.model.slotNumbers) {
      const devices = this.model.devicesIn(slot).filter((device) => this.model.isPresent(device));
      if (!isDead(this.model.slot(slot)) || !devices.every((device) => this.devices.isConnected(device)))
        continue;
      this.model.apply(slot, { type: 'reconnected' });
      this.log.with({ slot }).info('the VM is connected again');
      for (const device of devices) {
        this.reasons.delete(device.tag);
        // Connected again, QEMU says to the guest that the cable is in.
        if (isCard(device) && !device.card.up)
          this.setLink(device).catch((error: unknown) => this.note(slot, error));
      }
    }
  }

  /** Whether the VM has kept its connections to all that it has in a slot, or connects again. */
  private reconnects(slot: number): boolean {
    return this.model
      .devicesIn(slot)
      .filter((device) => this.model.isPresent(device))
      .every(
        (device) =>
          this.devices.isConnected(device) ||
          (!isMount(device) && this.devices.use(device)?.port === 'vhost-user'),
      );
  }

  /** Forgets what the VM has of a lost slot. */
  abandon(slot: number): void {
    if (isDead(this.model.slot(slot))) this.model.apply(slot, { type: 'vmLost' });
  }

  note(slot: number, error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    this.log.with({ slot }).warn('not as it should be', error);
    for (const { tag } of this.model.devicesIn(slot)) this.reasons.set(tag, text);
  }

  private async recognise(slot: number, functions: FunctionMask): Promise<void> {
    const isWhole = (functions & 1) !== 0 || (this.model.slot(slot).functions & 1) === 0;
    // An earlier daemon ended while it added them: the guest sees none before function 0. They are plugged anew.
    if (!isWhole) return this.current?.takeBack(slot, functionsIn(functions));
    const devices = this.model
      .devicesIn(slot)
      .filter((device) => (functions & functionBit(device.function)) !== 0);
    const alive = devices.every((device) => this.devices.isConnected(device));
    this.model.apply(slot, { type: alive ? 'found' : 'foundDead', functions });
    this.noticeStuck(slot);
  }

  /** What the guest was asked to let go by an earlier daemon is gone, or is asked for again; unless the guest has mounted it meanwhile. */
  private async finishUnplug(slot: number): Promise<void> {
    this.unfinished.delete(slot);
    const devices = this.model.devicesIn(slot);
    if (this.model.slot(slot).present === 0) {
      for (const device of devices) {
        this.model.remove(device.tag);
        await this.devices.cut(device);
      }
      return;
    }
    const isMounted = devices.some((device) => (this.devices.counters(device)?.fids ?? 0) > 0);
    if (!isMounted) await this.takeOut(slot);
  }

  /** A function has one owner: a second VMM that opens it would wait for the first to leave, and its guest with it. */
  private async refuseIfHeld(device: DeviceRecord): Promise<void> {
    if (await this.devices.isFree(device)) return;
    throw new ChassisError(
      'VMM_REFUSED',
      `${JSON.stringify(device.tag)} is in use by a VMM other than the one at ${this.vmm.socketPath}`,
      'stop that one, or take it out with --force',
    );
  }

  private async confirmPlugged(slot: number): Promise<void> {
    if (this.model.slot(slot).state !== 'plugging')
      throw new ChassisError('VMM_GONE', 'the VM went away meanwhile');
    this.model.apply(slot, { type: 'plugged' });
    this.noticeStuck(slot);
    this.noticeDeadDevices(slot);
    for (const { tag } of this.model.devicesIn(slot)) this.reasons.delete(tag);
    await this.devices.refresh();
    const cutOff = this.model
      .devicesIn(slot)
      .find((device) => this.model.isPresent(device) && !this.devices.isConnected(device));
    if (!cutOff) return;
    this.devices.requireRunning();
    throw new ChassisError(
      'VMM_REFUSED',
      `the VMM added ${JSON.stringify(cutOff.tag)}, but did not stay connected to it`,
    );
  }

  private noticeStuck(slot: number): void {
    if (!this.current?.abilities.msixPreventsUnplug) return;
    const uses = this.model.devicesIn(slot).map((device) => this.devices.use(device) ?? this.choose(device));
    if (uses.some(({ port, msix }) => port === 'vfio-user' && msix)) this.stuck.add(slot);
  }

  /** The process may have died while the slot was in a state that did not show it. */
  private noticeDeadDevices(slot: number): void {
    if (!this.devices.running) this.model.apply(slot, { type: 'deviceProcessLost' });
  }
}
