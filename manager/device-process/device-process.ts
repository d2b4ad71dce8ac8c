/** The functions that one device process serves, and the requests of its daemon. How a function is made is the factory's. */
import { Value } from '@sinclair/typebox/value';
import {
  ChassisError,
  type Captured,
  type FunctionCounters,
  type FunctionDriver,
  type Lost,
  type MountTerms,
  type Shown,
} from '../control/api.js';
import type { Log } from '../logging/log.js';
import type { FileState } from '../ports/vhost-user/file-state.js';
import { answerOf, type Reply } from '../process-protocol.js';
import { SerialQueue } from '../serial-queue.js';
import { loadStates, saveStates, type NamedFunction } from './function-states.js';
import { withGrant, type Grants } from './grant-channel.js';
import type { KeptConnection } from '../ports/keeping/told.js';
import type { HandedOver } from './hand-over/giving.js';
import type { HandOvers } from './hand-over/hand-overs.js';
import type { Given, MovableFunction } from './hand-over/movable.js';
import type { KeeperLink } from './keeping/keeper-link.js';
import type { ServedCard } from './served-card.js';
import { ServedCommands } from './served-commands.js';
import { Reviews, type OpenOverlay } from './reviews.js';
import type { ServedMount } from './served-mount.js';
import type { ServedQueues } from './served-queues.js';
import type { ServedTree } from './served-tree.js';
import { foundOf, statusOf } from './status.js';
import {
  Request,
  type CaptureOrder,
  type ChildStatus,
  type DeviceSpec,
  type DiskResize,
  type FunctionSpec,
  type HandOverOrder,
  type Inventory,
  type Kept,
  type LinkChange,
  type MountRef,
  type PolicySpec,
  type Report,
  type ReviewSpec,
  type SeatRemoval,
  type SourceChange,
  type Status,
  type TakeOverOrder,
} from './protocol.js';

/** One PCI function behind its socket. */
export interface ServedFunction {
  readonly connected: boolean;
  counters(): FunctionCounters;
  /** How a guest's driver drives it; undefined while none does. */
  readonly driver: FunctionDriver | undefined;
  /**
   * Shows something else to the guest that has the function, or nothing. @throws ChassisError MOUNT_BUSY while the guest has
   * what is there mounted, or as the source cannot be opened; all is then as before
   */
  setSource(source: Shown | undefined, terms: MountTerms): Promise<void>;
  /** What it shows, where that is a mount. */
  readonly mount?: ServedMount | undefined;
  /** What it shows, where that is a tree. */
  readonly tree: ServedTree | undefined;
  /** What is done to it where it is a disk. */
  readonly disk: ResizableDisk | undefined;
  /** What is done to it where it is a network card. */
  readonly card?: ServedCard | undefined;
  /** Descriptors of files that are to outlive the process. */
  readonly keep?: Kept['keep'] | undefined;
  /** What its queues show, where each can carry a mount. */
  readonly queues?: ServedQueues | undefined;
  /** For a file: undefined where no driver has been at work on it. @throws Error where it cannot be told now */
  saveToFile(): FileState | undefined;
  /** Goes on where that of a file was, once the driver of that begins. Answers why it cannot. */
  loadFromFile(state: FileState): Promise<string | undefined>;
  /** How another process goes on with it. */
  readonly movable: MovableFunction;
  /** Goes on with the connection of a process that was killed. Answers why not; it is cut off then. Undefined where none can be kept. */
  goOnFor?(kept: KeptConnection): Promise<string | undefined>;
  /** Ends the VMM's connection, removes the socket, and lets the device's files go. */
  close(): Promise<void>;
}

export interface ResizableDisk {
  readonly sizeBytes: number;
  /** What is wrong with what it is kept in. */
  readonly trouble: string | undefined;
  /**
   * Changes the size, and tells the guest. What lies beyond a smaller one is lost, so that takes `shrink`.
   * @throws ChassisError SIZE_INVALID; the size is then as before, or what the disk really has
   */
  resize(sizeBytes: number, shrink: boolean): Promise<void>;
}

export interface FunctionHooks {
  onConnect(): void;
  onDisconnect(): void;
  /** Of a tree: the guest's helper began to read what it tells, or stopped. */
  onHelper(there: boolean): void;
  /** Of a tree: the guest's helper said something new of a child. */
  onChild(child: Pick<ChildStatus, 'name' | 'state' | 'detail'>): void;
}

