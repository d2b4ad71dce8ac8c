/**
 * The daemon: keeps chassis by name and serves the API, in a state directory of its own. What serves guests does not end with it: it may be
 * stopped, killed and started at any time.
 */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  ChassisError,
  type AddCardRequest,
  type AddDiskRequest,
  type AttachRequest,
  type Captured,
  type CaptureRequest,
  type Card,
  type AuditPage,
  type AuditQuery,
  type Chassis,
  type CreateChassisRequest,
  type Deleted,
  type DeleteChassisQuery,
  type Detached,
  type DetachQuery,
  type Disk,
  type Event,
  type EventsQuery,
  type ExecInput,
  type ExecPage,
  type ExecRequest,
  type GuestSetup,
  type GuestSetupQuery,
  type Health,
  type Mount,
  type Plan,
  type PlanRequest,
  type PolicyChange,
  type PolicyView,
  type QemuArgs,
  type QemuArgsRequest,
  type RemoveCardQuery,
  type RemoveDiskQuery,
  type ResizeDiskRequest,
  type SetLinkRequest,
  type RestoreRequest,
  type ReviewPage,
  type ReviewRequest,
  type Saved,
  type SaveRequest,
  type Signal,
  type TopologyNode,
  type Upgraded,
} from './control/api.js';
import { ControlServer } from './control/server.js';
import type { ChassisService, Observed } from './control/service.js';
import {
  apiSocketPath,
  ChassisPaths,
  openStateDirectory,
  overlaysDirectory,
  type StateDirectory,
} from './control/state-directory.js';
import { planCapacity } from './chassis/capacity.js';
import { PLACEMENT_RULES } from './chassis/placement-rules.js';
import { ChassisController, type ControllerOptions } from './controller.js';
import { Reactor } from '../host/index.js';
import { handOverConnections } from './device-process/hand-over/connections.js';
import { findDeviceProcess, spawnDeviceProcess } from './device-process/supervisor.js';
import { EventLog } from './events/event-log.js';
import { guestSetup } from './guest-setup.js';
import { Journal, journalError, readJournal } from './journal.js';
import type { JournalDocument } from './journal-format.js';
import { chassisFolders, killLeft, removeChassisFiles, sweepStateDirectory } from './leftovers.js';
import { observe } from './observation.js';
import { readSaved, renamed, writeSaved } from './saved-state/store.js';
import type { Sandbox } from './sandbox/sandbox.js';
import { SerialQueue } from './serial-queue.js';
import { Switches } from './switches.js';
import { CloudHypervisorLink } from './cloud-hypervisor-link.js';
import type { VmmEndpoint } from './vmm/driver.js';
import { VMM_KINDS } from './vmm/kinds.js';
import { VmmLink } from './vmm-link.js';

export interface DaemonOptions {
  /** The state directory; made if need be, held until `leave` or `end`. */
  readonly directory: string;
  readonly log: (message: string) => void;
  /** Somebody asked over the API that the daemon stop: the owner calls `leave` or `end`. */
  readonly onShutdown: () => void;
  /** What confines device processes; nothing, without one. */
  readonly sandbox?: Sandbox | undefined;
  /** The device process's script, where it is not beside the daemon's own (tests run from sources). */
  readonly deviceEntry?: string;
  /** A switch's, likewise. */
  readonly switchEntry?: string;
}

const DEFAULT_SLOTS = 8;
/** What is asked of a daemon that stops may take so long; what takes longer is for the next one to go on with. */
const LEAVE_GRACE_MS = 500;

/** What a chassis is made as. */
type Made = Pick<ControllerOptions, 'slotCount' | 'managedBy'> & {
  /** Where Cloud Hypervisor is driven, if it is for that; '' for the socket in the chassis's folder. */
  readonly apiSocket?: string | undefined;
};

/** What ties a chassis to its VMs. */
type Link = Pick<VmmLink, 'start' | 'stop'>;

interface Running {
  readonly controller: ChassisController;
  readonly link: Link;
  readonly paths: ChassisPaths;
}

