/** The daemon's end of a device process: starts it or finds it, asks it, and notices when it dies. */
import { fileURLToPath } from 'node:url';
import type { TSchema, Static } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import {
  AuditPage,
  Captured,
  ChassisError,
  ExecPage,
  Lost,
  ReviewPage,
  type InForce,
} from '../control/api.js';
import type { ChassisPaths } from '../control/state-directory.js';
import type { ConnectionKeeper } from '../connection-keeper.js';
import type { LogSettings } from '../logging/log.js';
import { explainedSandbox, isConfined } from '../sandbox/in-force.js';
import { Sandbox, SandboxMode } from '../sandbox/sandbox.js';
import { SupervisedProcess, type SupervisedProcessOptions } from '../supervised-process.js';
import type { HandOverConnections } from './hand-over/connections.js';
import { Provisions } from './provisions.js';
import {
  ChildList,
  CHILDREN_PAGE,
  CommandRef,
  InputTaken,
  Kept,
  Report,
  ReviewNumber,
  Status,
  type AuditSpec,
  type ChildSpec,
  type ChildStatus,
  type CommandInput,
  type CommandSignal,
  type CommandSpec,
  type CaptureOrder,
  type DiskResize,
  type FoundFunction,
  HandedOver,
  type FunctionSpec,
  Inventory,
  Seated,
  type FunctionStatus,
  type LinkChange,
  type MountRef,
  type PolicySpec,
  type ReviewSpec,
  type SeatRemoval,
  type SeatSpec,
  type SourceChange,
  StatesLoaded,
} from './protocol.js';

