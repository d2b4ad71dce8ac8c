/** A device of a device process behind its socket, over either port. */
import { VirtioFeature, type QueueCounters, type VirtioDevice } from '../../devices/virtio/device.js';
import type { GuestMemory } from '../../devices/virtio/memory/guest-memory.js';
import { hasFeature } from '../../devices/virtio/ring/features.js';
import { VirtioPciFunction } from '../../devices/virtio/transport/virtio-pci.js';
import type { Reactor } from '../../host/index.js';
import type { FunctionCounters, FunctionDriver, MountTerms, Shown } from '../control/api.js';
import { countersOf, type DeviceCounters } from '../counters.js';
import { FunctionFile } from '../function-files.js';
import { VfioUserServer } from '../ports/vfio-user/server.js';
import { VhostUserServer } from '../ports/vhost-user/server.js';
import type { FunctionHooks, ResizableDisk, ServedFunction } from './device-process.js';
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
  /** Lets go of what the device does not, once that is closed. */
  readonly release?: (() => void) | undefined;
  counted(): DeviceCounters;
}

/** What a function is to the device process whichever port it is on: what it serves. */
abstract class DeviceFunction implements ServedFunction {
  protected readonly served: ServedDevice;

  constructor(served: ServedDevice) {
    this.served = served;
  }

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
  private pci: VirtioPciFunction | undefined;

  constructor(
    served: ServedDevice,
    spec: FunctionSpec,
    hooks: FunctionHooks,
    reactor: Reactor,
    log: (message: string) => void,
  ) {
    super(served);
    this.server = new VfioUserServer({
      path: spec.socketPath,
      reactor,
      createFunction: (memory: GuestMemory) =>
        (this.pci = new VirtioPciFunction(served.device, memory, {
          msix: spec.msix,
          log,
          keepAwake: (session) => reactor.keepAwake(session),
        })),
      onConnect: () => hooks.onConnect(),
      onDisconnect: () => hooks.onDisconnect(),
      log,
    });
    this.server.listen();
  }

  get connected(): boolean {
    return this.server.connected;
  }

  protected queueCounters(queue: number): Readonly<QueueCounters> | undefined {
    return this.pci?.counters(queue);
  }

  get driver(): FunctionDriver | undefined {
    const registers = this.pci?.driverInterface;
    return registers && { registers, doorbell: 'queue', polled: false };
  }

  async close(): Promise<void> {
    this.server.close();
    await this.served.device.close();
    this.served.release?.();
  }
}

export class VhostUserFunction extends DeviceFunction {
  private readonly server: VhostUserServer;

  constructor(
    served: ServedDevice,
    spec: FunctionSpec,
    hooks: FunctionHooks,
    reactor: Reactor,
    log: (message: string) => void,
  ) {
    super(served);
    this.server = new VhostUserServer({
      path: spec.socketPath,
      reactor,
      device: served.device,
      ...(spec.files !== undefined && { inflightPath: spec.files + FunctionFile.INFLIGHT }),
      onConnect: () => hooks.onConnect(),
      onDisconnect: () => hooks.onDisconnect(),
      log,
    });
    this.server.listen();
  }

  get connected(): boolean {
    return this.server.connected;
  }

  protected queueCounters(queue: number): Readonly<QueueCounters> | undefined {
    return this.server.counters(queue);
  }

  get driver(): FunctionDriver | undefined {
    const { features } = this.server;
    if (features === undefined) return undefined;
    const modern = hasFeature(features, VirtioFeature.VIRTIO_F_VERSION_1);
    return { registers: modern ? 'modern' : 'legacy', doorbell: 'eventfd', polled: false };
  }

  async close(): Promise<void> {
    await this.server.close();
    this.server.forget();
    await this.served.device.close();
    this.served.release?.();
  }
}