export class Daemon implements ChassisService {
  private readonly options: DaemonOptions;
  private readonly chassis = new Map<string, Running>();
  /** Those whose journals cannot be used, by name. */
  private readonly unreadable = new Map<string, ChassisError>();
  /** Making and deleting chassis, one at a time. */
  private readonly queue = new SerialQueue();
  private readonly switches: Switches;
  private readonly happened = new EventLog();
  /** Of what comes with descriptors, from device processes. */
  private readonly reactor: Reactor;
  private server: ControlServer | undefined;
  private state: StateDirectory | undefined;
  private starting: Promise<void> | undefined;
  private stopping: Promise<void> | undefined;

  constructor(options: DaemonOptions) {
    this.options = options;
    const { directory, log, switchEntry: entry } = options;
    this.reactor = new Reactor({ onError: (error) => log(`a bug: ${String(error)}`), maxSpinMicros: 0 });
    this.switches = new Switches({ directory, log, ...(entry !== undefined && { entry }) });
  }

  /** Brings back what an earlier daemon kept. @throws ChassisError STATE_UNWRITABLE, or CHASSIS_IN_USE where another daemon has the directory */
  start(): Promise<void> {
    this.starting = this.startAll();
    return this.starting;
  }

  /** Lets the directory go, and everything in it go on: the next daemon finds it. */
  leave(): Promise<void> {
    this.stopping ??= this.leaveAll();
    return this.stopping;
  }

  /** Ends all chassis, removes sockets and files, lets the directory go. VMs go on, without their mounts. */
  end(): Promise<void> {
    this.stopping ??= this.endAll();
    return this.stopping;
  }

  health(): Health {
    return { version: packageVersion(), pid: process.pid };
  }

  list(): Promise<Chassis[]> {
    return Promise.all(this.sorted().map(({ controller }) => controller.describe()));
  }

  observe(timeoutMs: number): Promise<Observed> {
    return observe(
      this.sorted().map(({ controller }) => controller),
      timeoutMs,
    );
  }

  create(request: CreateChassisRequest): Promise<Chassis> {
    return this.queue.run(async () => {
      const { name, managedBy } = request;
      const slotCount = slotsFor(request);
      this.refuseTaken(name);
      const apiSocket = apiSocketOf(request);
      const controller = this.newController(name, { slotCount, managedBy, apiSocket });
      return this.begin(controller, apiSocket, () => controller.start());
    });
  }

  async get(name: string): Promise<Chassis> {
    return this.find(name).controller.describe();
  }

  delete(name: string, query: DeleteChassisQuery): Promise<Deleted> {
    return this.queue.run(async () => {
      if (query.force && this.unreadable.has(name)) return this.giveUp(name);
      const running = this.find(name);
      const { controller } = running;
      if (controller.tags.length > 0 && !query.force) {
        throw new ChassisError(
          'CHASSIS_IN_USE',
          `chassis ${name} is not empty: ${controller.tags.join(', ')}`,
          'detach mounts and remove disks and network cards first, or use --force',
        );
      }
      const kept = await controller.detachAll(query.timeoutMs);
      this.chassis.delete(name);
      await this.endChassis(running);
      return { kept };
    });
  }

  async attach(name: string, request: AttachRequest): Promise<Mount[]> {
    return this.find(name).controller.attach(request);
  }

  async detach(name: string, tag: string, query: DetachQuery): Promise<Detached> {
    return this.find(name).controller.detach(tag, query);
  }

  async policy(name: string, tag: string): Promise<PolicyView> {
    return this.find(name).controller.policies.show(tag);
  }

  async changePolicy(name: string, tag: string, change: PolicyChange): Promise<PolicyView> {
    return this.find(name).controller.policies.change(tag, change);
  }

  async revoke(name: string, tag: string): Promise<PolicyView> {
    return this.find(name).controller.policies.revoke(tag);
  }

  async audit(name: string, tag: string, query: AuditQuery): Promise<AuditPage> {
    return this.find(name).controller.policies.audit(tag, query);
  }

  review(name: string, tag: string, request: ReviewRequest): AsyncGenerator<ReviewPage> {
    return this.find(name).controller.overlays.review(tag, request);
  }

  async mounts(name?: string): Promise<Mount[]> {
    const chassis = name === undefined ? this.sorted() : [this.find(name)];
    return (await Promise.all(chassis.map(({ controller }) => controller.mounts()))).flat();
  }