/** A running device process, as the manager sees it. Calls reject with DEVICE_PROCESS_LOST once it is gone. */
export interface DeviceHost {
  readonly pid: number;
  /** What confines it now. */
  readonly sandbox?: InForce | undefined;
  /** Answers the descriptors of files that are to outlive the process, by what it calls them. */
  addFunction(spec: FunctionSpec): Promise<Kept['keep']>;
  /** Has a function go on with the connection that the last process had: the keeper has given it. Where it cannot, its VMM sees that it ends. */
  goOn(name: string): Promise<void>;
  /** Resolves also where there is no such function. */
  removeFunction(name: string): Promise<void>;
  /** @throws ChassisError MOUNT_BUSY while the guest has mounted what is there, or as the source cannot be opened */
  setSource(change: SourceChange): Promise<void>;
  /** @throws ChassisError SIZE_INVALID, or NO_DISK where it is gone */
  resizeDisk(change: DiskResize): Promise<void>;
  /** @throws ChassisError NO_CARD where it is gone */
  setLink(change: LinkChange): Promise<void>;
  /** Resolves once the capture has ended. @throws ChassisError NO_CARD, SOURCE_IN_USE or SOURCE_UNREADABLE */
  capture(order: CaptureOrder): Promise<Captured>;
  endCapture(fn: string): Promise<void>;
  /** @throws ChassisError TAG_INVALID, TAG_IN_USE, or as the source cannot be opened */
  addChild(child: ChildSpec): Promise<void>;
  /** Resolves once the guest's helper has mounted it. @throws ChassisError GUEST_REFUSED or GUEST_TIMEOUT with the reason */
  childMounted(fn: string, name: string, timeoutMs: number): Promise<void>;
  /** Resolves once the guest's helper has let it go. @throws ChassisError MOUNT_BUSY, naming who holds it, or GUEST_TIMEOUT */
  releaseChild(fn: string, name: string, timeoutMs: number): Promise<void>;
  /** Takes it away, in use or not; answers what the guest had of it. Where there is none, nothing. */
  removeChild(fn: string, name: string): Promise<Lost>;
  children(fn: string): Promise<ChildStatus[]>;
  /** Answers the queue. @throws ChassisError NO_SLOT_FREE where none of those asked for is free, or as the source cannot be opened */
  addSeat(seat: SeatSpec): Promise<number>;
  /** Answers what the guest had of it. Where there is none, nothing. @throws ChassisError MOUNT_BUSY, unless forced */
  removeSeat(removal: SeatRemoval): Promise<Lost>;
  /** @throws ChassisError NO_MOUNT */
  setPolicy(policy: PolicySpec): Promise<void>;
  /** @throws ChassisError NO_MOUNT */
  revoke(mount: MountRef): Promise<void>;
  /** Resolves once there is a page, or the time is over. @throws ChassisError NO_MOUNT */
  audit(query: AuditSpec): Promise<AuditPage>;
  /** Answers its number. @throws ChassisError NO_MOUNT, BAD_REQUEST, SOURCE_IN_USE, or as the overlay cannot be opened */
  startReview(spec: ReviewSpec): Promise<number>;
  /** Resolves after half a second at most. @throws ChassisError NO_CHANGE, REVIEW_STOPPED */
  nextReview(review: number): Promise<ReviewPage>;
  /** Resolves once it has stopped. */
  stopReview(review: number): Promise<void>;
  /** Answers its number. @throws ChassisError COMMANDS_OFF, CHASSIS_IN_USE, BAD_REQUEST */
  startCommand(spec: CommandSpec): Promise<number>;
  /** Resolves after half a second at most. @throws ChassisError COMMAND_LOST, GUEST_TIMEOUT, NO_COMMAND */
  commandOutput(command: number): Promise<ExecPage>;
  /** False where there was no room for it in half a second. @throws ChassisError NO_COMMAND */
  commandInput(input: CommandInput): Promise<boolean>;
  /** @throws ChassisError NO_COMMAND */
  signalCommand(signal: CommandSignal): Promise<void>;
  /** Resolves also where there is no such command. */
  endCommand(command: number): Promise<void>;
  /** Has its connections kept from now on. @throws Error where it cannot be reached that way; it goes on all the same */
  keep(keeper: ConnectionKeeper): Promise<void>;
  status(): Promise<FunctionStatus[]>;
  /** The functions that it has, whoever had them made. */
  inventory(): Promise<FoundFunction[]>;
  /** Writes the states of all functions to a new file, and changes nothing. @throws ChassisError SAVE_REFUSED */
  saveStates(path: string): Promise<void>;
  /** Has all functions go on from such a file. Answers what was in the way: then they are to be thrown away. */
  loadStates(path: string): Promise<string[]>;
  /**
   * Starts another process, which goes on with all functions, and answers it: this one ends then, and its hooks are the other's.
   * `directories` are those that its mounts show, and keep changes in.
   * @throws ChassisError UPGRADE_REFUSED or DEVICE_PROCESS_LOST: where this one lives, it serves as before
   */
  replace(directories?: readonly string[]): Promise<Replaced>;
  /** Lets it live on without this daemon. `onLost` is not called. */
  leave(): void;
  /** Ends it in good order, or by force if that takes too long. `onLost` is not called. */
  stop(): Promise<void>;
}

export interface Replaced {
  readonly host: DeviceHost;
  /** How long nobody served, in milliseconds. */
  readonly pausedMs: number;
}

export interface DeviceHostHooks {
  /** It died by itself. Called once. */
  readonly onLost: (reason: string) => void;
  readonly onConnected: (name: string) => void;
  readonly onDisconnected: (name: string) => void;
  /** The guest's helper began to read what a function's tree tells, or stopped. */
  readonly onHelper: (name: string, there: boolean) => void;
  /** The guest's helper said something new of a mount in a function's tree. */
  readonly onChild: (name: string, child: Pick<ChildStatus, 'name' | 'state' | 'detail'>) => void;
}

export interface SpawnOptions extends DeviceHostHooks {
  readonly paths: ChassisPaths;
  /** The executable's script; the one beside this file when absent. */
  readonly entry?: string;
  readonly readyTimeoutMs?: number;
  /** Without one, it sees all of the host. */
  readonly sandbox?: Sandbox | undefined;
  /** How it logs; in text, at `info`, without them. */
  readonly logSettings?: LogSettings | undefined;
  /** How it is reached by a socket that carries descriptors. Without, nothing is kept of its connections. */
  readonly connections?: HandOverConnections | undefined;
}

