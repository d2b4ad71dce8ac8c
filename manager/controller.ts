/** One chassis at work: what operators ask of it, one request after the other. */
import {
  ChassisError,
  type AttachRequest,
  type Chassis,
  type DetachQuery,
  type Mount,
  type Plan,
  type QemuArgs,
  type QemuArgsRequest,
  type TopologyNode,
  type Via,
} from './control/api.js';
import type { ChassisPaths } from './control/state-directory.js';
import { ChassisModel, type MountRecord } from './chassis/chassis.js';
import { planCapacity } from './chassis/capacity.js';
import { emptySlots, plan } from './chassis/planner.js';
import type { DeviceHost, DeviceHostHooks } from './device-process/supervisor.js';
import { DeviceFunctions } from './device-functions.js';
import { SerialQueue } from './serial-queue.js';
import { checkSource } from './source-check.js';
import { topologyOf } from './topology.js';
import { describeMount } from './views.js';
import { CUT_OFF, VmSlots } from './vm-slots.js';
import { qemuArgs } from './vmm/args.js';
import { qemuAbilities } from './vmm/qemu-check.js';
import type { VmmDriver } from './vmm/driver.js';

export interface ControllerOptions {
  readonly name: string;
  readonly slotCount: number;
  readonly paths: ChassisPaths;
  readonly startDevices: (hooks: DeviceHostHooks) => Promise<DeviceHost>;
  readonly log: (message: string) => void;
}

export class ChassisController {
  readonly name: string;
  private readonly paths: ChassisPaths;
  private readonly log: (message: string) => void;
  private readonly model: ChassisModel;
  private readonly devices: DeviceFunctions;
  private readonly slots: VmSlots;
  private readonly queue = new SerialQueue();
  /** Connected, but not looked at yet. */
  private arriving: VmmDriver | undefined;
  private unsuitable: ChassisError | undefined;
  private closed = false;

  constructor(options: ControllerOptions) {
    const { name, slotCount, paths, startDevices, log } = options;
    this.name = name;
    this.paths = paths;
    this.log = log;
    this.model = new ChassisModel(slotCount);
    this.devices = new DeviceFunctions({
      paths,
      startDevices,
      onLost: (reason) => this.deviceProcessLost(reason),
      log,
    });
    this.slots = new VmSlots({ model: this.model, devices: this.devices, paths, log });
  }

  /** Starts the device process. @throws ChassisError DEVICE_PROCESS_LOST */
  start(): Promise<void> {
    return this.devices.start();
  }

  /** Ends the device process; a running VM's functions die with it. The VM's link must be cut before. */
  async close(): Promise<void> {
    this.closed = true;
    this.vmLost();
    await this.queue.drained();
    await this.devices.stop();
  }

  get tags(): string[] {
    return this.model.mounts().map((mount) => mount.tag);
  }

  /** Takes all mounts out, whether the guest has them mounted or not. @throws ChassisError as `detach` */
  async detachAll(timeoutMs: number): Promise<void> {
    const lost = (mount: MountRecord) => this.model.slot(mount.slot).state === 'lost';
    const mounts = this.model.mounts();
    // Cut-off ones go last, and without asking: nothing is left of them but what the VM still shows its guest.
    for (const mount of [...mounts.filter((each) => !lost(each)), ...mounts.filter(lost)]) {
      if (this.model.mount(mount.tag) !== mount) continue;
      this.slots.abandon(mount.slot);
      await this.detach(mount.tag, { force: true, slot: true, timeoutMs });
    }
  }

  async describe(): Promise<Chassis> {
    const mounts = await this.mounts();
    const { driver } = this.slots;
    return {
      name: this.name,
      slots: this.model.slotCount,
      slotsFree: emptySlots(this.model, this.slots.unusable).length,
      deviceProcess: this.devices.state,
      ...(driver && { vmm: driver.vmm }),
      ...(this.unsuitable && { vmmProblem: this.unsuitable.message }),
      qmpSocket: this.paths.qmpSocket,
      mounts,
    };
  }

  async mounts(): Promise<Mount[]> {
    await this.devices.refresh();
    return this.model.mounts().map((mount) => this.view(mount));
  }

  /** Whether so many further mounts would fit. @throws ChassisError NO_SLOT_FREE where not */
  plan(mounts: number, via: Via): Plan {
    const slots = emptySlots(this.model, this.slots.unusable).length;
    return planCapacity(this.model.rules, { mounts, via, slots });
  }

