/** The functions that a chassis's device process serves, through its deaths and restarts. */
import {
  ChassisError,
  type Captured,
  type CaptureRequest,
  type Chassis,
  type FunctionCounters,
  type FunctionDriver,
  type InForce,
  type SwitchPortCounters,
  type Upgraded,
} from './control/api.js';
import { ConnectionKeeper } from './connection-keeper.js';
import { CarriedMounts, type CarriedMountsOptions } from './carried-mounts.js';
import type { ChassisPaths } from './control/state-directory.js';
import {
  isCard,
  isDisk,
  isMount,
  type CardRecord,
  termsOf,
  type DeviceRecord,
  type DiskRecord,
  type MountRecord,
  type Placement,
} from './chassis/chassis.js';
import type { ChildStatus, DeviceSpec, FoundFunction, FunctionStatus } from './device-process/protocol.js';
import type { DeviceHost, DeviceHostHooks } from './device-process/supervisor.js';
import { removeFunctionFiles } from './function-files.js';
import { functionName } from './function-name.js';
import { KeptFiles } from './kept-files.js';
import type { Log } from './logging/log.js';
import type { CardPorts } from './switches.js';
import type { PortUse } from './vmm/port-choice.js';

export interface DeviceFunctionsOptions {
  readonly chassis: string;
  readonly paths: ChassisPaths;
  /** Where cards get their ports of switches. */
  readonly cardPorts: CardPorts;
  readonly startDevices: (hooks: DeviceHostHooks) => Promise<DeviceHost>;
  /** The process that an earlier daemon started, if it lives. */
  readonly findDevices: (hooks: DeviceHostHooks) => Promise<DeviceHost | undefined>;
  readonly onLost: (reason: string) => void;
  /** A VMM opened a function. */
  readonly onConnected: () => void;
  /** A VMM opened a mount's, disk's or card's function, or left it. */
  readonly onConnection: (tag: string) => void;
  /** The guest's helper came, or went. */
  readonly onHelper: () => void;
  /** The guest's helper said something new of a mount of the tree. */
  readonly onChild: (child: Pick<ChildStatus, 'name' | 'state' | 'detail'>) => void;
  readonly children: CarriedMountsOptions['children'];
  readonly seats: CarriedMountsOptions['seats'];
  readonly log: Log;
}

/** A VMM closes its sockets a moment after it reported a function gone, or after its QMP socket. */
const LEAVE_TIMEOUT_MS = 2000;

export class DeviceFunctions {
  /** The mounts that have no function of their own. */
  readonly carried: CarriedMounts;
  private readonly options: DeviceFunctionsOptions;
  private host: DeviceHost | undefined;
  private lostReason = 'it was not started yet';
  /** A process of an earlier daemon that lives and does not answer: a VM may have what it serves. */
  private unanswering: ChassisError | undefined;
  /** How each function is served, by name. */
  private readonly uses = new Map<string, PortUse>();
  /** How each is, or was when the process died. */
  private readonly lastUses = new Map<string, PortUse>();
  private readonly connected = new Set<string>();
  /** What the chassis knows each function by that was provided. */
  private readonly tags = new Map<string, string>();
  /** Functions whose trees the guest's helper reads. */
  private readonly helped = new Set<string>();
  private latest: ReadonlyMap<string, FunctionStatus> = new Map();
  /** Who waits for a function to be left. */
  private readonly leaving = new Map<string, (() => void)[]>();
  private readonly kept: KeptFiles;
  private readonly keeper: ConnectionKeeper;
  private readonly removals = new Map<string, Promise<void>>();

  constructor(options: DeviceFunctionsOptions) {
    this.options = options;
    this.kept = new KeptFiles(options.log);
    this.keeper = new ConnectionKeeper(options.log.warn);
    this.carried = new CarriedMounts({
      ...options,
      host: () => this.host,
      requireRunning: () => this.requireRunning(),
    });
  }

