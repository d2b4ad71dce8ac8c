import { writeFileSync } from 'node:fs';
import { newNetStatistics } from '../../devices/net/statistics.js';
import {
  ChassisError,
  type AuditPage,
  type Captured,
  type Change,
  type FunctionCounters,
  type Lost,
  type ExecPage,
  type ReviewPage,
  type Shown,
  type SwitchNetwork,
  type SwitchPortCounters,
  type Upper,
  type Vmm,
} from '../../manager/control/api.js';
import type { FunctionMask } from '../../manager/chassis/hotplug.js';
import type {
  CaptureOrder,
  AuditSpec,
  ChildSpec,
  ChildStatus,
  DeviceSpec,
  DiskResize,
  FoundFunction,
  FunctionSpec,
  FunctionStatus,
  LinkChange,
  MountRef,
  PolicySpec,
  CommandInput,
  CommandSignal,
  CommandSpec,
  ReviewSpec,
  SeatRemoval,
  SeatSpec,
  SeatStatus,
  SourceChange,
} from '../../manager/device-process/protocol.js';
import { encodeStates } from '../../manager/saved-state/states.js';
import type { DeviceHost, DeviceHostHooks, Replaced } from '../../manager/device-process/supervisor.js';
import type { CardPorts } from '../../manager/switches.js';
import type { PluggableFunction, VmmDriver } from '../../manager/vmm/driver.js';

export const NO_COUNTERS: FunctionCounters = {
  kicks: 0,
  interrupts: 0,
  wakes: 0,
  spuriousWakes: 0,
  polls: 0,
  requests: 0,
  queues: [],
  bytesRead: 0,
  bytesWritten: 0,
  fids: 0,
};

/** What a 9p device shows. */
export function shownBy(device: DeviceSpec | undefined): Shown | undefined {
  return device?.type === '9p' ? device.source : undefined;
}

/** Ports of switches that are only a table. */
export class FakeCardPorts implements CardPorts {
  readonly joined = new Map<string, { readonly network: SwitchNetwork; readonly mac: string }>();
  readonly counted: SwitchPortCounters = { sent: 1, received: 2, refused: 3, storm: 4, dropped: 5 };
  refuse: ChassisError | undefined;

  async join(card: string, network: SwitchNetwork, mac: string): Promise<string> {
    if (this.refuse) throw this.refuse;
    this.joined.set(card, { network, mac });
    return `/switch/${card}`;
  }

  async leave(card: string): Promise<void> {
    this.joined.delete(card);
  }

  async keep(card: string, network: SwitchNetwork, mac: string): Promise<void> {
    this.joined.set(card, { network, mac });
  }

  counters(card: string): SwitchPortCounters | undefined {
    return this.joined.has(card) ? this.counted : undefined;
  }

  sandbox(): undefined {
    return undefined;
  }

  async refresh(): Promise<void> {}
}

/** A device process that is only a table. */
export class FakeDevices implements DeviceHost {
  readonly pid: number;
  readonly functions = new Map<string, FunctionSpec>();
  readonly connected = new Set<string>();
  /** Functions whose trees the guest's helper reads. */
  private readonly helped = new Set<string>();
  /** Fids that the guest holds, by function. */
  readonly fids = new Map<string, number>();
  refuse: ((spec: FunctionSpec) => ChassisError | undefined) | undefined;
  /** What the tree shows, and what of it the guest has mounted elsewhere. */
  readonly inTree = new Map<string, ChildSpec>();
  readonly mounted = new Set<string>();
  /** Who holds a child in the guest. */
  readonly holders = new Map<string, string>();
  helper: 'answers' | 'fails' | 'silent' | 'waits' = 'answers';
  /** What each queue of the multiplexing function shows, and the fids that the guest holds of it. */
  readonly onQueues = new Map<number, SeatSpec>();
  readonly seatFids = new Map<number, number>();
  refuseSeat: ((seat: SeatSpec) => ChassisError | undefined) | undefined;
  refuseChild: ((child: ChildSpec) => ChassisError | undefined) | undefined;
  /** Lets a helper that waits answer. */
  readonly waiting: (() => void)[] = [];
  /** Sizes of disks, and their troubles, by function. */
  readonly diskBytes = new Map<string, number>();
  readonly diskTroubles = new Map<string, string>();
  /** Ends captures, by function. */
  readonly captures = new Map<string, (captured: Captured) => void>();
  /** The policies that were set, and the mounts that were revoked: `FUNCTION[,CHILD or QUEUE]`. */
  readonly policies = new Map<string, Omit<PolicySpec, keyof MountRef>>();
  readonly revoked: string[] = [];
  /** What was asked of overlays, and what has ended of it. */
  readonly reviews: ReviewSpec[] = [];
  readonly stoppedReviews: number[] = [];
  /** What guests changed in a mount, or what an upper folder has. */
  changesOf: (overlay: MountRef | Upper | undefined) => Change[] = () => [];
  stopped = false;
  private hooks: DeviceHostHooks;