  async addDisk(name: string, request: AddDiskRequest): Promise<Disk> {
    return this.find(name).controller.disks.add(request);
  }

  async resizeDisk(name: string, disk: string, request: ResizeDiskRequest): Promise<Disk> {
    return this.find(name).controller.disks.resize(disk, request);
  }

  async removeDisk(name: string, disk: string, query: RemoveDiskQuery): Promise<void> {
    return this.find(name).controller.disks.remove(disk, query);
  }

  async disks(name?: string): Promise<Disk[]> {
    const chassis = name === undefined ? this.sorted() : [this.find(name)];
    return (await Promise.all(chassis.map(({ controller }) => controller.disks.list()))).flat();
  }

  async addCard(name: string, request: AddCardRequest): Promise<Card> {
    return this.find(name).controller.networks.add(request);
  }

  async setLink(name: string, card: string, { up }: SetLinkRequest): Promise<Card> {
    return this.find(name).controller.networks.setLink(card, up);
  }

  async capture(name: string, card: string, request: CaptureRequest): Promise<Captured> {
    return this.find(name).controller.networks.capture(card, request);
  }

  async endCapture(name: string, card: string): Promise<void> {
    return this.find(name).controller.networks.endCapture(card);
  }

  async removeCard(name: string, card: string, query: RemoveCardQuery): Promise<void> {
    return this.find(name).controller.networks.remove(card, query);
  }

  async cards(name?: string): Promise<Card[]> {
    const chassis = name === undefined ? this.sorted() : [this.find(name)];
    return (await Promise.all(chassis.map(({ controller }) => controller.networks.list()))).flat();
  }

  exec(name: string, request: ExecRequest): AsyncGenerator<ExecPage> {
    return this.find(name).controller.commands.exec(request);
  }

  async execInput(name: string, command: number, input: ExecInput): Promise<void> {
    await this.find(name).controller.commands.input(command, input);
  }

  async execSignal(name: string, command: number, signal: Signal): Promise<void> {
    await this.find(name).controller.commands.signal(command, signal);
  }

  guestSetup(query: GuestSetupQuery): GuestSetup {
    return guestSetup(query);
  }

  async plan({ chassis, mounts, via, vmm }: PlanRequest): Promise<Plan> {
    if (chassis !== undefined) return this.find(chassis).controller.plan(mounts, via);
    return planCapacity(PLACEMENT_RULES[vmm], { mounts, via });
  }

  async tree(name: string): Promise<TopologyNode> {
    return this.find(name).controller.tree();
  }

  async restart(name: string): Promise<Chassis> {
    return this.find(name).controller.restart();
  }

  async upgrade(name: string): Promise<Upgraded> {
    return this.find(name).controller.upgrade();
  }

  async save(name: string, { path, topology }: SaveRequest): Promise<Saved> {
    const bytes = writeSaved(path, await this.find(name).controller.save(!topology));
    return { chassis: name, path, bytes };
  }

  restoreSaved({ path, name: wanted }: RestoreRequest): Promise<Chassis> {
    return this.queue.run(async () => {
      const saved = renamed(readSaved(path), wanted);
      const { document } = saved;
      const { chassis: name, slots: slotCount, managedBy, apiSocket } = document;
      this.refuseTaken(name);
      const controller = this.newController(name, { slotCount, managedBy, apiSocket }, document);
      return this.begin(controller, apiSocket, () => controller.startSaved(saved));
    });
  }

  async qemuArgs(name: string, request: QemuArgsRequest): Promise<QemuArgs> {
    return this.find(name).controller.qemuArgs(request);
  }

  events(query: EventsQuery, gone: AbortSignal): AsyncGenerator<Event> {
    return this.happened.follow(query, gone);
  }

  shutdown(): void {
    this.options.onShutdown();
  }

  private find(name: string): Running {
    const running = this.chassis.get(name);
    if (running) return running;
    const unreadable = this.unreadable.get(name);
    if (unreadable) throw unreadable;
    const names = [...this.chassis.keys()].sort();
    const suggestion =
      names.length > 0 ? `there are: ${names.join(', ')}` : `make one with: chassis create ${name}`;
    throw new ChassisError('NO_CHASSIS', `there is no chassis ${JSON.stringify(name)}`, suggestion);
  }