  get running(): boolean {
    return this.host !== undefined;
  }

  get state(): Omit<Chassis['deviceProcess'], 'restarts'> {
    if (!this.host) return { state: 'lost', reason: this.lostReason };
    const { pid, sandbox } = this.host;
    return { state: 'running', pid, ...(sandbox && { sandbox }) };
  }

  /** Starts the process, in place of any that is left. It has no functions yet. @throws ChassisError DEVICE_PROCESS_LOST */
  async start(): Promise<void> {
    if (this.unanswering) throw this.unanswering;
    await this.keeper.settled();
    this.host = await this.options.startDevices(this.hooks());
    await this.keepConnections();
  }

  /** Without that, what VMMs have of the process ends with it. */
  private async keepConnections(): Promise<void> {
    try {
      await this.host?.keep(this.keeper);
    } catch (error) {
      this.options.log.warn('connections will not outlive the device process', error);
    }
  }

  /** The process is not started again by itself: VMMs see that what it served is gone. */
  giveUpConnections(): void {
    this.keeper.close();
  }

  /**
   * Takes over the process that an earlier daemon started, and answers what it serves; undefined where it is gone.
   * @throws ChassisError DEVICE_PROCESS_LOST where it lives, but does not answer as it should
   */
  async find(): Promise<FoundFunction[] | undefined> {
    try {
      this.host = await this.options.findDevices(this.hooks());
      if (!this.host) return undefined;
      const found = await this.host.inventory();
      await this.keepConnections();
      await this.refresh();
      return found;
    } catch (error) {
      this.host?.leave();
      this.host = undefined;
      this.lostReason = error instanceof Error ? error.message : String(error);
      this.unanswering = new ChassisError(
        'DEVICE_PROCESS_LOST',
        this.lostReason,
        'it was left alone, for a VM may have its devices: to end it and start another, chassis restart',
      );
      throw error;
    }
  }

  /** A process that does not answer may be ended. */
  giveUp(): void {
    this.unanswering = undefined;
  }

  /** How it was served when an earlier daemon noted it. */
  noteUse(device: Placement, use: PortUse): void {
    this.lastUses.set(functionName(device), use);
  }

  /** How a function is served, or was when the process died. */
  lastUse(device: Placement): PortUse | undefined {
    return this.lastUses.get(functionName(device));
  }

  /** A function is served already, in this way: of an earlier daemon. */
  async keep(device: DeviceRecord, use: PortUse, { switchPort, keep }: FoundFunction): Promise<void> {
    const name = functionName(device);
    this.kept.hold(name, this.requireRunning().pid, keep ?? {});
    this.tags.set(name, device.tag);
    this.uses.set(name, use);
    this.lastUses.set(name, use);
    if (!isCard(device) || device.card.network.type !== 'switch' || switchPort === undefined) return;
    const { network, mac } = device.card;
    await this.options.cardPorts.keep(this.portKey(name), network, mac, switchPort);
  }

  /** Ends a function that belongs to nothing, as soon as no VMM has it open. */
  clear(name: string): void {
    const log = this.options.log.with({ function: name });
    const end = () => this.drop(name).catch((error: unknown) => log.warn('cannot be removed', error));
    if (!this.connected.has(name)) return void end();
    log.warn("it is nobody's, and ends when its VM leaves it");
    this.leaving.set(name, [() => void end()]);
  }

  private hooks(): DeviceHostHooks {
    return {
      onLost: (reason) => this.lost(reason),
      onConnected: (name) => {
        this.connected.add(name);
        this.options.onConnected();
        this.connectionChanged(name);
      },
      onHelper: (name, there) => this.noteHelper(name, there),
      onChild: (_name, child) => this.options.onChild(child),
      onDisconnected: (name) => this.disconnected(name),
    };
  }