/**
 * Makes a function that listens at `spec.socketPath`; with `given`, of what another process offers that serves it as yet: then `restore` and
 * `resume` are to come. Rejects with ChassisError for what the operator can mend.
 */
export type FunctionFactory = (
  spec: FunctionSpec,
  hooks: FunctionHooks,
  given?: Given,
) => Promise<ServedFunction>;

export interface DeviceProcessOptions {
  readonly createFunction: FunctionFactory;
  /** Opens an overlay that no mount shows, for a review. */
  readonly openOverlay: OpenOverlay;
  /** Sends to the daemon, if there is one. */
  readonly report: (event: Report) => void;
  readonly handOvers: HandOvers;
  /** What the daemon opened for requests; needless where the process opens all by itself. */
  readonly grants?: Grants | undefined;
  readonly keeper: KeeperLink;
  readonly log: Log;
}

/** Requests that last as long as a guest, or what it has under way; and those that last as long as somebody likes. */
const UNHURRIED: ReadonlySet<Request['method']> = new Set([
  ...(['childMounted', 'releaseChild', 'resizeDisk', 'capture'] as const),
  ...(['audit', 'nextReview', 'stopReview'] as const),
  ...(['commandOutput', 'commandInput', 'signalCommand', 'endCommand'] as const),
]);

export class DeviceProcess {
  private readonly options: DeviceProcessOptions;
  private readonly functions = new Map<string, ServedFunction>();
  /** What each is made of now. */
  private readonly specs = new Map<string, FunctionSpec>();
  private readonly queue = new SerialQueue();
  private readonly reviews: Reviews;
  private readonly commands = new ServedCommands();

  constructor(options: DeviceProcessOptions) {
    this.options = options;
    this.reviews = new Reviews(options.openOverlay);
  }

  /** A VMM has a function open. */
  get inUse(): boolean {
    return [...this.functions.values()].some(({ connected }) => connected);
  }

  /** Takes one line of the daemon, parsed. @throws TypeError where it is no request: then the daemon is not ours */
  receive(message: unknown, reply: Reply): void {
    if (!Value.Check(Request, message)) throw new TypeError('not a request of the device protocol');
    // One at a time, so that a function is not removed while it is being made; but a guest or a capture keeps nobody waiting but who asks for it.
    if (UNHURRIED.has(message.method) || this.options.handOvers.underWay) void this.answer(message, reply);
    else void this.queue.run(() => this.answer(message, reply));
  }

  /** Nobody is left who would take pages of a review or what a command prints, or end a capture. */
  daemonGone(): void {
    for (const { card } of this.functions.values()) card?.endCapture();
    void this.reviews.close();
    this.commands.endAll();
  }

  /** Ends all functions, once the requests so far are done. */
  async close(): Promise<void> {
    await this.queue.run(async () => {
      await this.reviews.close();
      const closing = [...this.functions.values()].map((served) => served.close());
      this.functions.clear();
      for (const result of await Promise.allSettled(closing)) {
        if (result.status === 'rejected')
          this.options.log.warn('a function did not end as it should', result.reason);
      }
    });
  }

  private async answer(request: Request, reply: Reply): Promise<void> {
    const { grants, log } = this.options;
    const job = () => withGrant(grants, request.grant, () => this.perform(request));
    reply(await answerOf(request.id, job, log));
  }