  private sorted(): Running[] {
    return [...this.chassis.values()].sort((a, b) => (a.controller.name < b.controller.name ? -1 : 1));
  }

  private async startAll(): Promise<void> {
    const { directory, log } = this.options;
    this.state = openStateDirectory(directory);
    this.reactor.start();
    try {
      const killed = await sweepStateDirectory(directory);
      if (killed.length > 0) log(`ended processes of an earlier daemon: ${killed.join(', ')}`);
      await this.restoreAll();
      this.server = new ControlServer({ socketPath: apiSocketPath(directory), service: this, log });
      await this.server.start();
    } catch (error) {
      this.reactor.close();
      this.state.release();
      throw error;
    }
  }

  private async restoreAll(): Promise<void> {
    const { directory, log } = this.options;
    await this.switches.find();
    await Promise.all(chassisFolders(directory).map((paths) => this.restore(paths)));
    await this.switches.settle().catch((error: unknown) => log(String(error)));
  }

  /** One that cannot be brought back is left as it is, and whoever asks for it hears why. */
  private async restore(paths: ChassisPaths): Promise<void> {
    const { name, journal } = paths;
    try {
      const document = readJournal(journal, name);
      if (!document) return;
      const controller = this.controllerOf(
        paths,
        { slotCount: document.slots, managedBy: document.managedBy, apiSocket: document.apiSocket },
        document,
      );
      await controller.restore(document);
      this.chassis.set(name, this.linked(controller, paths, endpointOf(paths, document.apiSocket)));
    } catch (error) {
      const known = error instanceof ChassisError ? error : journalError(journal, name, String(error));
      this.unreadable.set(name, known);
      this.options.log(known.message);
      this.options.log(known.suggestion ?? '');
    }
  }

  /** @throws ChassisError where a chassis of that name cannot be made */
  private refuseTaken(name: string): void {
    if (this.stopping) throw new ChassisError('INTERNAL', 'the daemon is stopping');
    const unreadable = this.unreadable.get(name);
    if (unreadable) throw unreadable;
    if (!this.chassis.has(name)) return;
    throw new ChassisError('CHASSIS_EXISTS', `there is a chassis ${name} already`, 'choose another name');
  }

  /** Of a chassis that is yet to begin, with a folder for it. */
  private newController(name: string, made: Made, document?: JournalDocument): ChassisController {
    const paths = new ChassisPaths(this.options.directory, name);
    mkdirSync(paths.directory, { recursive: true, mode: 0o700 });
    return this.controllerOf(paths, made, document);
  }

  /** Where a new chassis does not start, there is none. */
  private async begin(
    controller: ChassisController,
    apiSocket: string | undefined,
    start: () => Promise<void>,
  ): Promise<Chassis> {
    const { name } = controller;
    const paths = new ChassisPaths(this.options.directory, name);
    try {
      await start();
    } catch (error) {
      await controller.close();
      await this.switches.leaveAll(name);
      await removeChassisFiles(paths);
      throw error;
    }
    this.chassis.set(name, this.linked(controller, paths, endpointOf(paths, apiSocket)));
    return controller.describe();
  }

  private controllerOf(
    paths: ChassisPaths,
    { apiSocket, ...made }: Made,
    document?: JournalDocument,
  ): ChassisController {
    const { directory, log, sandbox, deviceEntry: entry } = this.options;
    const { name } = paths;
    const connections = handOverConnections(this.reactor);
    return new ChassisController({
      ...made,
      ...{ name, paths, document, vmm: endpointOf(paths, apiSocket) },
      overlays: join(overlaysDirectory(directory), name),
      startDevices: (hooks) => spawnDeviceProcess({ ...hooks, paths, entry, sandbox, connections }),
      findDevices: (hooks) => findDeviceProcess({ ...hooks, paths, entry, sandbox, connections }),
      cardPorts: this.switches,
      journal: new Journal(paths.journal, name),
      emit: (event) => this.happened.append(name, event),
      log: (message) => log(`${name}: ${message}`),
    });
  }

