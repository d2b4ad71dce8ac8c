/** A typed client of the daemon's API: JSON over HTTP on its unix socket. */
import type {
  AddCardRequest,
  AddDiskRequest,
  AttachRequest,
  Captured,
  CaptureRequest,
  Card,
  AuditPage,
  AuditQuery,
  Chassis,
  CreateChassisRequest,
  Deleted,
  DeleteChassisQuery,
  Detached,
  DetachQuery,
  Disk,
  Event,
  EventsQuery,
  ExecInput,
  ExecPage,
  ExecRequest,
  GuestSetup,
  GuestSetupQuery,
  Health,
  Mount,
  MountRequest,
  Plan,
  PlanRequest,
  PolicyChange,
  PolicyView,
  QemuArgs,
  QemuArgsRequest,
  RemoveCardQuery,
  RemoveDiskQuery,
  ResizeDiskRequest,
  RestoreRequest,
  ReviewPage,
  ReviewRequest,
  Saved,
  SaveRequest,
  Signal,
  TopologyNode,
  Upgraded,
} from './api.js';
import { DaemonConnection } from './daemon-connection.js';
import type { AnswerOf } from './routes.js';
import { apiSocketPath, defaultStateDirectory } from './state-directory.js';

/** What of a request has a default may be left out. */
export type AttachOptions = Partial<Omit<AttachRequest, 'mounts'>> & {
  mounts: (Omit<MountRequest, 'readOnly'> & Partial<Pick<MountRequest, 'readOnly'>>)[];
};

/** What of a disk has a default may be left out. */
export type AddDiskOptions = Partial<AddDiskRequest> & Pick<AddDiskRequest, 'name' | 'source'>;

/** What of a card has a default may be left out. */
export type AddCardOptions = Partial<AddCardRequest> & Pick<AddCardRequest, 'name' | 'network'>;

export interface ChassisClientOptions {
  /** The daemon's state directory; its default (`defaultStateDirectory`) when absent. */
  readonly directory?: string;
}

/** Each method rejects with ChassisError: the daemon's own, or DaemonNotRunningError where there is none. */
export class ChassisClient {
  private readonly connection: DaemonConnection;

  constructor(options: ChassisClientOptions = {}) {
    this.connection = new DaemonConnection(apiSocketPath(options.directory ?? defaultStateDirectory()));
  }

  health(): Promise<Health> {
    return this.connection.call('health', {});
  }

  list(): Promise<Chassis[]> {
    return this.connection.call('listChassis', {});
  }

  create(name: string, options: Omit<CreateChassisRequest, 'name'> = {}): Promise<Chassis> {
    return this.connection.call('createChassis', {}, { name, ...options });
  }

  get(name: string): Promise<Chassis> {
    return this.connection.call('getChassis', { name });
  }

  /** Answers the changes of guests that are kept. */
  delete(name: string, options: Partial<DeleteChassisQuery> = {}): Promise<Deleted> {
    return this.connection.call('deleteChassis', { name }, options);
  }

  /** Resolves once the VM has the mounts, or at once, parked, where no VM is connected. */
  attach(name: string, options: AttachOptions): Promise<Mount[]> {
    return this.connection.call('attach', { name }, options);
  }

  /** Resolves once the VM let go; answers the tags that went, more than one where `slot` was given. */
  detach(name: string, tag: string, options: Partial<DetachQuery> = {}): Promise<Detached> {
    return this.connection.call('detach', { name, tag }, options);
  }

  policy(name: string, tag: string): Promise<PolicyView> {
    return this.connection.call('getPolicy', { name, tag });
  }

  /** Resolves once the guest's next operation passes under the new one. */
  changePolicy(name: string, tag: string, change: Partial<PolicyChange>): Promise<PolicyView> {
    return this.connection.call('changePolicy', { name, tag }, change);
  }

  /** Takes a mount from its guest for good. */
  revoke(name: string, tag: string): Promise<PolicyView> {
    return this.connection.call('revoke', { name, tag });
  }

  /** What was refused of late; with `waitMs`, what is next. */
  audit(name: string, tag: string, options: Partial<AuditQuery> = {}): Promise<AuditPage> {
    return this.connection.call('audit', { name, tag }, options);
  }

  /** Reviews what a guest changed in an overlay, page by page. Whoever stops asking stops it; what was done by then stays done. */
  async *review(name: string, tag: string, request: Partial<ReviewRequest>): AsyncGenerator<ReviewPage> {
    yield* this.connection.lines('review', { name, tag }, request, ({ done }) => done);
  }

  /**
   * Runs a command in the guest: first its number, then what it prints, and its exit code with the last. Whoever stops asking ends it.
   */
  async *exec(
    name: string,
    request: Partial<ExecRequest> & Pick<ExecRequest, 'command'>,
  ): AsyncGenerator<ExecPage> {
    yield* this.connection.lines('exec', { name }, request, ({ exitCode }) => exitCode !== undefined);
  }

  /** Resolves once there was room for it. */
  async execInput(name: string, command: number, input: Partial<ExecInput>): Promise<void> {
    await this.connection.call('execInput', { name, command: String(command) }, input);
  }