  constructor(pid: number, hooks: DeviceHostHooks) {
    this.pid = pid;
    this.hooks = hooks;
  }

  /** The one that goes on, or why none does. */
  replacement: FakeDevices | ChassisError | undefined;

  async replace(): Promise<Replaced> {
    const { replacement } = this;
    if (!(replacement instanceof FakeDevices)) throw replacement ?? new Error('there is no other');
    for (const [name, spec] of this.functions) replacement.functions.set(name, spec);
    for (const name of this.connected) replacement.connected.add(name);
    return { host: replacement, pausedMs: 7 };
  }

  /** What is in the way of the states that it is given. */
  stateProblems: string[] = [];

  async saveStates(path: string): Promise<void> {
    writeFileSync(path, encodeStates([]));
  }

  async loadStates(): Promise<string[]> {
    return this.stateProblems;
  }

  async addFunction(spec: FunctionSpec): Promise<Record<string, number>> {
    const refusal = this.refuse?.(spec);
    if (refusal) throw refusal;
    if (this.functions.has(spec.function)) throw new Error(`${spec.function} is there already`);
    this.functions.set(spec.function, spec);
    const { device } = spec;
    if (device.type !== 'disk') return {};
    const { source, overlayBytes } = device;
    this.diskBytes.set(spec.function, overlayBytes ?? ('sizeBytes' in source ? source.sizeBytes : 4096));
    return {};
  }

  async goOn(): Promise<void> {
    // Nobody keeps connections here.
  }

  async removeFunction(name: string): Promise<void> {
    if (shownBy(this.functions.get(name)?.device)?.type === 'tree') this.inTree.clear();
    if (shownBy(this.functions.get(name)?.device)?.type === 'queues') this.onQueues.clear();
    this.functions.delete(name);
    this.connected.delete(name);
    this.diskBytes.delete(name);
  }

  async resizeDisk({ function: name, sizeBytes, shrink }: DiskResize): Promise<void> {
    const now = this.diskBytes.get(name);
    if (now === undefined) throw new Error(`${name} is no disk`);
    if (sizeBytes < now && !shrink) throw new ChassisError('SIZE_INVALID', 'smaller');
    this.diskBytes.set(name, sizeBytes);
  }

  async setLink({ function: name, up }: LinkChange): Promise<void> {
    const spec = this.functions.get(name);
    if (spec?.device.type !== 'card') throw new ChassisError('NO_CARD', `there is no ${name}`);
    this.functions.set(name, { ...spec, device: { ...spec.device, up } });
  }

  capture({ function: name }: CaptureOrder): Promise<Captured> {
    return new Promise((resolve) => this.captures.set(name, resolve));
  }

  async endCapture(name: string): Promise<void> {
    this.captures.get(name)?.({ frames: 1, bytes: 300, reason: 'ended' });
    this.captures.delete(name);
  }

  async setSource({ function: name, source, ...terms }: SourceChange): Promise<void> {
    const spec = this.functions.get(name);
    if (spec?.device.type !== '9p') throw new Error(`there is no ${name}`);
    if ((this.fids.get(name) ?? 0) > 0) throw new ChassisError('MOUNT_BUSY', 'it is mounted');
    const changed = { ...spec, device: { type: '9p' as const, tag: spec.device.tag, source, ...terms } };
    const refusal = this.refuse?.(changed);
    if (refusal) throw refusal;
    this.functions.set(name, changed);
  }

  async addChild(child: ChildSpec): Promise<void> {
    const refusal = this.refuseChild?.(child);
    if (refusal) throw refusal;
    if (shownBy(this.functions.get(child.function)?.device)?.type !== 'tree') throw new Error('no tree');
    this.inTree.set(child.name, child);
  }

  async childMounted(_fn: string, name: string): Promise<void> {
    if (this.helper === 'fails') throw new ChassisError('GUEST_REFUSED', `${name}: no such place`);
    await this.helperAnswers();
    this.mounted.add(name);
  }

  async releaseChild(_fn: string, name: string): Promise<void> {
    if (this.holders.has(name)) throw new ChassisError('MOUNT_BUSY', `held by ${this.holders.get(name)}`);
    if (this.mounted.has(name)) await this.helperAnswers();
    this.mounted.delete(name);
  }

  async removeChild(_fn: string, name: string): Promise<Lost> {
    this.inTree.delete(name);
    return this.holders.has(name) ? { fids: 2, openFiles: 1 } : { fids: 0, openFiles: 0 };
  }