  private linked(controller: ChassisController, paths: ChassisPaths, vmm: VmmEndpoint): Running {
    const link =
      vmm.type === 'qemu'
        ? new VmmLink(controller, controller.slotCount, vmm.socketPath)
        : new CloudHypervisorLink(controller, vmm.socketPath);
    link.start();
    return { controller, link, paths };
  }

  private async endChassis({ controller, link, paths }: Running): Promise<void> {
    await link.stop();
    await controller.close();
    await this.switches.leaveAll(controller.name);
    // One that did not answer.
    killLeft(paths.deviceStamp);
    await removeChassisFiles(paths);
  }

  /** A chassis whose journal cannot be used. */
  private async giveUp(name: string): Promise<Deleted> {
    const paths = new ChassisPaths(this.options.directory, name);
    killLeft(paths.deviceStamp);
    rmSync(paths.journal, { force: true });
    await removeChassisFiles(paths);
    this.unreadable.delete(name);
    this.happened.append(name, { type: 'chassis.removed' });
    return { kept: [] };
  }

  private async leaveAll(): Promise<void> {
    await this.starting?.catch(() => undefined);
    const { server, state } = this;
    await server?.idle(LEAVE_GRACE_MS);
    server?.interrupt(interrupted());
    // From here on nothing reaches a process or a journal: what is under way is as if the daemon had been killed.
    this.switches.leaveAlone();
    for (const { controller } of this.chassis.values()) controller.leave();
    this.happened.close();
    await Promise.all(Array.from(this.chassis.values(), ({ link }) => link.stop()));
    await server?.stop();
    if (this.chassis.size > 0) this.options.log(goingOn([...this.chassis.keys()]));
    this.reactor.close();
    state?.release();
  }

  private async endAll(): Promise<void> {
    await this.starting?.catch(() => undefined);
    const { server, state } = this;
    // What waits for a VM ends at once, with VMM_GONE, so that its requests are answered before the server goes.
    await Promise.all([...this.chassis.values()].map(({ link }) => link.stop()));
    await this.queue.drained();
    const results = await Promise.allSettled(
      [...this.chassis.values()].map((running) => this.endChassis(running)),
    );
    for (const result of results) {
      if (result.status === 'rejected') this.options.log(`while stopping: ${String(result.reason)}`);
    }
    await this.switches.stop();
    this.happened.close();
    await server?.stop();
    this.reactor.close();
    state?.release();
  }
}

function interrupted(): ChassisError {
  return new ChassisError(
    'NO_DAEMON',
    'the daemon was stopped before this was done',
    'what had begun is gone on with, or undone, when it is started again: chassis serve, then chassis show',
  );
}

function goingOn(names: string[]): string {
  const [what, them] = names.length === 1 ? ['goes', 'it'] : ['go', 'them'];
  return `${names.sort().join(', ')} ${what} on without the daemon; \`chassis serve\` finds ${them} again`;
}

/** As many slots as were asked for, by number or by what they are to hold. @throws ChassisError NO_SLOT_FREE */
function slotsFor({ slots, mounts, vmm = 'qemu' }: CreateChassisRequest): number {
  if (mounts === undefined) return slots ?? DEFAULT_SLOTS;
  return planCapacity(VMM_KINDS[vmm].rules, { mounts, via: 'function', slots }).slots;
}

/** Of a request: see `Made`. @throws ChassisError BAD_REQUEST where there is a socket, but no use for it */
function apiSocketOf({ vmm, apiSocket }: CreateChassisRequest): string | undefined {
  if (vmm === 'cloud-hypervisor') return apiSocket ?? '';
  if (apiSocket === undefined) return undefined;
  throw new ChassisError(
    'BAD_REQUEST',
    'only Cloud Hypervisor is driven at an API socket',
    'add: --vmm cloud-hypervisor',
  );
}

function endpointOf(paths: ChassisPaths, apiSocket: string | undefined): VmmEndpoint {
  if (apiSocket === undefined) return { type: 'qemu', socketPath: paths.qmpSocket };
  return { type: 'cloud-hypervisor', socketPath: apiSocket || paths.cloudHypervisorSocket };
}

function packageVersion(): string {
  for (const up of ['../package.json', '../../package.json']) {
    try {
      const { version } = JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as {
        version: string;
      };
      return version;
    } catch {
      continue;
    }
  }
  return 'unknown';
}
