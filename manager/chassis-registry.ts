/** The chassis of a daemon, by name: making them, finding again what an earlier daemon kept, and ending them. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Reactor } from '../host/index.js';
import { planCapacity } from './chassis/capacity.js';
import { CloudHypervisorLink } from './cloud-hypervisor-link.js';
import {
  ChassisError,
  type Chassis,
  type CreateChassisRequest,
  type Deleted,
  type DeleteChassisQuery,
  type EventBody,
} from './control/api.js';
import { ChassisPaths, overlaysDirectory } from './control/state-directory.js';
import type { ControllerOptions } from './chassis-parts.js';
import { ChassisController } from './controller.js';
import { handOverConnections } from './device-process/hand-over/connections.js';
import { findDeviceProcess, spawnDeviceProcess } from './device-process/supervisor.js';
import type { EventLog } from './events/event-log.js';
import type { JournalDocument } from './journal-format.js';
import { Journal, journalError, readJournal } from './journal.js';
import { chassisFolders, killLeft, removeChassisFiles } from './leftovers.js';
import type { Log } from './logging/log.js';
import type { Sandbox } from './sandbox/sandbox.js';
import type { SavedChassis } from './saved-state/saved-file.js';
import { SerialQueue } from './serial-queue.js';
import type { Switches } from './switches.js';
import { VmmLink } from './vmm-link.js';
import type { VmmEndpoint } from './vmm/driver.js';
import { VMM_KINDS } from './vmm/kinds.js';

export interface ChassisRegistryOptions {
  /** The daemon's state directory. */
  readonly directory: string;
  readonly switches: Switches;
  readonly happened: EventLog;
  /** Of what comes with descriptors, from device processes. */
  readonly reactor: Reactor;
  readonly sandbox: Sandbox | undefined;
  /** The device process's script, where it is not beside the daemon's own. */
  readonly deviceEntry: string | undefined;
  readonly log: Log;
}

const DEFAULT_SLOTS = 8;

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

export class ChassisRegistry {
  private readonly options: ChassisRegistryOptions;
  private readonly running = new Map<string, Running>();
  /** Those whose journals cannot be used, by name. */
  private readonly unreadable = new Map<string, ChassisError>();
  /** Making and deleting chassis, one at a time. */
  private readonly queue = new SerialQueue();
  private closing = false;

  constructor(options: ChassisRegistryOptions) {
    this.options = options;
  }

  get names(): string[] {
    return [...this.running.keys()].sort();
  }

  /** By name. */
  get all(): ChassisController[] {
    return this.names.map((name) => this.find(name));
  }

  /** @throws ChassisError NO_CHASSIS, or JOURNAL_UNREADABLE where it cannot be brought back */
  find(name: string): ChassisController {
    return this.require(name).controller;
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

  delete(name: string, query: DeleteChassisQuery): Promise<Deleted> {
    return this.queue.run(async () => {
      if (query.force && this.unreadable.has(name)) return this.giveUp(name);
      const running = this.require(name);
      const { controller } = running;
      if (controller.tags.length > 0 && !query.force) {
        throw new ChassisError(
          'CHASSIS_IN_USE',
          `chassis ${name} is not empty: ${controller.tags.join(', ')}`,
          'detach mounts and remove disks and network cards first, or use --force',
        );
      }
      const kept = await controller.detachAll(query.timeoutMs);
      this.running.delete(name);
      await this.endChassis(running);
      return { kept };
    });
  }

  /** A chassis of what was saved. @throws ChassisError as `SavedChassisFiles.put` */
  createSaved(saved: SavedChassis): Promise<Chassis> {
    return this.queue.run(async () => {
      const { document } = saved;
      const { chassis: name, slots: slotCount, managedBy, apiSocket } = document;
      this.refuseTaken(name);
      const controller = this.newController(name, { slotCount, managedBy, apiSocket }, document);
      return this.begin(controller, apiSocket, () => controller.startSaved(saved));
    });
  }

  /** Brings back what an earlier daemon kept. */
  async restoreAll(): Promise<void> {
    const { directory, switches, log } = this.options;
    await switches.find();
    await Promise.all(chassisFolders(directory).map((paths) => this.restore(paths)));
    await switches
      .settle()
      .catch((error: unknown) => log.warn('ports of switches that nobody has stay', error));
  }

  /** No further chassis are made. */
  refuseNew(): void {
    this.closing = true;
  }

  /** All go on without the daemon. */
  async leaveAll(): Promise<void> {
    const all = [...this.running.values()];
    for (const { controller } of all) controller.leave();
    await Promise.all(all.map(({ link }) => link.stop()));
    if (all.length > 0) this.options.log.info(goingOn(this.names));
  }

  /** All end. */
  async endAll(): Promise<void> {
    const all = () => [...this.running.values()];
    // What waits for a VM ends at once, with VMM_GONE, so that its requests are answered before the server goes.
    await Promise.all(all().map(({ link }) => link.stop()));
    await this.queue.drained();
    for (const result of await Promise.allSettled(all().map((running) => this.endChassis(running)))) {
      if (result.status === 'rejected') this.options.log.warn('not ended as it should', result.reason);
    }
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
      this.running.set(name, this.linked(controller, paths, endpointOf(paths, document.apiSocket)));
    } catch (error) {
      const known = error instanceof ChassisError ? error : journalError(journal, name, String(error));
      this.unreadable.set(name, known);
      this.options.log.with({ chassis: name }).error('left alone', known);
    }
  }