  async children(): Promise<ChildStatus[]> {
    return [...this.inTree.keys()].map((name) => ({
      ...{ name, detail: '', fids: 0, openFiles: 0 },
      state: this.mounted.has(name) ? ('mounted' as const) : ('shown' as const),
    }));
  }

  async addSeat(seat: SeatSpec): Promise<number> {
    const refusal = this.refuseSeat?.(seat);
    if (refusal) throw refusal;
    if (shownBy(this.functions.get(seat.function)?.device)?.type !== 'queues') throw new Error('no queues');
    const queue = seat.queues.find((each) => !this.onQueues.has(each));
    if (queue === undefined) throw new Error(`all of ${seat.queues.join()} are taken`);
    this.onQueues.set(queue, seat);
    return queue;
  }

  async removeSeat({ queue, force }: SeatRemoval): Promise<Lost> {
    const fids = this.seatFids.get(queue) ?? 0;
    if (fids > 0 && !force) throw new ChassisError('MOUNT_BUSY', 'the guest has it mounted');
    this.onQueues.delete(queue);
    this.seatFids.delete(queue);
    return { fids, openFiles: 0 };
  }

  async setPolicy({ function: name, child, queue, ...policy }: PolicySpec): Promise<void> {
    this.policies.set([name, child, queue].filter((part) => part !== undefined).join(), policy);
  }

  async revoke({ function: name, child, queue }: MountRef): Promise<void> {
    this.revoked.push([name, child, queue].filter((part) => part !== undefined).join());
  }

  async audit({ from = 0 }: AuditSpec): Promise<AuditPage> {
    return { events: [], dropped: 0, next: from };
  }

  async startReview(spec: ReviewSpec): Promise<number> {
    this.reviews.push(spec);
    return this.reviews.length;
  }

  async nextReview(review: number): Promise<ReviewPage> {
    const { mount, overlay } = this.reviews[review - 1];
    const changes = this.changesOf(mount ?? overlay?.upper);
    return { changes, entries: 0, done: true };
  }

  async stopReview(review: number): Promise<void> {
    this.stoppedReviews.push(review);
  }

  /** What guests were asked to run, and what they print of it. */
  readonly commands: CommandSpec[] = [];
  readonly endedCommands: number[] = [];
  readonly commandInputs: CommandInput[] = [];
  readonly commandSignals: CommandSignal[] = [];
  execPages: ExecPage[] = [];

  async startCommand(spec: CommandSpec): Promise<number> {
    return this.commands.push(spec);
  }

  async commandOutput(): Promise<ExecPage> {
    return this.execPages.shift() ?? { exitCode: 0 };
  }

  /** Has room the second time. */
  async commandInput(input: CommandInput): Promise<boolean> {
    return this.commandInputs.push(input) % 2 === 0;
  }

  async signalCommand(signal: CommandSignal): Promise<void> {
    this.commandSignals.push(signal);
  }

  async endCommand(command: number): Promise<void> {
    this.endedCommands.push(command);
  }

  async keep(): Promise<void> {}

  async status(): Promise<FunctionStatus[]> {
    return [...this.functions].map(([name, { device }]) => ({
      function: name,
      connected: this.connected.has(name),
      counters: { ...NO_COUNTERS, fids: this.fids.get(name) ?? 0 },
      ...(device.type === 'card' && { card: { carrier: device.up, statistics: newNetStatistics() } }),
      ...this.diskStatus(name),
      ...(shownBy(device)?.type === 'queues' && { seats: this.seats() }),
      helper: this.helped.has(name),
    }));
  }

  async inventory(): Promise<FoundFunction[]> {
    return Array.from(this.functions.values(), ({ function: name, port, msix, device }) => ({
      ...{ function: name, port, msix },
      empty: device.type === '9p' && !['directory', 'memory'].includes(device.source?.type ?? ''),
      ...(device.type === 'card' && device.peer.type === 'switch' && { switchPort: device.peer.socketPath }),
    }));
  }

  /** Another daemon has it. */
  found(hooks: DeviceHostHooks): this {
    this.hooks = hooks;
    return this;
  }

  leave(): void {
    const nothing = (): void => {};
    this.hooks = {
      ...{ onLost: nothing, onConnected: nothing, onDisconnected: nothing },
      ...{ onHelper: nothing, onChild: nothing },
    };
  }

  private diskStatus(name: string): Pick<FunctionStatus, 'disk'> {
    const sizeBytes = this.diskBytes.get(name);
    if (sizeBytes === undefined) return {};
    const trouble = this.diskTroubles.get(name);
    return { disk: { sizeBytes, ...(trouble !== undefined && { trouble }) } };
  }

