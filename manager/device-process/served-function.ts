/** A device of a device process behind its socket, over either port. */
import {
  VirtioDeviceId,
  VirtioFeature,
  type QueueCounters,
  type VirtioDevice,
} from '../../devices/virtio/device.js';
import type { GuestMemory } from '../../devices/virtio/memory/guest-memory.js';
import { hasFeature } from '../../devices/virtio/ring/features.js';
import { VirtioPciFunction } from '../../devices/virtio/transport/virtio-pci.js';
import type { Reactor } from '../../host/index.js';
import {
  ChassisError,
  type FunctionCounters,
  type FunctionDriver,
  type MountTerms,
  type Shown,
} from '../control/api.js';
import { countersOf, type DeviceCounters } from '../counters.js';
import { FunctionFile } from '../function-files.js';
import type { LogMethod } from '../logging/log.js';
import {
  pauseFunction,
  quiesceFunction,
  restoreFunction,
  resumeFunction,
  saveFunction,
  VfioUserFunctionState,
} from './hand-over/pci-function.js';
import { VfioUserServer, type VfioUserKeeping } from '../ports/vfio-user/server.js';
import type { FileState } from '../ports/vhost-user/file-state.js';
import { VhostUserState } from '../ports/vhost-user/port-state.js';
import type { KeptConnection } from '../ports/keeping/told.js';
import { VhostUserServer } from '../ports/vhost-user/server.js';
import type { Held } from './keeping/held.js';
import type { KeeperLink } from './keeping/keeper-link.js';
import type { FunctionHooks, ResizableDisk, ServedFunction } from './device-process.js';
import { dataAs, type Given, type MovableDevice, type MovableFunction } from './hand-over/movable.js';
import type { OutgoingParcel } from './hand-over/parcel.js';
import { FunctionState } from './hand-over/protocol.js';
import type { FunctionSpec } from './protocol.js';
import type { ServedCard } from './served-card.js';
import type { ServedMount } from './served-mount.js';
import type { ServedQueues } from './served-queues.js';
import type { ServedTree } from './served-tree.js';

/** A device, whatever it is, and what the daemon may do to it. */
export interface ServedDevice extends Pick<
  ServedFunction,
  'setSource' | 'mount' | 'tree' | 'queues' | 'disk' | 'card' | 'keep'
> {
  readonly device: VirtioDevice;
  /** What of it is to outlive the process. */
  readonly held?: Held | undefined;
  /** Lets go of what the device does not, once that is closed. */
  readonly release?: (() => void) | undefined;
  /** How another process goes on with it; undefined where none can. */
  readonly movable?: MovableDevice | undefined;
  counted(): DeviceCounters;
}

/** The part of a function that is its port's, for a hand-over: see MovableFunction. */
interface MovablePort {
  pause(timeoutMs: number): Promise<string | undefined>;
  save(parcel: OutgoingParcel): unknown;
  restore(given: Given): Promise<string | undefined>;
  resume(): void;
}

/** What a function is to the device process whichever port it is on: what it serves. */
abstract class DeviceFunction implements ServedFunction, MovableFunction {
  protected readonly served: ServedDevice;
  private readonly name: string;
  /** Nothing is taken from the host now. */
  private devicePaused = false;

  constructor(served: ServedDevice, { function: name }: FunctionSpec) {
    this.served = served;
    this.name = name;
  }

  protected abstract readonly movablePort: MovablePort;

  get movable(): MovableFunction {
    return this;
  }

  offer(parcel: OutgoingParcel): unknown {
    return this.device().offer(parcel);
  }

  async pause(timeoutMs: number): Promise<string | undefined> {
    const problem = await this.movablePort.pause(timeoutMs);
    if (problem === undefined) this.device().pause();
    this.devicePaused = problem === undefined;
    return problem;
  }

  save(parcel: OutgoingParcel) {
    return { device: this.device().save(parcel), port: this.movablePort.save(parcel) };
  }

  async restore({ data, parcel }: Given): Promise<string | undefined> {
    const { device, port } = dataAs(FunctionState, data);
    this.device().restore({ data: device, parcel });
    this.devicePaused = true;
    return this.movablePort.restore({ data: port, parcel });
  }

