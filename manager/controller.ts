/** One chassis at work: what operators ask of it, one request after the other. */
import {
  ChassisError,
  type AttachRequest,
  type Chassis,
  type Detached,
  type DetachQuery,
  type KeptOverlay,
  type Mount,
  type Plan,
  type QemuArgs,
  type QemuArgsRequest,
  type TopologyNode,
  type Upgraded,
  type Via,
} from './control/api.js';
import { checkCarrier, checkMount, type Attachment } from './attachment.js';
import { assembleChassis, type ChassisParts, type ControllerOptions } from './chassis-parts.js';
import type { ChassisPaths } from './control/state-directory.js';
import { isMount, type DeviceRecord } from './chassis/chassis.js';
import { isDead } from './chassis/hotplug.js';
import { emptySlots } from './chassis/planner.js';
import { chooseVia, planBeside } from './chassis/via.js';
import type { Journal } from './journal.js';
import type { JournalDocument, JournalFacts } from './journal-format.js';
import { isListening } from './leftovers.js';
import type { Log } from './logging/log.js';
import { directoriesOf } from './mount-lookup.js';
import { Recovery } from './recovery.js';
import { Restoration } from './restoration.js';
import type { SavedChassis } from './saved-state/saved-file.js';
import { SerialQueue } from './serial-queue.js';
import { topologyOf } from './topology.js';
import type { VmmDriver, VmmEndpoint } from './vmm/driver.js';
import { vmmArguments } from './vmm-arguments.js';

export class ChassisController {
  readonly name: string;
  readonly managedBy: string | undefined;
  /** What concerns disks. */
  readonly disks: ChassisParts['disks'];
  /** What concerns network cards. */
  readonly networks: ChassisParts['networks'];
  /** What guests may do with mounts. */
  readonly policies: ChassisParts['policies'];
  /** Where guests' changes go, and what becomes of them. */
  readonly overlays: ChassisParts['overlays'];
  /** What runs in the guest. */
  readonly commands: ChassisParts['commands'];
  private readonly parts: ChassisParts;
  private readonly paths: ChassisPaths;
  private readonly vmm: VmmEndpoint;
  private readonly log: Log;
  private readonly journal: Journal;
  private readonly model: ChassisParts['model'];
  private readonly devices: ChassisParts['devices'];
  private readonly slots: ChassisParts['slots'];
  private readonly trees: ChassisParts['trees'];
  private readonly queue = new SerialQueue();
  private readonly recovery: Recovery;
  private readonly changes: ChassisParts['changes'];
  /** Connected, but not looked at yet. */
  private arriving: VmmDriver | undefined;
  private unsuitable: ChassisError | undefined;
  private closed = false;

  /** @throws Error where the document contradicts itself */
  constructor(options: ControllerOptions) {
    const { name, paths, journal, log } = options;
    this.name = name;
    this.managedBy = options.managedBy;
    this.paths = paths;
    this.vmm = options.vmm ?? { type: 'qemu', socketPath: paths.qmpSocket };
    this.log = log;
    this.journal = journal;
    this.recovery = new Recovery({
      ...{ log, revive: () => this.exclusively(() => this.reviveDevices()) },
      onGivenUp: () => {
        this.devices.giveUpConnections();
        this.changes.changed();
      },
    });
    this.parts = assembleChassis(
      { ...options, vmm: this.vmm },
      {
        exclusively: (job) => this.exclusively(job),
        record: () => this.record(),
        facts: () => this.facts(),
        revive: () => this.reviveDevices(),
        ready: () => this.readyToAttach(),
        onLost: (reason) => this.deviceProcessLost(reason),
        processState: () => this.processState(),
        vmmProblem: () => this.unsuitable,
      },
    );
    const { parts } = this;
    ({ model: this.model, devices: this.devices, slots: this.slots } = parts);
    ({ trees: this.trees, changes: this.changes, overlays: this.overlays } = parts);
    ({ disks: this.disks, networks: this.networks } = parts);
    ({ policies: this.policies, commands: this.commands } = parts);
  }

  /** Starts the device process of a new chassis. @throws ChassisError DEVICE_PROCESS_LOST or STATE_UNWRITABLE */
  start(): Promise<void> {
    return this.exclusively(async () => {
      await this.startDevices();
      this.changes.begin(true);
    });
  }

  /** Brings back what an earlier daemon kept. Without a device process that answers, the chassis is there, and nothing of it is served. */
  async restore(document: JournalDocument): Promise<void> {
    const { model, devices, slots, log } = this;
    await this.exclusively(async () => {
      try {
        const vmRuns = () => isListening(this.vmm.socketPath);
        await new Restoration({ model, document, devices, slots, vmRuns, log }).run();
        this.recovery.started();
      } catch (error) {
        log.warn('cannot be brought back whole', error);
      }
      this.changes.begin(false);
    });
    // Of attaches and detaches that the earlier daemon did not bring to their end. A large one takes a while.
    void this.overlays.tidyAll();
  }