const READY_TIMEOUT_MS = 20_000;
/** Beyond what a guest may take where a request waits for one: then the process hangs. */
const REQUEST_TIMEOUT_MS = 10_000;
/** A smaller disk waits for what is under way on it, which waits for a server that is lost as long as the NBD client does. */
const RESIZE_TIMEOUT_MS = 60_000;
/** A commit stops between two files, of which one may be large. */
const STOP_REVIEW_TIMEOUT_MS = 600_000;
/** As long as a function's connection is to come, and more. */
const GO_ON_TIMEOUT_MS = 30_000;
/** A million fids take ten seconds, and a disk may be slow. */
const STATES_TIMEOUT_MS = 120_000;
/** All that the two may take to get ready, and more: nobody waits for that but who asked. */
const HAND_OVER_TIMEOUT_MS = 90_000;
/** Of the first processes whose connections can be kept: see PROTOCOL_REVISION. */
const KEEP_REVISION = 1;
const DEFAULT_ENTRY = fileURLToPath(new URL('./entry.js', import.meta.url));

/** Starts one, in place of any that is left there. @throws ChassisError DEVICE_PROCESS_LOST where it does not come up */
export async function spawnDeviceProcess(options: SpawnOptions): Promise<DeviceHost> {
  const child = new DeviceChild(options);
  child.provisions.begin();
  await child.begin((supervision, timeoutMs) => SupervisedProcess.start(supervision, timeoutMs));
  return child;
}

/**
 * The one that an earlier daemon started; undefined where it is gone.
 * @throws ChassisError DEVICE_PROCESS_LOST where it lives, but does not answer as it should; it is left alone then
 */
export async function findDeviceProcess(options: SpawnOptions): Promise<DeviceHost | undefined> {
  const child = new DeviceChild(options);
  const found = await child.begin((supervision, timeoutMs) => SupervisedProcess.find(supervision, timeoutMs));
  return found ? child : undefined;
}

class DeviceChild implements DeviceHost {
  private readonly options: SpawnOptions;
  private process!: SupervisedProcess;
  readonly provisions: Provisions;
  /** While it hands over, its end is no loss until it is known which of the two serves. */
  private handingOver = false;
  /** The one that it hands over to, meanwhile. */
  private next: DeviceChild | undefined;
  private lostReason: string | undefined;

  constructor(options: SpawnOptions, provisions?: Provisions) {
    const { paths, sandbox = new Sandbox(SandboxMode.off) } = options;
    this.options = options;
    this.provisions = provisions ?? new Provisions(paths, (path) => sandbox.mounts.clone(path));
  }

  /** False where there is no such process. */
  async begin<Found extends SupervisedProcess | undefined>(
    how: (supervision: SupervisedProcessOptions, timeoutMs: number) => Promise<Found>,
    place: Partial<SupervisedProcessOptions> = {},
  ): Promise<boolean> {
    const timeoutMs = this.options.readyTimeoutMs ?? READY_TIMEOUT_MS;
    const process = await how({ ...this.supervision(), ...place }, timeoutMs);
    if (!process) return false;
    this.process = process;
    this.provisions.controlSocket = place.socketPath ?? this.options.paths.deviceSocket;
    this.provisions.confined = isConfined(process.pid);
    // Of one that a daemon before this one started, too, it is told why it has none.
    if (!this.provisions.confined) await this.options.sandbox?.problem();
    return true;
  }

  private supervision(): SupervisedProcessOptions {
    const { paths, entry = DEFAULT_ENTRY, sandbox, logSettings } = this.options;
    return {
      entry,
      sandbox: sandbox && { sandbox, folders: [paths.directory] },
      ...{ socketPath: paths.deviceSocket, logPath: paths.deviceLog, stampPath: paths.deviceStamp },
      logSettings,
      lost: lostError,
      onLost: (reason) => this.lost(reason),
      onEvent: (message) => this.reported(decode(Report, message)),
    };
  }

  private reported(report: Report): void {
    const { onConnected, onDisconnected, onHelper, onChild } = this.options;
    switch (report.event) {
      case 'connected':
        return onConnected(report.function);
      case 'disconnected':
        return onDisconnected(report.function);
      case 'unpeered':
        return void this.provisions.connectAgain(report.function);
      case 'helper':
        return onHelper(report.function, report.there);
      case 'child':
        return onChild(report.function, report);
      case 'unbegun':
        return void this.next?.stop();
    }
  }