  private seats(): SeatStatus[] {
    return [...this.onQueues.keys()].map((queue) => ({
      queue,
      counters: { ...NO_COUNTERS, fids: this.seatFids.get(queue) ?? 0 },
    }));
  }

  async stop(): Promise<void> {
    this.stopped = true;
  }

  private async helperAnswers(): Promise<void> {
    if (this.helper === 'silent') throw new ChassisError('GUEST_TIMEOUT', 'no answer from the guest in time');
    if (this.helper === 'waits') await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  connect(name: string): void {
    if (!this.functions.has(name)) throw new Error(`nothing listens for ${name}`);
    this.connected.add(name);
    this.hooks.onConnected(name);
  }

  disconnect(name: string): void {
    this.connected.delete(name);
    this.hooks.onDisconnected(name);
  }

  /** The guest's helper comes, or goes. */
  setHelper(name: string, there: boolean): void {
    if (there) this.helped.add(name);
    else this.helped.delete(name);
    this.hooks.onHelper(name, there);
  }

  /** The guest's helper says this of a mount of the tree. */
  childIs(fn: string, child: Pick<ChildStatus, 'name' | 'state' | 'detail'>): void {
    this.hooks.onChild(fn, child);
  }

  die(reason: string): void {
    this.hooks.onLost(reason);
  }
}

/** A VMM with a guest that lets go at once, later, or not at all. */
export class FakeVmm implements VmmDriver {
  readonly vmm: Vmm = { type: 'qemu', version: '11.1.3', notes: [] };
  readonly unusable = new Map<number, string>();
  readonly has = new Map<number, FunctionMask>();
  readonly calls: string[] = [];
  readonly abilities = {
    ...{ vfioUser: true, vhostUser: false, vhostUserDisk: true, vhostUserNet: true },
    msixPreventsUnplug: true,
    cardMsix: true,
  };
  /** Links of cards, by slot. */
  readonly links = new Map<number, boolean>();
  guest: 'agrees' | 'ignores' | 'refuses' = 'agrees';
  /** Makes a plug fail. */
  refusePlug: ((slot: number) => ChassisError | undefined) | undefined;
  /** Where the functions connect to: the device process of the moment. */
  private readonly devices: () => FakeDevices;
  private readonly onDeleted: (slot: number, fn: number) => void;
  private gone: ((error: ChassisError) => void)[] = [];

  constructor(devices: () => FakeDevices, onDeleted: (slot: number, fn: number) => void) {
    this.devices = devices;
    this.onDeleted = onDeleted;
  }

  async present(): Promise<ReadonlyMap<number, FunctionMask>> {
    return this.has;
  }

  async plug(slot: number, functions: readonly PluggableFunction[]): Promise<void> {
    this.calls.push(`plug ${slot}: ${functions.map((each) => each.function).join(' ')}`);
    const refusal = this.refusePlug?.(slot);
    if (refusal) throw refusal;
    for (const { function: fn } of functions) this.insert(slot, fn);
  }

  /** What QEMU has from its command line. */
  insert(slot: number, fn: number): void {
    this.devices().connect(`slot${slot}-fn${fn}`);
    this.has.set(slot, (this.has.get(slot) ?? 0) | (1 << fn));
  }

  async unplug(slot: number, functions: readonly number[]): Promise<void> {
    this.calls.push(`unplug ${slot}: ${functions.join(' ')}`);
    if (this.guest === 'refuses') throw new ChassisError('VMM_REFUSED', 'the guest will not');
    if (this.guest === 'ignores') throw new ChassisError('GUEST_TIMEOUT', 'the guest did not');
    this.eject(slot);
  }

  async takeBack(slot: number, functions: readonly number[]): Promise<void> {
    this.calls.push(`take back ${slot}: ${functions.join(' ')}`);
    this.eject(slot);
  }

  async setLink(slot: number, _fn: number, up: boolean): Promise<void> {
    this.links.set(slot, up);
  }

  /** An unplug that lasts until the VM dies. */
  stall(): void {
    this.unplug = () => new Promise((_, reject) => this.gone.push(reject));
  }

  die(): void {
    for (const name of [...this.devices().connected]) this.devices().disconnect(name);
    for (const reject of this.gone.splice(0)) reject(new ChassisError('VMM_GONE', 'the VM went away'));
  }

  /** The guest lets a slot go: QEMU reports each function, then closes its socket. */
  eject(slot: number): void {
    const mask = this.has.get(slot) ?? 0;
    this.has.delete(slot);
    for (let fn = 0; fn < 8; fn++) {
      if ((mask & (1 << fn)) === 0) continue;
      this.onDeleted(slot, fn);
      this.devices().disconnect(`slot${slot}-fn${fn}`);
    }
  }
}