  async tree(): Promise<TopologyNode> {
    return topologyOf(this.model.slotCount, await this.mounts());
  }

  /** Plugs mounts in, or parks them for the next VM: all of them or none. */
  attach(request: AttachRequest): Promise<Mount[]> {
    return this.exclusively(async () => {
      for (const mount of request.mounts) checkSource(mount.source);
      if (this.unsuitable) throw this.unsuitable;
      await this.reviveDevices();
      const mounts = this.place(request);
      try {
        for (const mount of mounts) await this.devices.provide(mount, this.slots.choose(mount));
        this.model.attach(mounts);
        await this.slots.plug(mounts[0].slot, request.timeoutMs);
      } catch (error) {
        await this.takeBack(mounts);
        throw error;
      }
      await this.devices.refresh();
      return mounts.map((mount) => this.view(mount));
    });
  }

  /** Unplugs a mount, or takes it away where no VM has it; answers the tags that went. */
  detach(tag: string, query: DetachQuery): Promise<string[]> {
    return this.exclusively(async () => {
      const mount = this.model.mount(tag);
      if (!mount) {
        throw new ChassisError(
          'NO_MOUNT',
          `no mount has the tag ${JSON.stringify(tag)}`,
          'list them with: chassis mounts',
        );
      }
      return this.model.isPresent(mount) ? this.unplug(mount, query) : this.discard(mount, query);
    });
  }

  /** Starts a lost device process over. What a running VM had of it stays cut off until that VM ends. */
  restart(): Promise<Chassis> {
    return this.exclusively(async () => {
      await this.reviveDevices();
      return this.describe();
    });
  }

  qemuArgs(request: QemuArgsRequest): Promise<QemuArgs> {
    return this.exclusively(async () => {
      await this.reviveDevices();
      const slots = this.model.slotNumbers.filter((slot) => (this.model.slot(slot).functions & 1) !== 0);
      const abilities = request.qemu && qemuAbilities(request.qemu);
      for (const mount of slots.flatMap((slot) => this.model.mountsIn(slot))) {
        // What a VM has open stays as it is: these arguments are for the next one.
        if (this.model.isPresent(mount) || this.devices.isConnected(mount)) continue;
        await this.devices.provide(mount, this.slots.choose(mount, abilities));
      }
      const args = qemuArgs({
        memoryMiB: request.memoryMiB,
        slotCount: this.model.slotCount,
        qmpSocketPath: this.paths.qmpSocket,
        occupied: new Map(slots.map((slot) => [slot, this.slots.pluggable(slot)])),
      });
      return { args };
    });
  }

  /** A VM answers: it is looked at and brought in step once what is under way has ended. */
  vmConnected(driver: VmmDriver): Promise<void> {
    this.arriving = driver;
    return this.exclusively(async () => {
      if (this.arriving !== driver) return;
      this.arriving = undefined;
      try {
        await this.slots.connect(driver);
      } catch (error) {
        this.log(`cannot bring the VM in step: ${error instanceof Error ? error.message : String(error)}`);
      }
    });
  }

  /** A VM answers that cannot be used. Attaches fail with this error while it is there. */
  vmRejected(error: ChassisError): void {
    this.unsuitable = error;
    this.log(error.message);
  }

  vmLost(): void {
    this.arriving = undefined;
    this.unsuitable = undefined;
    this.slots.lost();
  }

  /** The VM let a function go, asked or not. */
  functionDeleted(slot: number, fn: number): void {
    if (!this.slots.deleted(slot, fn)) return;
    this.exclusively(() => this.slots.plugOrNote(slot)).catch(() => undefined);
  }

  private deviceProcessLost(reason: string): void {
    this.log(`the device process is lost: ${reason}`);
    this.slots.deviceProcessLost();
  }

  private async reviveDevices(): Promise<void> {
    if (this.devices.running) return;
    await this.devices.start();
    for (const mount of this.model.mounts()) {
      try {
        await this.devices.provide(mount, this.slots.choose(mount));
      } catch (error) {
        this.slots.note(mount.slot, error);
      }
    }
    await this.slots.revive();
  }

  private place(request: AttachRequest): MountRecord[] {
    const { mounts, permanent, port, slot, function: fn } = request;
    const tags = mounts.map((mount) => mount.tag);
    const places = plan(this.model, { tags, slot, function: fn }, this.slots.unusable);
    return mounts.map(({ tag, source, readOnly }, i) => ({
      tag,
      source,
      readOnly,
      permanent,
      port,
      ...places[i],
    }));
  }