  private lost(reason: string): void {
    this.lostReason = reason;
    if (!this.handingOver) this.options.onLost(reason);
  }

  get pid(): number {
    return this.process.pid;
  }

  get sandbox(): InForce | undefined {
    return explainedSandbox(this.pid, this.options.sandbox);
  }

  async addFunction(spec: FunctionSpec): Promise<Kept['keep']> {
    return decode(Kept, await this.ask('addFunction', spec)).keep;
  }

  async goOn(name: string): Promise<void> {
    await this.ask('goOn', { function: name }, GO_ON_TIMEOUT_MS);
  }

  async removeFunction(name: string): Promise<void> {
    await this.ask('removeFunction', { function: name });
  }

  async setSource(change: SourceChange): Promise<void> {
    await this.ask('setSource', change);
  }

  async resizeDisk(change: DiskResize): Promise<void> {
    await this.ask('resizeDisk', change, RESIZE_TIMEOUT_MS);
  }

  async setLink(change: LinkChange): Promise<void> {
    await this.ask('setLink', change);
  }

  async capture(order: CaptureOrder): Promise<Captured> {
    return decode(Captured, await this.ask('capture', order, order.capture.forMs + REQUEST_TIMEOUT_MS));
  }

  async endCapture(fn: string): Promise<void> {
    await this.ask('endCapture', { function: fn });
  }

  async addChild(child: ChildSpec): Promise<void> {
    await this.ask('addChild', child);
  }

  async childMounted(fn: string, name: string, timeoutMs: number): Promise<void> {
    await this.ask('childMounted', { function: fn, name, timeoutMs }, timeoutMs + REQUEST_TIMEOUT_MS);
  }

  async releaseChild(fn: string, name: string, timeoutMs: number): Promise<void> {
    await this.ask('releaseChild', { function: fn, name, timeoutMs }, timeoutMs + REQUEST_TIMEOUT_MS);
  }

  async removeChild(fn: string, name: string): Promise<Lost> {
    return decode(Lost, await this.ask('removeChild', { function: fn, name }));
  }

  async children(fn: string): Promise<ChildStatus[]> {
    const all: ChildStatus[] = [];
    for (;;) {
      const { children } = decode(ChildList, await this.ask('children', { function: fn, from: all.length }));
      all.push(...children);
      if (children.length < CHILDREN_PAGE) return all;
    }
  }

  async addSeat(seat: SeatSpec): Promise<number> {
    return decode(Seated, await this.ask('addSeat', seat)).queue;
  }

  async removeSeat(removal: SeatRemoval): Promise<Lost> {
    return decode(Lost, await this.ask('removeSeat', removal));
  }

  async setPolicy(policy: PolicySpec): Promise<void> {
    await this.ask('setPolicy', policy);
  }

  async revoke(mount: MountRef): Promise<void> {
    await this.ask('revoke', mount);
  }

  async audit(query: AuditSpec): Promise<AuditPage> {
    return decode(AuditPage, await this.ask('audit', query, query.waitMs + REQUEST_TIMEOUT_MS));
  }

  async startReview(spec: ReviewSpec): Promise<number> {
    return decode(ReviewNumber, await this.ask('startReview', spec)).review;
  }

  async nextReview(review: number): Promise<ReviewPage> {
    return decode(ReviewPage, await this.ask('nextReview', { review }));
  }

  async stopReview(review: number): Promise<void> {
    await this.ask('stopReview', { review }, STOP_REVIEW_TIMEOUT_MS);
  }

  async startCommand(spec: CommandSpec): Promise<number> {
    return decode(CommandRef, await this.ask('startCommand', spec)).command;
  }

  async commandOutput(command: number): Promise<ExecPage> {
    return decode(ExecPage, await this.ask('commandOutput', { command }));
  }

  async commandInput(input: CommandInput): Promise<boolean> {
    return decode(InputTaken, await this.ask('commandInput', input)).taken;
  }