  /** Has another process go on with all functions. @throws ChassisError UPGRADE_REFUSED: all is then as before */
  async replace(directories: readonly string[]): Promise<Omit<Upgraded, 'chassis'>> {
    const former = this.requireRunning();
    const { host, pausedMs } = await former.replace(directories);
    this.host = host;
    await this.keepConnections();
    await this.refresh();
    return { formerPid: former.pid, pid: host.pid, pausedMs };
  }

  /** A disk whose contents went with its process is not served again with others: see `KeptFiles`. */
  loseContents(disk: DiskRecord): void {
    this.kept.lose(functionName(disk));
  }

  /** Sees to it that a function is served in this way; `incoming` where its guest is to come from another chassis. */
  async provide(device: DeviceRecord, use: PortUse, incoming = false): Promise<void> {
    const name = functionName(device);
    this.tags.set(name, device.tag);
    await this.removals.get(name);
    const now = this.uses.get(name);
    if (now?.port === use.port && now.msix === use.msix) {
      this.uses.set(name, use);
      this.lastUses.set(name, use);
      return;
    }
    if (now) await this.drop(name);
    const host = this.requireRunning();
    try {
      const kept = this.kept.pathsOf(name);
      const resumes = await this.giveConnection(name);
      const keep = await host.addFunction({
        function: name,
        socketPath: this.options.paths.functionSocket(device.slot, device.function),
        files: this.options.paths.functionFiles(name),
        port: use.port,
        msix: use.msix,
        ...(kept && { kept }),
        ...(incoming && { incoming }),
        device: isCard(device) ? await this.cardSpec(device, incoming) : deviceSpec(device),
      });
      this.kept.hold(name, host.pid, keep);
      this.uses.set(name, use);
      this.lastUses.set(name, use);
      if (isMount(device) && device.tree) await this.carried.fillTree(device);
      if (isMount(device) && device.mux) await this.carried.fillQueues(device);
      if (resumes) await host.goOn(name);
    } catch (error) {
      // Where the process is gone, the next one goes on.
      if (this.host === host) this.keeper.drop(name);
      await this.leavePort(name);
      throw error;
    }
  }

  /** Has the process go on with the connection that its function had when the last process died. */
  private async giveConnection(name: string): Promise<boolean> {
    if (!this.keeper.has(name)) return false;
    try {
      await this.keeper.give(name);
      return true;
    } catch (error) {
      this.options.log.with({ function: name }).warn('its connection is cut off', error);
      this.keeper.drop(name);
      return false;
    }
  }

  /** What a queue of a multiplexing function counted, as of the last `refresh`. */
  seatCounters(mux: Placement, queue: number): FunctionCounters | undefined {
    const seats = this.latest.get(functionName(mux))?.seats;
    return seats?.find((seat) => seat.queue === queue)?.counters;
  }

  /** The queues of a multiplexing function that carry a mount, as of the last `refresh`. */
  seatsOf(mux: Placement): number[] {
    return this.latest.get(functionName(mux))?.seats?.map(({ queue }) => queue) ?? [];
  }

  /**
   * Makes a function that is served show what its mount says: another source, or, kept, nothing.
   * @throws ChassisError MOUNT_BUSY while the guest has mounted what it shows, or as the source cannot be opened
   */
  setSource(mount: MountRecord): Promise<void> {
    const shown = mount.kept ? {} : { source: mount.source };
    return this.requireRunning().setSource({ function: functionName(mount), ...termsOf(mount), ...shown });
  }

  /** Resolves once the guest is told. @throws ChassisError SIZE_INVALID */
  resizeDisk(disk: Placement, sizeBytes: number, shrink: boolean): Promise<void> {
    return this.requireRunning().resizeDisk({ function: functionName(disk), sizeBytes, shrink });
  }

  /** @throws ChassisError NO_CARD where it is gone, or DEVICE_PROCESS_LOST */
  capture(card: Placement, capture: CaptureRequest): Promise<Captured> {
    return this.requireRunning().capture({ function: functionName(card), capture });
  }