  resume(): void {
    this.movablePort.resume();
    if (this.devicePaused) this.device().resume();
    this.devicePaused = false;
  }

  private device(): MovableDevice {
    if (this.served.movable) return this.served.movable;
    throw new ChassisError('UPGRADE_REFUSED', `${this.name} is a mount, which cannot be handed over yet`);
  }

  abstract saveToFile(): FileState | undefined;
  abstract loadFromFile(state: FileState): Promise<string | undefined>;
  abstract readonly connected: boolean;
  abstract readonly driver: FunctionDriver | undefined;
  abstract close(): Promise<void>;
  /** What crossed a queue; undefined while nothing has. */
  protected abstract queueCounters(queue: number): Readonly<QueueCounters> | undefined;

  counters(): FunctionCounters {
    return countersOf(
      this.served.counted(),
      this.served.device.queueSizes.map((_, queue) => this.queueCounters(queue)),
    );
  }

  get tree(): ServedTree | undefined {
    return this.served.tree;
  }

  get queues(): ServedQueues | undefined {
    return this.served.queues;
  }

  get disk(): ResizableDisk | undefined {
    return this.served.disk;
  }

  get card(): ServedCard | undefined {
    return this.served.card;
  }

  get keep(): ServedFunction['keep'] {
    return this.served.keep;
  }

  get mount(): ServedMount | undefined {
    return this.served.mount;
  }

  setSource(source: Shown | undefined, terms: MountTerms): Promise<void> {
    return this.served.setSource(source, terms);
  }
}

export class VfioUserFunction extends DeviceFunction {
  private readonly server: VfioUserServer;
  private readonly leaveKeeper: () => void;
  private pci: VirtioPciFunction | undefined;
  /** Settles once the client has what it took away. */
  private quiet: Promise<void> | undefined;

  constructor(
    served: ServedDevice,
    spec: FunctionSpec,
    hooks: FunctionHooks,
    reactor: Reactor,
    log: LogMethod,
    taken = false,
    keeper?: KeeperLink,
  ) {
    super(served, spec);
    this.server = new VfioUserServer({
      path: spec.socketPath,
      reactor,
      keeping: this.keeping(spec, keeper),
      createFunction: (memory: GuestMemory, records) =>
        (this.pci = new VirtioPciFunction(served.device, memory, {
          msix: spec.msix,
          records,
          log,
          keepAwake: (session) => reactor.keepAwake(session),
        })),
      quiesce: () => this.quiesce(log),
      onConnect: () => hooks.onConnect(),
      onDisconnect: () => hooks.onDisconnect(),
      log,
    });
    if (served.held) served.held.tell = (part) => this.server.tellAside(part);
    if (served.device.isStateKept === true) served.device.stateChanged = () => this.deviceChanged();
    if (!taken) this.server.listen();
    keeper?.add(spec.function, this.server);
    this.leaveKeeper = () => keeper?.remove(spec.function);
  }

  /** Is written down before it is answered. */
  private deviceChanged(): undefined {
    this.server.deviceChanged();
  }

  goOnFor(kept: KeptConnection): Promise<string | undefined> {
    return Promise.resolve(this.server.goOnFor(kept));
  }

  private keeping(
    { function: name, files }: FunctionSpec,
    keeper: KeeperLink | undefined,
  ): VfioUserKeeping | undefined {
    if (keeper === undefined || files === undefined) return undefined;
    const { device, held } = this.served;
    return {
      ...{ keeper: keeper.of(name), extras: held, queueSizes: device.queueSizes },
      inflightPath: files + FunctionFile.INFLIGHT,
      function: () => this.function,
    };
  }

  private quiesce(log: LogMethod): Promise<void> | undefined {
    if (!this.function.underWay) return undefined;
    return (this.quiet = quiesceFunction(this.function, this.served.device, log));
  }