  private async perform(request: Request): Promise<unknown> {
    if (this.options.handOvers.underWay && request.method !== 'status') throw handingOver();
    switch (request.method) {
      case 'handOver':
        return this.handOver(request.params);
      case 'takeOver':
        return this.takeOver(request.params);
      case 'saveStates':
        saveStates(this.named(), request.params.path);
        return {};
      case 'loadStates':
        return { problems: await loadStates(this.named(), request.params.path) };
      case 'keep':
        return this.done(this.options.keeper.connect(request.params.socketPath));
      case 'addFunction':
        return this.addFunction(request.params);
      case 'goOn':
        return this.done(this.goOn(request.params.function));
      case 'removeFunction':
        return this.removeFunction(request.params.function);
      case 'setSource':
        return this.setSource(request.params);
      case 'resizeDisk':
        return this.done(this.resizeDisk(request.params));
      case 'setLink':
        return this.setLink(request.params);
      case 'capture':
        return this.capture(request.params);
      case 'endCapture':
        return this.endCapture(request.params.function);
      case 'addChild':
        return this.done(this.tree(request.params.function).add(request.params));
      case 'childMounted':
        return this.done(
          this.tree(request.params.function).mounted(request.params.name, request.params.timeoutMs),
        );
      case 'releaseChild':
        return this.done(
          this.tree(request.params.function).release(request.params.name, request.params.timeoutMs),
        );
      case 'removeChild':
        return this.tree(request.params.function).remove(request.params.name);
      case 'children':
        return { children: this.tree(request.params.function).list(request.params.from) };
      case 'addSeat':
        return { queue: await this.queues(request.params.function).add(request.params) };
      case 'removeSeat':
        return this.removeSeat(request.params);
      case 'setPolicy':
        return this.setPolicy(request.params);
      case 'revoke':
        this.mountOf(request.params).revoke();
        return {};
      case 'audit':
        return this.mountOf(request.params).audit(request.params);
      case 'startReview':
        return { review: await this.startReview(request.params) };
      case 'nextReview':
        return this.reviews.next(request.params.review);
      case 'stopReview':
        return this.done(this.reviews.stop(request.params.review));
      case 'startCommand': {
        const { function: name, ...command } = request.params;
        return { command: this.commands.start(this.tree(name).commands, command) };
      }
      case 'commandOutput':
        return this.commands.output(request.params.command);
      case 'commandInput':
        return { taken: await this.commands.input(request.params.command, request.params) };
      case 'signalCommand':
        this.commands.signal(request.params.command, request.params.signal);
        return {};
      case 'endCommand':
        this.commands.end(request.params.command);
        return {};
      case 'status':
        return this.status();
      case 'inventory':
        return this.inventory();
    }
  }

  private async addFunction(spec: FunctionSpec): Promise<Kept> {
    const { function: name } = spec;
    if (this.functions.has(name)) throw new Error(`function ${name} is there already`);
    const served = await this.options.createFunction(spec, this.hooksOf(spec));
    this.functions.set(name, served);
    this.specs.set(name, spec);
    return { keep: { ...served.keep } };
  }

  private named(): NamedFunction[] {
    return Array.from(this.functions, ([name, served]) => ({ spec: this.specOf(name), served }));
  }

  /** Where it cannot, its VMM sees that the connection ends, and may connect again. */
  private async goOn(name: string): Promise<void> {
    const served = this.functions.get(name);
    if (!served) throw new Error(`there is no function ${name}`);
    const kept = await this.options.keeper.taken(name);
    const log = this.options.log.with({ function: name });
    try {
      const problem = kept === undefined ? 'it did not come' : await served.goOnFor?.(kept);
      if (problem !== undefined) log.warn(`its connection is cut off: ${problem}`);
    } catch (error) {
      log.warn('its connection is cut off', error);
    } finally {
      for (const { parcel } of kept?.parts.values() ?? []) parcel.close();
    }
  }

  private handOver(order: HandOverOrder): Promise<HandedOver> {
    this.reviews.refuseUnderWay();
    this.commands.refuseUnderWay();
    const functions = Array.from(this.functions, ([name, { movable }]) => ({
      spec: this.specOf(name),
      movable,
    }));
    return this.options.handOvers.give(order, functions);
  }

  private async takeOver(order: TakeOverOrder): Promise<Record<string, never>> {
    if (this.functions.size > 0) throw new Error('this process has functions of its own');
    const specs = new Map<string, FunctionSpec>();
    const taken = await this.options.handOvers.take(order, (spec, given) => {
      specs.set(spec.function, spec);
      return this.options.createFunction(spec, this.hooksOf(spec), given);
    });
    for (const [name, spec] of specs) this.specs.set(name, spec);
    for (const [name, served] of taken) this.functions.set(name, served);
    return {};
  }

  private hooksOf({ function: name }: FunctionSpec): FunctionHooks {
    return {
      onConnect: () => this.options.report({ event: 'connected', function: name }),
      onDisconnect: () => this.options.report({ event: 'disconnected', function: name }),
      onHelper: (there) => this.options.report({ event: 'helper', function: name, there }),
      onChild: (child) => this.options.report({ event: 'child', function: name, ...child }),
    };
  }

