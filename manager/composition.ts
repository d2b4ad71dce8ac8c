/**
 * The composition root: the only file that names concrete devices and file systems, save that served-disk.ts and served-card.ts name those
 * of disks and network cards, and switch-process/ the switch.
 * The device process serves what it makes over either port; the library plugs it into a guest in the same process.
 */
import { Volume } from 'memfs';
import type { FileSystem } from '../devices/9p/fs/file-system.js';
import { HostDirectory, HostDirectoryError } from '../devices/9p/fs/host-directory/host-directory.js';
import { memoryVolume } from '../devices/9p/fs/node-fs/memory-volume.js';
import { MountTree } from '../devices/9p/fs/mount-tree/mount-tree.js';
import {
  NodeFs,
  type NodeFsLike,
  type NodeFsOptions,
  type NodeFsPromises,
} from '../devices/9p/fs/node-fs/node-fs.js';
import type { JournalStore } from '../devices/9p/server/journal/journal-store.js';
import type { ServerLimits, ServerOptions } from '../devices/9p/server/options.js';
import { Server } from '../devices/9p/server/server.js';
import { LINUX_VIRTIO_MSIZE_MAX_BYTES, Virtio9p } from '../devices/9p/virtio-9p.js';
import { Virtio9pMux } from '../devices/9p/virtio-9p-mux.js';
import type { GuestMemory } from '../devices/virtio/memory/guest-memory.js';
import { VirtioPciFunction } from '../devices/virtio/transport/virtio-pci.js';
import type { Reactor } from '../host/index.js';
import {
  ChassisError,
  MAX_FIDS,
  MAX_OPEN_FILES,
  type FunctionCounters,
  type MountTerms,
  type Shown,
  type Source,
} from './control/api.js';
import { QUEUES_PER_DEVICE } from './chassis/capacity.js';
import { termsOf } from './chassis/chassis.js';
import { countersOf, type DeviceCounters } from './counters.js';
import type { FunctionFactory, FunctionHooks } from './device-process/device-process.js';
import { hostPath, peerKey, takeGranted } from './device-process/host-paths.js';
import type { FunctionSpec, NinePSpec, SeatSpec } from './device-process/protocol.js';
import type { Given, MovableDevice } from './device-process/hand-over/movable.js';
import { movableMounts, takeMounts } from './device-process/hand-over/mount-offer.js';
import { HeldQueues } from './device-process/keeping/held-queues.js';
import { HeldSession } from './device-process/keeping/held-session.js';
import { HeldTree } from './device-process/keeping/held-tree.js';
import type { KeeperLink } from './device-process/keeping/keeper-link.js';
import type { Dialer, PeerStock } from './device-process/peer-stock.js';
import { openCard } from './device-process/served-card.js';
import { openDisk } from './device-process/served-disk.js';
import { VfioUserFunction, VhostUserFunction, type ServedDevice } from './device-process/served-function.js';
import type { Beginning, ServedMount } from './device-process/served-mount.js';
import { ServedQueues } from './device-process/served-queues.js';
import { ServedTree } from './device-process/served-tree.js';
import { SourceWatches } from './host-watch/source-watches.js';
import type { Watched } from './host-watch/watched.js';
import type { Log, LogMethod } from './logging/log.js';
import { openMount } from './mount-file-system.js';
import { ShownSource } from './shown-source.js';
import { sourceError } from './source-check.js';

/** memfs takes up to twice that. */
const MAX_MEMORY_BYTES = 2 ** 30;
/** Each takes 1.6 KB of the heap, which ends at 2 GB on small machines; with the longest names, 256 deep, 4 KB. */
const MAX_MEMORY_FILES = 250_000;

export interface NinePOptions {
  readonly tag: string;
  readonly readOnly: boolean;
  readonly log: LogMethod;
}

/** Opens what a mount shows. @throws ChassisError SOURCE_MISSING, SOURCE_NOT_DIRECTORY or SOURCE_UNREADABLE */
export async function openSource(source: Source): Promise<FileSystem> {
  if (source.type === 'directory') return openDirectory(source.path);
  const volume = new Volume();
  // Nobody else has it, so another process may go on with all that is in it.
  return memoryFileSystem(volume, { volume });
}