  protected get movablePort(): MovablePort {
    const { server } = this;
    return {
      pause: async (timeoutMs) => {
        const problem = await server.pause(timeoutMs);
        if (problem !== undefined) return problem;
        await this.quiet;
        return pauseFunction(this.function, this.served.device, timeoutMs);
      },
      save: (parcel) => ({ server: server.save(parcel), function: saveFunction(this.function, parcel) }),
      restore: async ({ data, parcel }) => {
        const state = dataAs(VfioUserFunctionState, data);
        return server.restore(state.server, parcel) ?? restoreFunction(this.function, state.function, parcel);
      },
      resume: () => {
        server.resume();
        resumeFunction(this.function, this.served.device);
      },
    };
  }

  private get function(): VirtioPciFunction {
    if (!this.pci) throw new Error('the server has made no function');
    return this.pci;
  }

  get connected(): boolean {
    return this.server.connected;
  }

  protected queueCounters(queue: number): Readonly<QueueCounters> | undefined {
    return this.pci?.counters(queue);
  }

  saveToFile(): undefined {
    if (this.driver === undefined) return;
    throw new Error(
      'it is served over vfio-user, whose VMMs do not save it: serve it over vhost-user, or detach it',
    );
  }

  loadFromFile(): Promise<string> {
    return Promise.resolve('it is served over vfio-user here');
  }

  get driver(): FunctionDriver | undefined {
    const registers = this.pci?.driverInterface;
    return registers && { registers, doorbell: 'queue', polled: false };
  }

  async close(): Promise<void> {
    this.leaveKeeper();
    this.server.close();
    await this.server.forget();
    await this.served.device.close();
    this.served.held?.close();
    this.served.release?.();
  }
}

export class VhostUserFunction extends DeviceFunction {
  private readonly server: VhostUserServer;
  private readonly leaveKeeper: () => void;

  /** Where it is `taken` over from another process, `restore` and `resume` are to come. */
  constructor(
    served: ServedDevice,
    spec: FunctionSpec,
    hooks: FunctionHooks,
    reactor: Reactor,
    log: LogMethod,
    taken = false,
    keeper?: KeeperLink,
  ) {
    super(served, spec);
    this.server = new VhostUserServer({
      keeper: keeper?.of(spec.function),
      extras: served.held,
      path: spec.socketPath,
      reactor,
      device: served.device,
      ...(spec.files !== undefined && { inflightPath: spec.files + FunctionFile.INFLIGHT }),
      // VMMs answer a card's control queue themselves, so that there is nothing to move. Yet QEMU, from 10.0 on, moves it where it is on
      // offer, and then neither an older QEMU nor a back-end without it can be the destination.
      withholdsState: served.device.deviceId === VirtioDeviceId.network,
      onConnect: () => hooks.onConnect(),
      onDisconnect: () => hooks.onDisconnect(),
      log,
    });
    if (served.held) served.held.tell = (part) => this.server.tellAside(part);
    if (!taken) this.server.listen();
    keeper?.add(spec.function, this.server);
    this.leaveKeeper = () => keeper?.remove(spec.function);
  }

  goOnFor(kept: KeptConnection): Promise<string | undefined> {
    return this.server.goOnFor(kept);
  }

  protected get movablePort(): MovablePort {
    const { server } = this;
    return {
      pause: (timeoutMs) => server.pause(timeoutMs),
      save: (parcel) => server.save(parcel),
      restore: ({ data, parcel }) => server.restore(dataAs(VhostUserState, data), parcel),
      resume: () => server.resume(),
    };
  }

  get connected(): boolean {
    return this.server.connected;
  }

  protected queueCounters(queue: number): Readonly<QueueCounters> | undefined {
    return this.server.counters(queue);
  }

  saveToFile(): FileState | undefined {
    return this.server.saveToFile();
  }

  loadFromFile(state: FileState): Promise<string | undefined> {
    return this.server.loadFromFile(state);
  }

  get driver(): FunctionDriver | undefined {
    const { features } = this.server;
    if (features === undefined) return undefined;
    const modern = hasFeature(features, VirtioFeature.VIRTIO_F_VERSION_1);
    return { registers: modern ? 'modern' : 'legacy', doorbell: 'eventfd', polled: false };
  }

  async close(): Promise<void> {
    this.leaveKeeper();
    await this.server.close();
    this.server.forget();
    await this.served.device.close();
    this.served.held?.close();
    this.served.release?.();
  }
}