  /** Undoes an attach, as far as it went. */
  private async takeBack(mounts: readonly MountRecord[]): Promise<void> {
    if (this.model.mount(mounts[0].tag) === mounts[0]) await this.slots.takeOut(mounts[0].slot);
    for (const mount of mounts) {
      if (this.model.mount(mount.tag) === mount) {
        if (this.model.isPresent(mount)) continue;
        this.model.remove(mount.tag);
      }
      await this.devices.cut(mount);
    }
  }

  private async unplug(mount: MountRecord, query: DetachQuery): Promise<string[]> {
    const leaving = this.model.mountsIn(mount.slot).filter((other) => this.model.isPresent(other));
    if (leaving.length > 1 && !query.slot) throw slotShared(mount, leaving);
    if (this.slots.isStuck(mount.slot)) throw this.permanent(mount);
    if (!query.force) {
      if (this.model.slot(mount.slot).state === 'lost') throw cutOff(mount);
      await this.refuseIfBusy(leaving);
    }
    await this.slots.unplug(mount.slot, query.timeoutMs);
    return leaving.map(({ tag }) => tag);
  }

  /** Takes away what no VM that we know has. */
  private async discard(mount: MountRecord, query: DetachQuery): Promise<string[]> {
    const leaving = query.slot
      ? this.model.mountsIn(mount.slot).filter((other) => !this.model.isPresent(other))
      : [mount];
    for (const other of leaving) {
      if (!query.force && !(await this.devices.isFree(other))) throw this.heldElsewhere(other);
    }
    for (const other of leaving) {
      this.model.remove(other.tag);
      await this.devices.cut(other);
    }
    return leaving.map(({ tag }) => tag);
  }

  /** A guest that has a tag mounted does not let it go, and its hot-plug hangs until it is unmounted. */
  private async refuseIfBusy(leaving: readonly MountRecord[]): Promise<void> {
    await this.devices.refresh();
    const busy = leaving.filter((mount) => (this.devices.counters(mount)?.fids ?? 0) > 0);
    if (busy.length === 0) return;
    throw new ChassisError(
      'MOUNT_BUSY',
      `the guest has ${busy.map(({ tag }) => JSON.stringify(tag)).join(', ')} mounted`,
      'unmount it in the guest first (umount), or use --force, which can hang the guest',
    );
  }

  private heldElsewhere(mount: MountRecord): ChassisError {
    return new ChassisError(
      'MOUNT_BUSY',
      `a VMM that does not answer at ${this.paths.qmpSocket} has ${JSON.stringify(mount.tag)} open`,
      'stop that VM, or use --force, which breaks the function in its guest',
    );
  }

  private permanent(mount: MountRecord): ChassisError {
    const vmm = this.slots.driver?.vmm;
    return new ChassisError(
      'MOUNT_PERMANENT',
      `${JSON.stringify(mount.tag)} is permanent: ${vmm?.type} ${vmm?.version} would abort if its slot were unplugged`,
      'stop the VM first',
    );
  }

  private view(mount: MountRecord): Mount {
    return describeMount(this.model, mount, {
      chassis: this.name,
      connected: this.devices.isConnected(mount),
      use: this.devices.use(mount),
      reason: this.slots.reasons.get(mount.tag),
      counters: this.devices.counters(mount),
    });
  }

  private exclusively<T>(job: () => Promise<T>): Promise<T> {
    return this.queue.run(() => {
      if (this.closed) throw new ChassisError('NO_CHASSIS', `chassis ${this.name} is being deleted`);
      return job();
    });
  }
}

function cutOff(mount: MountRecord): ChassisError {
  return new ChassisError(
    'DEVICE_PROCESS_LOST',
    `${JSON.stringify(mount.tag)} was ${CUT_OFF}`,
    'stop the VM first; --force asks the guest all the same, which can hang its hot-plug',
  );
}

function slotShared(mount: MountRecord, leaving: readonly MountRecord[]): ChassisError {
  const others = leaving.filter((other) => other !== mount).map(({ tag }) => JSON.stringify(tag));
  return new ChassisError(
    'SLOT_SHARED',
    `${JSON.stringify(mount.tag)} shares slot ${mount.slot} with ${others.join(', ')}: a VM ejects whole slots only`,
    'detach all of them with --slot',
  );
}