  /** What it is made of now. */
  private specOf(name: string): FunctionSpec {
    const spec = this.specs.get(name);
    if (!spec) throw new Error(`function ${name} has no spec`);
    const mount = this.functions.get(name)?.mount;
    return mount && spec.device.type === '9p'
      ? { ...spec, device: { ...spec.device, ...mount.terms } }
      : spec;
  }

  /** Says what it is made of from now on. */
  private changeDevice(name: string, change: (device: DeviceSpec) => DeviceSpec): void {
    const spec = this.specOf(name);
    this.specs.set(name, { ...spec, device: change(spec.device) });
  }

  private async done(job: Promise<void>): Promise<Record<string, never>> {
    await job;
    return {};
  }

  private tree(name: string): ServedTree {
    const tree = this.functions.get(name)?.tree;
    if (!tree) throw new Error(`function ${name} is no tree`);
    return tree;
  }

  private queues(name: string): ServedQueues {
    const queues = this.functions.get(name)?.queues;
    if (!queues) throw new Error(`the queues of function ${name} carry no mounts`);
    return queues;
  }

  /** With its function, it is gone already. */
  private removeSeat({ function: name, queue, force }: SeatRemoval): Lost {
    return this.functions.get(name)?.queues?.remove(queue, force) ?? { fids: 0, openFiles: 0 };
  }

  private async setSource({
    function: name,
    source,
    ...terms
  }: SourceChange): Promise<Record<string, never>> {
    const served = this.functions.get(name);
    if (!served) throw new Error(`there is no function ${name}`);
    await served.setSource(source, terms);
    this.changeDevice(name, (device) => {
      if (device.type !== '9p') return device;
      return { type: '9p', tag: device.tag, ...terms, ...(source && { source }) };
    });
    return {};
  }

  private setPolicy({ readOnly, policy, ...ref }: PolicySpec): Record<string, never> {
    this.mountOf(ref).setPolicy(readOnly, policy);
    return {};
  }

  private startReview(spec: ReviewSpec): Promise<number> {
    return this.reviews.start(spec, spec.mount && this.mountOf(spec.mount));
  }

  /** @throws ChassisError NO_MOUNT where it was taken away meanwhile, or could not be shown again */
  private mountOf({ function: name, child, queue }: MountRef): ServedMount {
    const served = this.functions.get(name);
    const mount =
      child !== undefined
        ? served?.tree?.mount(child)
        : queue !== undefined
          ? served?.queues?.mount(queue)
          : served?.mount;
    if (mount) return mount;
    throw new ChassisError('NO_MOUNT', 'the device process does not show it', 'see: chassis show');
  }

  private async resizeDisk({ function: name, sizeBytes, shrink }: DiskResize): Promise<void> {
    const disk = this.functions.get(name)?.disk;
    if (!disk) throw new ChassisError('NO_DISK', 'the disk was removed meanwhile');
    await disk.resize(sizeBytes, shrink);
  }

  private setLink({ function: name, up }: LinkChange): Record<string, never> {
    this.card(name).setLink(up);
    this.changeDevice(name, (device) => (device.type === 'card' ? { ...device, up } : device));
    return {};
  }

  private capture({ function: name, capture }: CaptureOrder): Promise<Captured> {
    return this.card(name).startCapture(capture);
  }

  private endCapture(name: string): Record<string, never> {
    this.functions.get(name)?.card?.endCapture();
    return {};
  }

  private card(name: string): ServedCard {
    const card = this.functions.get(name)?.card;
    if (!card) throw new ChassisError('NO_CARD', 'the card was removed meanwhile');
    return card;
  }

  /** One that is not there is gone already. */
  private async removeFunction(name: string): Promise<Record<string, never>> {
    const served = this.functions.get(name);
    this.functions.delete(name);
    this.specs.delete(name);
    await served?.close();
    return {};
  }

  private status(): Status {
    return { functions: Array.from(this.functions, ([name, served]) => statusOf(name, served)) };
  }

  private inventory(): Inventory {
    const functions = Array.from(this.specs, ([name, spec]) => foundOf(spec, this.functions.get(name)));
    return { functions };
  }
}

function handingOver(): ChassisError {
  return new ChassisError('UPGRADE_REFUSED', 'the device process is being replaced', 'try again in a moment');
}