async function openDirectory(path: string): Promise<HostDirectory> {
  try {
    return await HostDirectory.open(hostPath(path));
  } catch (error) {
    throw error instanceof HostDirectoryError ? sourceError(path, error) : error;
  }
}

/** memfs would apply the guest's permissions to us, so they are kept beside it; and a guest could fill all memory. */
function memoryFileSystem(volume: Volume, moved: Pick<NodeFsOptions, 'volume'> = {}): FileSystem {
  return new NodeFs(memoryVolume(volume), {
    ...moved,
    ownership: 'kept',
    maxTotalBytes: MAX_MEMORY_BYTES,
    maxFiles: MAX_MEMORY_FILES,
  });
}

/** What an embedding program may show to a guest. */
export type FileSystemLike = string | FileSystem | NodeFsLike | NodeFsPromises | Volume;

/**
 * Makes a file system of what a program gave: a host directory's path, an object with the functions of `node:fs` or
 * `node:fs/promises`, or a file system already. @throws ChassisError BAD_REQUEST, or as `openSource`
 */
export async function openFileSystem(given: FileSystemLike): Promise<FileSystem> {
  if (typeof given === 'string') return openSource({ type: 'directory', path: given });
  if (given instanceof Volume) return memoryFileSystem(given);
  if ('attach' in given && typeof given.attach === 'function') return given;
  if ('lstat' in given && typeof given.lstat === 'function') return new NodeFs(given);
  throw new ChassisError(
    'BAD_REQUEST',
    'this is no file system',
    'give a path, a FileSystem, or an object like node:fs',
  );
}

/** A 9p device with one mount. It owns the file system. */
function createNineP(fs: FileSystem, options: NinePOptions, journal?: JournalStore): Virtio9p {
  return new Virtio9p(fs, options.tag, serverOptions(options), journal);
}

function serverOptions({ log, ...limits }: Omit<NinePOptions, 'tag'> & Partial<ServerLimits>): ServerOptions {
  return {
    maxMsizeBytes: LINUX_VIRTIO_MSIZE_MAX_BYTES,
    maxFids: MAX_FIDS,
    maxOpenFiles: MAX_OPEN_FILES,
    ...limits,
    log,
  };
}

export interface SessionOptions {
  /** What its policy says, if it says something. */
  readonly maxFids?: number | undefined;
  /** The largest message to agree to, in bytes. */
  readonly maxMsizeBytes: number;
  readonly log: LogMethod;
}

/** A 9p session on a file system that other sessions share: `dropAll` ends it, and whoever opened the file system closes it. */
export function create9pSession(fs: FileSystem, options: SessionOptions): Server {
  const { maxFids = MAX_FIDS, maxMsizeBytes, log } = options;
  return new Server(fs, {
    maxMsizeBytes,
    readOnly: false,
    maxFids,
    maxOpenFiles: MAX_OPEN_FILES,
    log,
  });
}

/** What a device process makes its functions with. `peers` are those of a process that connects to nobody by itself. */
export function servedFunctions(
  reactor: Reactor,
  log: Log,
  keeper?: KeeperLink,
  peers?: PeerStock,
): FunctionFactory {
  const watches = new SourceWatches(reactor, log.warn);
  return async (spec, hooks, given) => {
    const own = log.with({ function: spec.function });
    const dialer = peers && dialerFor(spec.function, peers);
    const served = await openDevice(spec, { watches, hooks, reactor, log: own, dialer }, given);
    try {
      const isTaken = given !== undefined;
      return spec.port === 'vfio-user'
        ? new VfioUserFunction(served, spec, hooks, reactor, own.warn, isTaken, keeper)
        : new VhostUserFunction(served, spec, hooks, reactor, own.warn, isTaken, keeper);
    } catch (error) {
      await served.device.close();
      throw error;
    }
  };
}

