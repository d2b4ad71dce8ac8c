/** One chassis at work: what operators ask of it, one request after the other. */
import {
  ChassisError,
  type AttachRequest,
  type Chassis,
  type Detached,
  type DetachQuery,
  type EventBody,
  type KeptOverlay,
  type Mount,
  type Plan,
  type QemuArgs,
  type QemuArgsRequest,
  type TopologyNode,
  type Upgraded,
  type Via,
} from './control/api.js';
import { Commands } from './commands.js';
import { checkCarrier, checkMount, type Attachment } from './attachment.js';
import type { ChassisPaths } from './control/state-directory.js';
import {
  ChassisModel,
  isMount,
  type DeviceRecord,
  type MountRecord,
  type SeatRecord,
} from './chassis/chassis.js';
import { isDead } from './chassis/hotplug.js';
import { emptySlots } from './chassis/planner.js';
import { chooseVia, planBeside } from './chassis/via.js';
import type { DeviceHost, DeviceHostHooks } from './device-process/supervisor.js';
import { Departures } from './departures.js';
import { DeviceFunctions } from './device-functions.js';
import { Disks } from './disks.js';
import { ChassisChanges } from './events/chassis-changes.js';
import type { DeviceSight } from './events/device-look.js';
import { functionFacts } from './function-facts.js';
import { Networks } from './networks.js';
import { FunctionMounts } from './function-mounts.js';
import type { Journal } from './journal.js';
import { fillModel, type JournalDocument, type JournalFacts } from './journal-format.js';
import { isListening } from './leftovers.js';
import { MountPolicies } from './mount-policies.js';
import { Overlays } from './overlays.js';
import { OverlayStore } from './overlay-store.js';
import { QueueMounts } from './queue-mounts.js';
import { Recovery } from './recovery.js';
import { Restoration } from './restoration.js';
import { SavedChassisFiles } from './saved-state/saved-chassis.js';
import type { SavedChassis } from './saved-state/saved-file.js';
import { SerialQueue } from './serial-queue.js';
import type { CardPorts } from './switches.js';
import { TreeMounts } from './tree-mounts.js';
import { topologyOf } from './topology.js';
import { describeChild, describeMount, describeSeat } from './views.js';
import { VmSlots } from './vm-slots.js';
import type { VmmDriver, VmmEndpoint } from './vmm/driver.js';
import { VMM_KINDS } from './vmm/kinds.js';

export interface ControllerOptions {
  readonly name: string;
  readonly slotCount: number;
  readonly managedBy?: string;
  readonly paths: ChassisPaths;
  /** What drives its VM; QEMU at the socket in the chassis's folder when absent. */
  readonly vmm?: VmmEndpoint | undefined;
  /** The directory for changes that outlive their mounts. */
  readonly overlays: string;
  readonly startDevices: (hooks: DeviceHostHooks) => Promise<DeviceHost>;
  readonly findDevices: (hooks: DeviceHostHooks) => Promise<DeviceHost | undefined>;
  readonly cardPorts: CardPorts;
  readonly journal: Journal;
  /** What an earlier daemon noted of the chassis. */
  readonly document?: JournalDocument | undefined;
  /** Takes what happens. */
  readonly emit: (event: EventBody) => void;
  readonly log: (message: string) => void;
}

export class ChassisController {
  readonly name: string;
  readonly managedBy: string | undefined;
  /** What concerns disks. */
  readonly disks: Disks;
  /** What concerns network cards. */
  readonly networks: Networks;
  /** What guests may do with mounts. */
  readonly policies: MountPolicies;
  /** To a file, and from one. */
  private readonly saved: SavedChassisFiles;
  /** Where guests' changes go, and what becomes of them. */
  readonly overlays: Overlays;
  /** What runs in the guest. */
  readonly commands: Commands;
  private readonly paths: ChassisPaths;
  private readonly vmm: VmmEndpoint;
  private readonly log: (message: string) => void;
  private readonly journal: Journal;
  private readonly model: ChassisModel;
  private readonly devices: DeviceFunctions;
  private readonly slots: VmSlots;
  private readonly departures: Departures;
  private readonly trees: TreeMounts;
  private readonly queueMounts: QueueMounts;
  private readonly functionMounts: FunctionMounts;
  private readonly queue = new SerialQueue();
  private readonly recovery: Recovery;
  private readonly changes: ChassisChanges;
  /** Connected, but not looked at yet. */
  private arriving: VmmDriver | undefined;
  private unsuitable: ChassisError | undefined;
  private closed = false;