  async signalCommand(signal: CommandSignal): Promise<void> {
    await this.ask('signalCommand', signal);
  }

  async endCommand(command: number): Promise<void> {
    await this.ask('endCommand', { command });
  }

  async keep(keeper: ConnectionKeeper): Promise<void> {
    const { connections, paths } = this.options;
    if (connections === undefined || this.process.revision < KEEP_REVISION) return;
    const { keeperSocket: socketPath } = paths;
    const heard = connections.accept(socketPath).then((channel) => keeper.listen(channel));
    await Promise.all([heard, this.ask('keep', { socketPath })]);
  }

  async status(): Promise<FunctionStatus[]> {
    return decode(Status, await this.ask('status', {})).functions;
  }

  async inventory(): Promise<FoundFunction[]> {
    return decode(Inventory, await this.ask('inventory', {})).functions;
  }

  async saveStates(path: string): Promise<void> {
    await this.ask('saveStates', { path }, STATES_TIMEOUT_MS);
  }

  async loadStates(path: string): Promise<string[]> {
    return decode(StatesLoaded, await this.ask('loadStates', { path }, STATES_TIMEOUT_MS)).problems;
  }

  async replace(directories: readonly string[] = []): Promise<Replaced> {
    const next = new DeviceChild(this.options, this.provisions.forNext());
    const { nextSocket: socketPath, nextStamp: stampPath } = this.options.paths;
    const place = { socketPath, stampPath };
    await next.begin((supervision, timeoutMs) => SupervisedProcess.start(supervision, timeoutMs), place);
    this.handingOver = true;
    this.next = next;
    try {
      const pausedMs = await this.handOverTo(next, directories);
      this.process.leave('it was replaced by another one: try again');
      return { host: next, pausedMs };
    } catch (error) {
      this.handingOver = false;
      this.next = undefined;
      await next.stop();
      if (this.lostReason !== undefined) this.options.onLost(this.lostReason);
      throw error;
    }
  }

  /** Answers how long nobody served. What the new process says counts: the old one ends, and may not get to say anything. */
  private async handOverTo(next: DeviceChild, directories: readonly string[]): Promise<number> {
    const { deviceSocket, deviceStamp, handOverSocket: socketPath } = this.options.paths;
    const place = { socket: deviceSocket, stamp: deviceStamp };
    const grant = await next.provisions.giveDirectories(directories);
    const taken = next.process.ask('takeOver', { socketPath, place }, HAND_OVER_TIMEOUT_MS, grant);
    const handed = this.ask('handOver', { socketPath, pid: next.pid }, HAND_OVER_TIMEOUT_MS);
    const [theirs, ours] = await Promise.allSettled([taken, handed]);
    // Where the old process says why, that is why.
    if (theirs.status === 'rejected') throw ours.status === 'rejected' ? ours.reason : theirs.reason;
    next.process.movedTo({ socketPath: deviceSocket, stampPath: deviceStamp });
    next.provisions.controlSocket = deviceSocket;
    return ours.status === 'fulfilled' ? decode(HandedOver, ours.value).pausedMs : 0;
  }

  leave(): void {
    this.process.leave();
  }

  stop(): Promise<void> {
    return this.process.stop();
  }

  private async ask(method: string, params: unknown, timeoutMs = REQUEST_TIMEOUT_MS): Promise<unknown> {
    const grant = await taken(this.provisions.give(method, params));
    return this.process.ask(method, params, timeoutMs, grant);
  }
}

async function taken(grant: Promise<number | undefined>): Promise<number | undefined> {
  try {
    return await grant;
  } catch (error) {
    if (error instanceof ChassisError) throw error;
    throw lostError(`what it is to open could not be given to it: ${String(error)}`);
  }
}

function decode<T extends TSchema>(schema: T, message: unknown): Static<T> {
  if (!Value.Check(schema, message))
    throw new TypeError('the device process sent what is not in its protocol');
  return message;
}

function lostError(reason: string): ChassisError {
  return new ChassisError(
    'DEVICE_PROCESS_LOST',
    `the device process is lost: ${reason}`,
    'start it over with `chassis restart`',
  );
}