/** Its first connection came with the request; what an earlier function of that name was connected to is not for it. */
function dialerFor(fn: string, peers: PeerStock): Dialer {
  peers.drop(fn);
  const first = takeGranted(peerKey(fn));
  if (first !== undefined) peers.put(fn, first);
  return peers.dialer(fn);
}

/** What devices are opened with. */
interface Surroundings {
  readonly watches: SourceWatches;
  readonly hooks: FunctionHooks;
  readonly reactor: Reactor;
  readonly log: Log;
  /** Who connects them, where this process does not. */
  readonly dialer: Dialer | undefined;
}

function openDevice(
  { device: spec, kept, incoming, port }: FunctionSpec,
  surroundings: Surroundings,
  given: Given | undefined,
): Promise<ServedDevice> {
  const { reactor, log, dialer } = surroundings;
  // Over vfio-user nobody says when the guest has come.
  const awaited = incoming && port === 'vhost-user';
  if (spec.type === 'disk')
    return openDisk(spec, log.with({ disk: spec.serial }).warn, { kept, awaited, given, dialer });
  return spec.type === 'card'
    ? openCard(spec, reactor, log.with({ card: spec.name }).warn, given, dialer)
    : servedNineP(spec, surroundings, given);
}

async function servedNineP(
  spec: NinePSpec,
  { watches, hooks, log }: Surroundings,
  given: Given | undefined,
): Promise<ServedDevice> {
  const { tag, source } = spec;
  const mounts = given && takeMounts(given);
  if (source?.type === 'queues') return ninePOnQueues(log, mounts?.seats);
  const { warn } = log.with({ tag });
  const held = new HeldSession(warn);
  if (source?.type !== 'tree') {
    const served = new NinePOfMount(tag, warn, held);
    if (source) await served.setSource(source, termsOf(spec), given && 'handed over');
    return served;
  }
  const tree = new MountTree({
    log: warn,
    onHelper: (there) => hooks.onHelper(there),
    onChange: (name) => {
      const child = tree.entry(name);
      if (child) hooks.onChild({ name, state: child.state, detail: child.detail });
    },
  });
  const device = createNineP(tree, { tag, readOnly: false, log: warn }, held.journal);
  const served = new ServedTree(
    tree,
    (shown, terms, watched, beginning) =>
      openMount(
        (each) => openWatched(each, watches, each === shown ? watched : undefined),
        shown,
        terms,
        beginning,
      ),
    () => device.forgetGone(),
  );
  for (const child of mounts?.children ?? []) await served.add(child, 'handed over');
  return {
    device,
    disk: undefined,
    movable: movableMounts(
      () => ({ children: served.specs, seats: [] }),
      () => served.all,
    ),
    tree: served,
    held: new HeldTree(held, tree),
    counted: () => ({ ...device.statistics, latencies: device.latencies }),
    setSource: () => Promise.reject(new Error('a tree shows its children')),
  };
}

async function openWatched(source: Source, watches: SourceWatches, watched?: Watched): Promise<FileSystem> {
  if (source.type !== 'directory' || watched === undefined) return openSource(source);
  const directory = await openDirectory(source.path);
  watches.begin(directory, watched);
  return directory;
}

function openServed(source: Source, terms: MountTerms, beginning?: Beginning): Promise<ServedMount> {
  return openMount(openSource, source, terms, beginning);
}

async function ninePOnQueues(log: Log, seats: readonly SeatSpec[] = []): Promise<ServedDevice> {
  const held = new HeldQueues(log.warn);
  const mux = new Virtio9pMux(QUEUES_PER_DEVICE, held.registers);
  held.onTaken = () => mux.goOn();
  const queues = new ServedQueues({
    ...{ mux, openMount: openServed, held, log },
    serverOptions: (tag, limits) =>
      serverOptions({ log: log.with({ tag }).warn, readOnly: false, ...limits }),
  });
  for (const seat of seats) await queues.add(seat, 'handed over');
  return {
    movable: movableMounts(
      () => ({ children: [], seats: queues.specs }),
      () => queues.all,
    ),
    ...{ device: mux, tree: undefined, disk: undefined, queues, held },
    counted: () => queues.counted(),
    setSource: () => Promise.reject(new Error('each queue shows a mount of its own')),
  };
}