  /** @throws Error where the document contradicts itself */
  constructor(options: ControllerOptions) {
    const { name, slotCount, paths, overlays, startDevices, findDevices, cardPorts, journal, document, log } =
      options;
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
    this.model = new ChassisModel(slotCount, VMM_KINDS[this.vmm.type].rules);
    if (document) fillModel(this.model, document);
    this.devices = new DeviceFunctions({
      ...{ chassis: name, paths, startDevices, findDevices, cardPorts },
      onLost: (reason) => this.deviceProcessLost(reason),
      onConnected: () => this.slots.connected(),
      onConnection: (tag) => this.changes.changed(tag),
      onHelper: () => this.changes.changed(),
      onChild: ({ name: tag, state, detail }) =>
        options.emit({ type: 'mount.inGuest', tag, state, ...(detail !== '' && { reason: detail }) }),
      children: () => this.model.children.values(),
      seats: () => this.model.seats.values(),
      log,
    });
    const { model, devices, vmm } = this;
    this.commands = new Commands({ model, devices });
    const record = () => this.record();
    this.slots = new VmSlots({
      ...{ model, devices, paths, vmm, record, log },
      expected: VMM_KINDS[vmm.type].expected(),
    });
    this.changes = new ChassisChanges({
      ...{ model, sight: this.sight(), emit: options.emit },
      look: () => ({
        ...{ process: this.processState(), vmm: this.slots.driver?.vmm },
        ...{ vmmProblem: this.unsuitable?.message, helper: devices.hasHelper },
      }),
    });
    this.departures = new Departures({ model, devices, slots: this.slots, vmm });
    const plugIn = (mounts: readonly MountRecord[], timeoutMs: number) => this.plugIn(mounts, timeoutMs);
    this.trees = new TreeMounts({
      ...{ model, devices, slots: this.slots, plugIn, record },
      exclusively: (job) => this.exclusively(job),
    });
    const alone = {
      ...{ chassis: name, model, devices, slots: this.slots, departures: this.departures },
      exclusively: <T>(job: () => Promise<T>) => this.exclusively(job),
      ready: () => this.readyToAttach(),
      plugIn: (device: DeviceRecord, timeoutMs: number) => this.plugIn([device], timeoutMs),
    };
    this.disks = new Disks({ ...alone, emit: options.emit });
    this.networks = new Networks(alone);
    this.queueMounts = new QueueMounts({ model, devices, slots: this.slots, plugIn });
    this.queueMounts.firstTag = document?.firstQueueTag;
    this.functionMounts = new FunctionMounts({ model, devices, slots: this.slots, plugIn, record, log });
    const exclusively = <T>(job: () => Promise<T>) => this.exclusively(job);
    this.policies = new MountPolicies({ model, devices, exclusively, record });
    const store = new OverlayStore(overlays);
    this.overlays = new Overlays({
      model,
      devices,
      store,
      exclusively,
      revive: () => this.reviveDevices(),
      log,
    });
    const facts = () => this.facts();
    this.saved = new SavedChassisFiles({
      ...{ chassis: name, model, devices, slots: this.slots, overlays: this.overlays, paths, facts },
    });
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
        log(error instanceof Error ? error.message : String(error));
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

  async mounts(): Promise<Mount[]> {
    await this.devices.refresh();
    const mounts = [...this.model.mounts().map((mount) => this.view(mount)), ...this.seatViews()];
    const { tree } = this.model;
    if (!tree) return mounts;
    const known = await this.devices.carried.childrenOf(tree);
    const view = this.view(tree);
    return [
      ...mounts,
      ...Array.from(this.model.children.values(), (child) =>
        describeChild(view, child, known.get(child.tag)),
      ),
    ];
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
    const view = this.view(tree);
    return children.map((child) => ({
      ...describeChild(view, child, undefined),
      // What a listing would ask the device process for: with thousands of mounts, that is no way to answer for one.
      ...(known && { inGuest: child.target === undefined ? ('shown' as const) : ('mounted' as const) }),
    }));
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
      return seat ? this.queueMounts.detach(seat, query) : { tags: await this.departures.detach(tag, query) };
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
    return this.exclusively(() => this.saved.take(withStates));
  }

  /** Starts a chassis that was made of what was saved. @throws ChassisError as `SavedChassisFiles.put`: then it is to be closed */
  startSaved(saved: SavedChassis): Promise<void> {
    return this.exclusively(async () => {
      await this.startDevices();
      await this.saved.put(saved);
    });
  }

  /** The arguments of the VMM that this is for. */
  qemuArgs(request: QemuArgsRequest): Promise<QemuArgs> {
    return this.exclusively(async () => {
      await this.reviveDevices();
      const slots = this.model.slotNumbers.filter((slot) => (this.model.slot(slot).functions & 1) !== 0);
      const { type, socketPath } = this.vmm;
      const kind = VMM_KINDS[type];
      const abilities = kind.expected(request);
      for (const mount of slots.flatMap((slot) => this.model.devicesIn(slot))) {
        // What a VM has open stays as it is: these arguments are for the next one.
        if (this.model.isPresent(mount) || this.devices.isConnected(mount)) continue;
        await this.devices.provide(mount, this.slots.choose(mount, abilities));
      }
      const occupied = new Map(slots.map((slot) => [slot, this.slots.pluggable(slot)]));
      const { slotCount } = this.model;
      return { vmm: type, args: kind.args({ request, slotCount, socketPath, occupied }) };
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
    this.changes.changed();
    this.log(error.message);
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
    this.log(`the device process is lost: ${reason}`);
    this.slots.deviceProcessLost();
    this.recovery.begin();
    this.changes.changed();
  }

  private processState(): Omit<Chassis['deviceProcess'], 'restarts'> {
    return { ...this.devices.state, ...(this.recovery.isUnderWay && { state: 'recovering' as const }) };
  }

  /** What events tell of functions that the model does not know. */
  private sight(): DeviceSight {
    return {
      isConnected: (device) => this.devices.isConnected(device),
      reason: (tag) => this.slots.reasons.get(tag),
    };
  }

  private async attachVia(via: Plan['via'], attachment: Attachment) {
    if (via === 'tree') return { children: await this.trees.add(attachment) };
    if (via === 'queue') {
      const seats = await this.queueMounts.add(attachment);
      await this.devices.refresh();
      return this.seatViews(seats);
    }
    const mounts = await this.functionMounts.add(attachment);
    await this.devices.refresh();
    return mounts.map((mount) => this.view(mount));
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
    for (const mount of this.model.devices()) {
      try {
        // As it was: a VM may be about to connect to it again.
        await this.devices.provide(mount, this.devices.lastUse(mount) ?? this.slots.choose(mount));
      } catch (error) {
        this.slots.note(mount.slot, error);
      }
    }
    await this.slots.revive();
  }

  /** Plugs devices of one slot in, or parks them for the next VM: all of them or none. */
  private async plugIn(devices: readonly DeviceRecord[], timeoutMs: number): Promise<void> {
    try {
      for (const device of devices) await this.devices.provide(device, this.slots.choose(device));
      this.model.attach(devices);
      // Before a guest can see it: what the journal does not have, the next daemon takes away.
      this.record();
      await this.slots.plug(devices[0].slot, timeoutMs);
    } catch (error) {
      await this.takeBack(devices);
      throw error;
    }
  }

  /** Undoes an attach, as far as it went. */
  private async takeBack(devices: readonly DeviceRecord[]): Promise<void> {
    if (this.model.device(devices[0].tag) === devices[0]) await this.slots.takeOut(devices[0].slot);
    for (const device of devices) {
      if (this.model.device(device.tag) === device) {
        if (this.model.isPresent(device)) continue;
        this.model.remove(device.tag);
      }
      await this.devices.cut(device);
    }
  }

  private view(mount: MountRecord): Mount {
    return describeMount(this.model, mount, functionFacts(this.name, mount, this.devices, this.slots));
  }

  private seatViews(seats: Iterable<SeatRecord> = this.model.seats.values()): Mount[] {
    const { mux } = this.model;
    if (!mux) return [];
    const view = this.view(mux);
    return Array.from(seats, (seat) => describeSeat(view, seat, this.devices.seatCounters(mux, seat.queue)));
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
      firstQueueTag: this.queueMounts.firstTag,
      managedBy: this.managedBy,
      apiSocket: this.apiSocket,
    };
  }

  /** Where nobody waits for the outcome. */
  private recordOrLog(): void {
    try {
      this.record();
    } catch (error) {
      this.log(String(error));
    }
  }
}

/** Those that its mounts show, and those that they keep changes in. */
function directoriesOf(model: ChassisModel): string[] {
  const mounts = [...model.mounts(), ...model.children.values(), ...model.seats.values()];
  return mounts.flatMap(({ source, overlay }) => [
    ...(source.type === 'directory' ? [source.path] : []),
    ...(overlay && overlay.type !== 'memory' ? [overlay.path] : []),
  ]);
}