  private require(name: string): Running {
    const running = this.running.get(name);
    if (running) return running;
    const unreadable = this.unreadable.get(name);
    if (unreadable) throw unreadable;
    const { names } = this;
    const suggestion =
      names.length > 0 ? `there are: ${names.join(', ')}` : `make one with: chassis create ${name}`;
    throw new ChassisError('NO_CHASSIS', `there is no chassis ${JSON.stringify(name)}`, suggestion);
  }

  /** @throws ChassisError where a chassis of that name cannot be made */
  private refuseTaken(name: string): void {
    if (this.closing) throw new ChassisError('INTERNAL', 'the daemon is stopping');
    const unreadable = this.unreadable.get(name);
    if (unreadable) throw unreadable;
    if (!this.running.has(name)) return;
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
      await this.options.switches.leaveAll(name);
      await removeChassisFiles(paths);
      throw error;
    }
    this.running.set(name, this.linked(controller, paths, endpointOf(paths, apiSocket)));
    return controller.describe();
  }

  private controllerOf(
    paths: ChassisPaths,
    { apiSocket, ...made }: Made,
    document?: JournalDocument,
  ): ChassisController {
    const { directory, sandbox, deviceEntry: entry, switches, reactor } = this.options;
    const { name } = paths;
    const log = this.options.log.with({ chassis: name });
    const connections = handOverConnections(reactor);
    const process = { paths, entry, sandbox, connections, logSettings: log.settings };
    return new ChassisController({
      ...made,
      ...{ name, paths, document, vmm: endpointOf(paths, apiSocket) },
      overlays: join(overlaysDirectory(directory), name),
      startDevices: (hooks) => spawnDeviceProcess({ ...hooks, ...process }),
      findDevices: (hooks) => findDeviceProcess({ ...hooks, ...process }),
      cardPorts: switches,
      journal: new Journal(paths.journal, name),
      emit: (event) => this.happen(name, event),
      log,
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
    await this.options.switches.leaveAll(controller.name);
    // One that did not answer.
    killLeft(paths.deviceStamp);
    await removeChassisFiles(paths);
  }

  private happen(chassis: string, event: EventBody): void {
    const { happened, log } = this.options;
    happened.append(chassis, event);
    log.with({ chassis, event }).debug(event.type);
  }

  /** A chassis whose journal cannot be used. */
  private async giveUp(name: string): Promise<Deleted> {
    const paths = new ChassisPaths(this.options.directory, name);
    killLeft(paths.deviceStamp);
    rmSync(paths.journal, { force: true });
    await removeChassisFiles(paths);
    this.unreadable.delete(name);
    this.happen(name, { type: 'chassis.removed' });
    return { kept: [] };
  }
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

function goingOn(names: string[]): string {
  const [what, them] = names.length === 1 ? ['goes', 'it'] : ['go', 'them'];
  return `${names.join(', ')} ${what} on without the daemon; \`chassis serve\` finds ${them} again`;
}