  /** Lets everything go on as it is, for the next daemon. What is under way here comes to nothing. */
  leave(): void {
    this.closed = true;
    this.changes.leave();
    this.recovery.end();
    this.journal.close();
    this.devices.leave();
  }

  /** Ends the device process; a running VM's functions die with it. The VM's link must be cut before. */
  async close(): Promise<void> {
    this.closed = true;
    this.journal.remove();
    this.recovery.end();
    this.vmLost();
    await this.queue.drained();
    await this.devices.stop();
    this.changes.end();
  }

  get slotCount(): number {
    return this.model.slotCount;
  }

  /** Of a chassis for Cloud Hypervisor: where that is driven. */
  private get apiSocket(): string | undefined {
    return this.vmm.type === 'cloud-hypervisor' ? this.vmm.socketPath : undefined;
  }

  get tags(): string[] {
    const { children, seats } = this.model;
    return [...this.model.devices().map((device) => device.tag), ...children.keys(), ...seats.keys()];
  }

  /**
   * Takes all mounts, disks and cards out, whether the guest has them mounted or not; answers what is kept of overlays. Those in memory are lost.
   * @throws ChassisError as `detach`
   */
  async detachAll(timeoutMs: number): Promise<KeptOverlay[]> {
    const lost = (device: DeviceRecord) => isDead(this.model.slot(device.slot));
    const devices = this.model.devices();
    // Cut-off ones go last, and without asking: nothing is left of them but what the VM still shows its guest.
    for (const device of [...devices.filter((each) => !lost(each)), ...devices.filter(lost)]) {
      const { tag, slot } = device;
      if (this.model.device(tag) !== device) continue;
      this.slots.abandon(slot);
      if (isMount(device))
        await this.takeAway(tag, { force: true, slot: true, keepFunction: false, discard: false, timeoutMs });
      else await (device.disk ? this.disks : this.networks).remove(tag, { force: true, timeoutMs });
    }
    return this.overlays.tidyAll();
  }

  async describe(): Promise<Chassis> {
    const mounts = await this.mounts();
    const { driver } = this.slots;
    return {
      name: this.name,
      ...(this.managedBy !== undefined && { managedBy: this.managedBy }),
      slots: this.model.slotCount,
      slotsFree: emptySlots(this.model, this.slots.unusable).length,
      deviceProcess: { ...this.processState(), restarts: this.recovery.restarts },
      ...(driver && { vmm: driver.vmm }),
      ...(this.unsuitable && { vmmProblem: this.unsuitable.message }),
      ...(this.devices.hasHelper && { guestHelper: true }),
      qmpSocket: this.paths.qmpSocket,
      ...(this.devices.runsCommands && { guestCommands: true }),
      ...(this.apiSocket !== undefined && { apiSocket: this.apiSocket }),
      mounts,
      kept: this.overlays.kept(),
      disks: this.disks.known(),
      cards: this.networks.known(),
    };
  }

  mounts(): Promise<Mount[]> {
    return this.parts.views.all();
  }

  /** Whether so many further mounts would fit. @throws ChassisError NO_SLOT_FREE where not */
  plan(mounts: number, via: Via): Plan {
    return planBeside(this.model, { mounts, via }, this.slots.unusable);
  }

  async tree(): Promise<TopologyNode> {
    const mounts = await this.mounts();
    const { type } = this.vmm;
    return topologyOf(this.model.slotCount, mounts, this.disks.known(), this.networks.known(), type);
  }

  /** Plugs mounts in, parks them for the next VM, or shows them in the tree or on queues: all of them or none. */
  attach(request: AttachRequest): Promise<Mount[]> {
    return this.overlays.duringAttach(request, () => this.attachAll(request));
  }

  private async attachAll(request: AttachRequest): Promise<Mount[]> {
    const attached = await this.exclusively(async () => {
      for (const mount of request.mounts) checkMount(mount);
      await this.readyToAttach();
      const via = chooseVia(this.model, request, this.slots.unusable);
      for (const { policy } of request.mounts) checkCarrier(via, policy);
      return this.attachVia(via, this.overlays.settle(request));
    });
    if (!('children' in attached)) return attached;
    const { children } = attached;
    const known = await this.trees.mounted(children, request.timeoutMs);
    const { tree } = this.model;
    if (!tree) throw new ChassisError('VMM_GONE', 'the tree went away meanwhile', 'try again');
    return this.parts.views.inTree(tree, children, known);
  }

  /** Unplugs a mount, or takes it away where no VM has it; answers what is kept of overlays. */
  detach(tag: string, query: DetachQuery): Promise<Detached> {
    return this.overlays.duringDetach(tag, query, () => this.takeAway(tag, query));
  }