  /** Where the process is lost, it has ended already. */
  async endCapture(card: Placement): Promise<void> {
    await this.host?.endCapture(functionName(card));
  }

  /** Where the process is lost, the card is made as it is to be once it is there again. */
  async setLink(record: CardRecord): Promise<void> {
    const { card } = record;
    await this.host?.setLink({ function: functionName(record), up: card.up });
  }

  /** What a card counted, as of the last `refresh`. */
  cardStatus(card: Placement): FunctionStatus['card'] {
    return this.latest.get(functionName(card))?.card;
  }

  /** What its port of a switch counted, as of the last `refresh`. */
  switchPort(card: Placement): SwitchPortCounters | undefined {
    return this.options.cardPorts.counters(this.portKey(functionName(card)));
  }

  /** What confines its switch. */
  switchSandbox(card: Placement): InForce | undefined {
    return this.options.cardPorts.sandbox(this.portKey(functionName(card)));
  }

  /** Ends a function once the VMM has left it, or a little later. Does not reject; `removed` awaits it. */
  remove(mount: Placement): void {
    const name = functionName(mount);
    if (this.removals.has(name)) return;
    // The port of a card outlives the device process.
    if (!this.uses.has(name)) this.keeper.drop(name);
    const ended = this.uses.has(name) ? this.removeOnceLeft(name) : this.leavePort(name);
    const removal = ended
      .catch((error: unknown) => this.options.log.with({ function: name }).warn('cannot be removed', error))
      .finally(() => this.removals.delete(name));
    this.removals.set(name, removal);
  }

  /** Resolves once every removal so far is done. */
  async removed(): Promise<void> {
    await Promise.all(this.removals.values());
  }

  /** Ends a function now, whoever has it open. Where the process is lost, it is gone already. */
  async cut(mount: Placement): Promise<void> {
    try {
      await this.drop(functionName(mount));
    } catch (error) {
      this.options.log.with({ function: functionName(mount) }).warn('cannot be removed', error);
    }
  }

  /** How a mount's function is served now; undefined where it is not. */
  use(mount: Placement): PortUse | undefined {
    return this.uses.get(functionName(mount));
  }

  /** True while a VMM has the function open. */
  isConnected(mount: Placement): boolean {
    return this.connected.has(functionName(mount));
  }

  /** True while the guest's helper reads what a tree tells. */
  get hasHelper(): boolean {
    return this.helped.size > 0;
  }

  /** What the function counted, as of the last `refresh`. */
  counters(mount: Placement): FunctionCounters | undefined {
    return this.latest.get(functionName(mount))?.counters;
  }

  /** A disk's size and troubles, as of the last `refresh`. */
  diskStatus(disk: Placement): FunctionStatus['disk'] {
    return this.latest.get(functionName(disk))?.disk;
  }

  /** How the guest's driver drives the function, as of the last `refresh`. */
  driver(mount: Placement): FunctionDriver | undefined {
    return this.latest.get(functionName(mount))?.driver;
  }

  /** A guest's helper runs commands, as of the last `refresh`. */
  get runsCommands(): boolean {
    return [...this.latest.values()].some(({ commands }) => commands === true);
  }

  /** Asks the process for its counters and connections. Where it is lost, there are none. */
  async refresh(): Promise<void> {
    let functions: FunctionStatus[] = [];
    try {
      functions = (await this.host?.status()) ?? [];
    } catch (error) {
      this.options.log.warn('the device process cannot be asked', error);
    }
    this.latest = new Map(functions.map((status) => [status.function, status]));
    for (const status of functions) {
      if (status.connected) this.connected.add(status.function);
      else this.disconnected(status.function);
      this.noteHelper(status.function, status.helper ?? false);
    }
    const cards = functions.filter(({ card }) => card !== undefined);
    await this.options.cardPorts.refresh(cards.map((card) => this.portKey(card.function)));
  }