class NinePOfMount implements ServedDevice {
  readonly tree = undefined;
  readonly disk = undefined;
  readonly device: Virtio9p;
  readonly held: HeldSession | undefined;
  mount: ServedMount | undefined;
  private readonly tag: string;
  private readonly shown = new ShownSource();

  /** Shows nothing yet. */
  constructor(tag: string, log: LogMethod, held: HeldSession | undefined) {
    this.tag = tag;
    this.held = held;
    // Whether it may be changed is for the mount's policy to say, which may be another one later.
    this.device = createNineP(this.shown, { tag, log, readOnly: false }, held?.journal);
  }

  /** Its mount is the function's own, which the function's spec says. */
  get movable(): MovableDevice {
    return movableMounts(
      () => ({ children: [], seats: [] }),
      () => new Map(this.mount && [[this.tag, this.mount]]),
    );
  }

  counted(): DeviceCounters {
    return { ...this.device.statistics, latencies: this.device.latencies };
  }

  async setSource(source: Shown | undefined, terms: MountTerms, beginning?: Beginning): Promise<void> {
    this.refuseIfBusy();
    if (source?.type === 'tree' || source?.type === 'queues')
      throw new Error('a function of a source does not become another');
    const mount = source && (await openServed(source, terms, beginning));
    try {
      // The guest may have mounted it meanwhile. From here on to the change nothing of the guest's runs.
      this.refuseIfBusy();
    } catch (error) {
      await mount?.fs.close();
      throw error;
    }
    const limit = ({ policy }: Pick<MountTerms, 'policy'>): void =>
      this.device.setLimits({ maxFids: policy?.maxFids ?? MAX_FIDS });
    if (mount) mount.onPolicy = limit;
    limit(terms);
    this.mount = mount;
    await this.shown.replace(mount?.fs);
  }

  private refuseIfBusy(): void {
    const { fids, openFiles } = this.device.statistics;
    if (fids === 0 && openFiles === 0) return;
    throw new ChassisError(
      'MOUNT_BUSY',
      `the guest has ${JSON.stringify(this.tag)} mounted`,
      'unmount it in the guest first (umount)',
    );
  }
}

/** A 9p function on a bus of this process. */
export class InProcessNineP {
  readonly pci: VirtioPciFunction;
  private readonly device: Virtio9p;

  constructor(fs: FileSystem, memory: GuestMemory, options: NinePOptions) {
    this.device = createNineP(fs, options);
    this.pci = new VirtioPciFunction(this.device, memory, { msix: true, log: options.log });
  }

  counters(): FunctionCounters {
    return countersOf(this.device.statistics, [this.pci.counters(0)]);
  }

  /** Closes the file system too. */
  close(): Promise<void> {
    return this.device.close();
  }
}

/** A 9p function on a bus of this process that has a mount on each queue. */
export class InProcessNinePMux {
  readonly pci: VirtioPciFunction;
  private readonly device: Virtio9pMux;

  constructor(queueCount: number, memory: GuestMemory, log: LogMethod) {
    this.device = new Virtio9pMux(queueCount);
    this.pci = new VirtioPciFunction(this.device, memory, { msix: true, log });
  }

  /** The lowest queue that nothing is attached to. */
  get freeQueue(): number | undefined {
    return this.device.freeQueue;
  }

  /** The file system is the device's from then on. @throws RangeError where the queue is taken, or the tag too long */
  attach(queue: number, fs: FileSystem, options: NinePOptions): void {
    this.device.attach(queue, fs, options.tag, serverOptions(options));
  }

  /** Fails what is under way, and closes the file system. */
  detach(queue: number): Promise<void> {
    return this.device.detach(queue);
  }

  counters(queue: number): FunctionCounters {
    return countersOf(this.device.statistics(queue), [this.pci.counters(queue)]);
  }

  /** Closes all its file systems. */
  close(): Promise<void> {
    return this.device.close();
  }
}