  private async takeAway(tag: string, query: DetachQuery): Promise<Detached> {
    const child = this.model.children.get(tag);
    if (child && !this.closed) return this.trees.detach(child, query);
    return this.exclusively(async () => {
      const seat = this.model.seats.get(tag);
      return seat
        ? this.parts.queueMounts.detach(seat, query)
        : { tags: await this.parts.departures.detach(tag, query) };
    });
  }

  /**
   * Starts a lost device process over, or one that does not answer. What a running VM had of it stays cut off where that VM does not connect
   * again.
   */
  restart(): Promise<Chassis> {
    return this.exclusively(async () => {
      this.devices.giveUp();
      await this.reviveDevices();
      return this.describe();
    });
  }

  /** Has another process go on with all functions. @throws ChassisError UPGRADE_REFUSED: all is then as before */
  upgrade(): Promise<Upgraded> {
    return this.exclusively(async () => ({
      chassis: this.name,
      ...(await this.devices.replace(directoriesOf(this.model))),
    }));
  }

  /** What it is now. @throws ChassisError as `SavedChassisFiles.take` */
  save(withStates: boolean): Promise<SavedChassis> {
    return this.exclusively(() => this.parts.saved.take(withStates));
  }

  /** Starts a chassis that was made of what was saved. @throws ChassisError as `SavedChassisFiles.put`: then it is to be closed */
  startSaved(saved: SavedChassis): Promise<void> {
    return this.exclusively(async () => {
      await this.startDevices();
      await this.parts.saved.put(saved);
    });
  }

  /** The arguments of the VMM that this is for. */
  qemuArgs(request: QemuArgsRequest): Promise<QemuArgs> {
    return this.exclusively(async () => {
      await this.reviveDevices();
      const { model, devices, slots, vmm } = this;
      return vmmArguments({ model, devices, slots, vmm }, request);
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
        this.log.warn('cannot bring the VM in step', error);
      }
    });
  }

  /** A VM answers that cannot be used. Attaches fail with this error while it is there. */
  vmRejected(error: ChassisError): void {
    this.unsuitable = error;
    this.changes.changed();
    this.log.warn('its VM cannot be used', error);
  }

  vmLost(): void {
    this.arriving = undefined;
    this.unsuitable = undefined;
    this.slots.lost();
    this.trees.vmLost();
    this.recordOrLog();
  }

  /** The VM let a function go, asked or not. */
  functionDeleted(slot: number, fn: number): void {
    const isFree = this.slots.deleted(slot, fn);
    this.recordOrLog();
    if (isFree) this.exclusively(() => this.slots.plugOrNote(slot)).catch(() => undefined);
  }

  private deviceProcessLost(reason: string): void {
    this.log.warn(`the device process is lost: ${reason}`);
    this.slots.deviceProcessLost();
    this.recovery.begin();
    this.changes.changed();
  }

  private processState(): Omit<Chassis['deviceProcess'], 'restarts'> {
    return { ...this.devices.state, ...(this.recovery.isUnderWay && { state: 'recovering' as const }) };
  }

  private async attachVia(via: Plan['via'], attachment: Attachment) {
    if (via === 'tree') return { children: await this.trees.add(attachment) };
    if (via === 'queue') {
      const seats = await this.parts.queueMounts.add(attachment);
      await this.devices.refresh();
      return this.parts.views.onQueues(seats);
    }
    const mounts = await this.parts.functionMounts.add(attachment);
    await this.devices.refresh();
    return this.parts.views.onFunctions(mounts);
  }

  private async readyToAttach(): Promise<void> {
    if (this.unsuitable) throw this.unsuitable;
    await this.reviveDevices();
  }

  private async startDevices(): Promise<void> {
    await this.devices.start();
    this.recovery.started();
  }

  private async reviveDevices(): Promise<void> {
    if (this.devices.running) return;
    await this.startDevices();
    await this.parts.plugging.provideAll();
  }

  private exclusively<T>(job: () => Promise<T>): Promise<T> {
    return this.queue.run(async () => {
      if (this.closed) throw new ChassisError('NO_CHASSIS', `chassis ${this.name} is being deleted`);
      const result = await job().catch((error: unknown) => {
        this.recordOrLog();
        throw error;
      });
      this.record();
      return result;
    });
  }

  /** Notes how the chassis is now, for the next daemon. @throws ChassisError STATE_UNWRITABLE */
  private record(): void {
    this.changes.changed();
    this.journal.write(this.model, this.facts());
  }

  private facts(): JournalFacts {
    return {
      use: (device) => this.devices.lastUse(device),
      unplugging: this.slots.unplugging,
      firstQueueTag: this.parts.queueMounts.firstTag,
      managedBy: this.managedBy,
      apiSocket: this.apiSocket,
    };
  }

  /** Where nobody waits for the outcome. */
  private recordOrLog(): void {
    try {
      this.record();
    } catch (error) {
      this.log.warn('not noted', error);
    }
  }
}