  /** @throws ChassisError DEVICE_PROCESS_LOST */
  requireRunning(): DeviceHost {
    if (this.host) return this.host;
    throw new ChassisError(
      'DEVICE_PROCESS_LOST',
      `the device process is lost: ${this.lostReason}`,
      'start it over with `chassis restart`',
    );
  }

  async stop(): Promise<void> {
    await this.part('it was stopped')?.stop();
    this.kept.close();
    this.keeper.close();
  }

  /** Lets the process live on, with all that it serves, for the next daemon. */
  leave(): void {
    this.part('this daemon has left it')?.leave();
    this.keeper.close();
  }

  private part(reason: string): DeviceHost | undefined {
    const { host } = this;
    this.host = undefined;
    this.lostReason = reason;
    this.forget();
    return host;
  }

  /** Waits a moment for a VMM that is on its way out; true once none has the function open. */
  async isFree(mount: Placement): Promise<boolean> {
    await this.left(functionName(mount));
    return !this.isConnected(mount);
  }

  private async removeOnceLeft(name: string): Promise<void> {
    await this.left(name);
    await this.drop(name);
  }

  private async left(name: string): Promise<void> {
    if (!this.connected.has(name)) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LEAVE_TIMEOUT_MS);
      const leave = () => {
        clearTimeout(timer);
        resolve();
      };
      this.leaving.set(name, [...(this.leaving.get(name) ?? []), leave]);
    });
  }

  private async drop(name: string): Promise<void> {
    this.uses.delete(name);
    this.lastUses.delete(name);
    await this.host?.removeFunction(name);
    // What it left behind where it was not the process that took it away.
    this.kept.drop(name);
    this.keeper.drop(name);
    removeFunctionFiles(this.options.paths.functionFiles(name));
    this.connected.delete(name);
    this.noteHelper(name, false);
    await this.leavePort(name);
  }

  private noteHelper(name: string, there: boolean): void {
    if (there === this.helped.has(name)) return;
    if (there) this.helped.add(name);
    else this.helped.delete(name);
    this.options.onHelper();
  }

  private leavePort(name: string): Promise<void> {
    return this.options.cardPorts.leave(this.portKey(name));
  }

  /** What the switches call a card of this chassis. */
  private portKey(name: string): string {
    return `${this.options.chassis}/${name}`;
  }

  private async cardSpec(record: CardRecord, incoming: boolean): Promise<DeviceSpec> {
    const { tag: name, card } = record;
    const { network, ...properties } = card;
    const peer =
      network.type === 'switch'
        ? {
            type: network.type,
            socketPath: await this.options.cardPorts.join(
              this.portKey(functionName(record)),
              network,
              card.mac,
              incoming,
            ),
          }
        : network;
    return { type: 'card', name, ...properties, peer };
  }

  private connectionChanged(name: string): void {
    const tag = this.tags.get(name);
    if (tag !== undefined) this.options.onConnection(tag);
  }

  private disconnected(name: string): void {
    if (this.connected.delete(name)) this.connectionChanged(name);
    const waiting = this.leaving.get(name) ?? [];
    this.leaving.delete(name);
    for (const leave of waiting) leave();
  }

  private lost(reason: string): void {
    this.host = undefined;
    this.lostReason = reason;
    this.forget();
    this.options.onLost(reason);
  }

  private forget(): void {
    this.uses.clear();
    this.connected.clear();
    this.helped.clear();
    this.latest = new Map();
    for (const name of [...this.leaving.keys()]) this.disconnected(name);
  }
}

function deviceSpec(device: DiskRecord | MountRecord): DeviceSpec {
  if (isDisk(device)) return { type: 'disk', readOnly: device.readOnly, ...device.disk };
  return { type: '9p', tag: device.tag, ...(!device.kept && { source: device.source }), ...termsOf(device) };
}