  /** To all processes of the command. */
  async execSignal(name: string, command: number, signal: Signal): Promise<void> {
    await this.connection.call('execSignal', { name, command: String(command) }, { signal });
  }

  /**
   * What happens, from now on or from what `since` names: begun once this resolves, so that what is listed after it lacks nothing that is not
   * told. Whoever stops asking, or aborts, hears no more; it throws NO_DAEMON where the daemon ends. `since` the last event's id goes on then.
   */
  events(query: EventsQuery = {}, signal?: AbortSignal): Promise<AsyncGenerator<Event>> {
    return this.connection.events(query, signal);
  }

  /** The mounts of one chassis, or of all. */
  mounts(name?: string): Promise<Mount[]> {
    return name === undefined
      ? this.connection.call('listMounts', {})
      : this.connection.call('listMountsOfChassis', { name });
  }

  /** Resolves once the VM has the disk, or at once, parked, where no VM is connected. */
  addDisk(name: string, options: AddDiskOptions): Promise<Disk> {
    return this.connection.call('addDisk', { name }, options);
  }

  /** Resolves once the guest is told. */
  resizeDisk(
    name: string,
    disk: string,
    options: Partial<ResizeDiskRequest> & Pick<ResizeDiskRequest, 'sizeBytes'>,
  ): Promise<Disk> {
    return this.connection.call('resizeDisk', { name, disk }, options);
  }

  /** Resolves once the VM let go. */
  async removeDisk(name: string, disk: string, options: Partial<RemoveDiskQuery> = {}): Promise<void> {
    await this.connection.call('removeDisk', { name, disk }, options);
  }

  /** The disks of one chassis, or of all. */
  disks(name?: string): Promise<Disk[]> {
    return name === undefined
      ? this.connection.call('listDisks', {})
      : this.connection.call('listDisksOfChassis', { name });
  }

  /** Resolves once the VM has the card, or at once, parked, where no VM is connected. */
  addCard(name: string, options: AddCardOptions): Promise<Card> {
    return this.connection.call('addCard', { name }, options);
  }

  /** Pulls a card's cable, or plugs it in again. */
  setLink(name: string, card: string, up: boolean): Promise<Card> {
    return this.connection.call('setLink', { name, card }, { up });
  }

  /** Resolves once the capture has ended; it ends with this program, too. */
  capture(
    name: string,
    card: string,
    options: Partial<CaptureRequest> & Pick<CaptureRequest, 'path'>,
  ): Promise<Captured> {
    return this.connection.call('capture', { name, card }, options);
  }

  /** Ends the capture that is under way, if there is one. */
  async endCapture(name: string, card: string): Promise<void> {
    await this.connection.call('endCapture', { name, card });
  }

  /** Resolves once the VM let go. */
  async removeCard(name: string, card: string, options: Partial<RemoveCardQuery> = {}): Promise<void> {
    await this.connection.call('removeCard', { name, card }, options);
  }

  /** The network cards of one chassis, or of all. */
  cards(name?: string): Promise<Card[]> {
    return name === undefined
      ? this.connection.call('listCards', {})
      : this.connection.call('listCardsOfChassis', { name });
  }

  /** What a guest is to be given, so that it mounts what is wanted by itself. */
  guestSetup(
    format: GuestSetupQuery['format'],
    options: Partial<Pick<GuestSetupQuery, 'exec'>> = {},
  ): Promise<GuestSetup> {
    return this.connection.call('guestSetup', {}, { format, ...options });
  }

  /** What mounts would need, and what would be left; nothing is changed. */
  plan(request: Partial<PlanRequest> & Pick<PlanRequest, 'mounts'>): Promise<Plan> {
    return this.connection.call('plan', {}, request);
  }

  /** The hierarchy, with what sits where. */
  tree(name: string): Promise<TopologyNode> {
    return this.connection.call('tree', { name });
  }

  /** Starts a lost device process over. */
  restart(name: string): Promise<Chassis> {
    return this.connection.call('restart', { name });
  }

  /** Replaces a running device process by a new one of the installed version. */
  upgrade(name: string): Promise<Upgraded> {
    return this.connection.call('upgrade', { name });
  }

  /** Writes a chassis whose VM is paused, or off, to a file of the daemon's user. */
  save(name: string, request: Partial<SaveRequest> & Pick<SaveRequest, 'path'>): Promise<Saved> {
    return this.connection.call('save', { name }, request);
  }

  /** Makes a chassis of such a file. */
  restoreSaved(request: RestoreRequest): Promise<Chassis> {
    return this.connection.call('restore', {}, request);
  }

  qemuArgs(name: string, options: Partial<QemuArgsRequest> = {}): Promise<QemuArgs> {
    return this.connection.call('qemuArgs', { name }, options);
  }

  /** Asks the daemon to stop; it answers before it does. */
  async shutdown(): Promise<void> {
    await this.connection.call('shutdown', {});
  }

  /** What crossed all devices, in Prometheus's text format. */
  metrics(): Promise<string> {
    return this.connection.text('metrics', {});
  }

  /** Describes the API of this daemon: an OpenAPI 3.1 document. */
  openapi(): Promise<AnswerOf<'openapi'>> {
    return this.connection.call('openapi', {});
  }
}
