import { DEFAULT_MSIZE, type Mount, type MountOptions } from './9p/mount.js';
import type { Channel } from './9p/channel.js';
import { Virtio9pBinding, virtio9pDriver, type TagChange } from './9p/virtio-driver.js';
import type { GuestBus } from './bus.js';
import { GuestError } from './errors.js';
import type { FoundFunction } from './pci/function-drivers.js';
import { GuestPci } from './pci/guest-pci.js';
import type { PciehpOptions } from './pci/pciehp.js';
import type { VirtioOptions } from './virtio/device.js';

/** How long a shutdown waits for mounts to be let go of before it takes them away, in milliseconds. */
const SHUTDOWN_TIMEOUT_MS = 5000;

/** A PCI function that the guest sees. */
export interface FunctionInfo {
  /** As `lspci -D` writes it: '0000:00:03.1'. */
  readonly address: string;
  readonly vendorId: number;
  readonly deviceId: number;
  /** 24 bits: class, subclass, interface. */
  readonly classCode: number;
  /** The driver that has it: 'virtio-9p', or undefined. */
  readonly driver: string | undefined;
  /** The mount tag of a 9p device; the first one of a device with several. */
  readonly tag: string | undefined;
  /** All of a 9p device's mount tags. */
  readonly tags: readonly string[];
  /** Why the driver that knows such devices could not use this one. */
  readonly error: GuestError | undefined;
}

export interface GuestEvents {
  /** A function appeared; its driver, if there is one, has it already. */
  plug: FunctionInfo;
  /** A function is gone, or was let go of. */
  unplug: FunctionInfo;
  /** What can be mounted is not what it was: devices came or went, or the mounts that one has. */
  tags: TagChange;
  /** The machine wants a slot back in which something is mounted: it waits until that is unmounted. */
  'eject-request': readonly FunctionInfo[];
}

/** What the guest uses of its devices, and how its hot-plug waits. */
export interface GuestOptions extends VirtioOptions {
  /** As a kernel's slots would have it: Linux blinks for 5,000 ms and gives power 1,000 ms to be gone. Default: no waiting. */
  readonly hotplug?: PciehpOptions;
}

export interface WaitOptions {
  /** Rejects with ETIMEDOUT after so many milliseconds; waits for ever by default. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A queue that serves what was asked for, and the function it is of. */
interface TaggedChannel {
  readonly found: FoundFunction;
  readonly channel: Channel;
}

type Listener<K extends keyof GuestEvents> = (event: GuestEvents[K]) => void;

/**
 * A guest inside this process: it enumerates the machine's PCI bus, drives its virtio devices and mounts their file systems, as a
 * kernel in a virtual machine would. Devices come and go while it runs.
 */
export class Guest {
  readonly #bus: GuestBus;
  readonly #pci: GuestPci;
  readonly #mounts = new Set<Mount>();
  readonly #listeners = new Map<keyof GuestEvents, Set<(event: never) => void>>();
  #running = true;
  #stopped: Promise<void> | undefined;

  private constructor(bus: GuestBus, { hotplug, ...options }: GuestOptions) {
    this.#bus = bus;
    this.#pci = new GuestPci(bus, {
      drivers: [virtio9pDriver(options, { tagsChanged: (change) => this.#emit('tags', change) })],
      events: {
        added: (found) => this.#plugged(describe(found)),
        removed: (found) => this.#unplugged(describe(found)),
        ejectRequested: (functions) => this.#emit('eject-request', functions.map(describe)),
      },
      hotplug,
    });
  }

  /** Boots on a machine that no other guest runs on. Resolves once every device that is there has been looked at. */
  static async boot(
    machine: GuestBus | { readonly bus: GuestBus },
    options: GuestOptions = {},
  ): Promise<Guest> {
    const guest = new Guest('bus' in machine ? machine.bus : machine, options);
    await guest.#pci.start();
    return guest;
  }

  /** The PCI functions that are plugged in, in order of address; those of the chassis itself, its bridges and ports, are left out. */
  functions(): FunctionInfo[] {
    return [...this.#pci.functions()].sort(byAddress).map(describe);
  }

  /** Mount tags of the 9p devices that are there, mounted or not. */
  tags(): string[] {
    return this.functions().flatMap(({ tags }) => tags);
  }

  /**
   * Mounts the file system of the 9p device with this tag. Rejects with ENOENT where there is none, and with EBUSY where it is
   * mounted already or the machine wants its slot back.
   */
  async mount(tag: string, options: MountOptions = {}): Promise<Mount> {
    // What a port has told of and is being brought up is waited for.
    if (this.#tagged(tag).length === 0) await this.#pci.idle();
    const { found, channel } = this.#findForMount(tag);
    let mount: Mount | undefined = undefined;
    mount = await channel.mount({ msize: DEFAULT_MSIZE, ...options }, () => {
      if (mount !== undefined) this.#mounts.delete(mount);
      this.#pci.released(found.fn);
    });
    this.#mounts.add(mount);
    return mount;
  }

  /** Resolves once a 9p device with this tag is there. */
  waitForTag(tag: string, { timeoutMs, signal }: WaitOptions = {}): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error);
    if (this.#tagged(tag).length > 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (error?: Error) => {
        stopListening();
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        if (error === undefined) resolve();
        else reject(error);
      };
      const onAbort = () => settle(signal?.reason as Error);
      const stopListening = this.on('tags', ({ added }) => {
        if (added.includes(tag)) settle();
      });
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => settle(new GuestError('ETIMEDOUT', { syscall: 'wait', path: tag })), timeoutMs);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Calls `listener` at each event from now on, after the guest is done with it. Answers what ends that. */
  on<K extends keyof GuestEvents>(event: K, listener: Listener<K>): () => void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /**
   * Unmounts everything, by force after `timeoutMs` milliseconds, resets the devices and powers off. They stay plugged in:
   * another guest may boot afterwards.
   */
  shutdown({ timeoutMs = SHUTDOWN_TIMEOUT_MS }: { readonly timeoutMs?: number } = {}): Promise<void> {
    this.#stopped ??= this.#shutdown(timeoutMs);
    return this.#stopped;
  }

  async #shutdown(timeoutMs: number): Promise<void> {
    this.#running = false;
    await Promise.all([...this.#mounts].map((mount) => unmountWithin(mount, timeoutMs)));
    await this.#pci.stop();
    this.#bus.powerOff();
  }

  /** A queue with the tag, one that is free if there are several. */
  #findForMount(tag: string): TaggedChannel {
    const place = { syscall: 'mount', path: tag };
    if (!this.#running) throw new GuestError('ENODEV', { ...place, detail: 'the guest is shut down' });
    const tagged = this.#tagged(tag).sort((a, b) => byAddress(a.found, b.found));
    if (tagged.length === 0) throw new GuestError('ENOENT', { ...place, detail: 'no device has this tag' });
    const free = tagged.find(({ found, channel }) => !channel.inUse && !this.#pci.isLeaving(found.fn));
    if (free === undefined) throw new GuestError('EBUSY', place);
    return free;
  }

  /** Every queue with the tag. */
  #tagged(tag: string): TaggedChannel[] {
    const tagged: TaggedChannel[] = [];
    for (const found of this.#pci.functions()) {
      for (const channel of asVirtio9p(found)?.channels ?? []) {
        if (channel.tag === tag) tagged.push({ found, channel });
      }
    }
    return tagged;
  }

  #plugged(info: FunctionInfo): void {
    this.#emit('plug', info);
    if (info.tags.length > 0) this.#emit('tags', { added: info.tags, removed: [] });
  }

  #unplugged(info: FunctionInfo): void {
    this.#emit('unplug', info);
    if (info.tags.length > 0) this.#emit('tags', { added: [], removed: info.tags });
  }

  /** Listeners run on their own: what they throw is theirs and keeps nobody from the event. */
  #emit<K extends keyof GuestEvents>(event: K, value: GuestEvents[K]): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      queueMicrotask(() => (listener as Listener<K>)(value));
    }
  }
}

function asVirtio9p({ binding }: FoundFunction): Virtio9pBinding | undefined {
  return binding instanceof Virtio9pBinding ? binding : undefined;
}

function byAddress({ fn: { node: a } }: FoundFunction, { fn: { node: b } }: FoundFunction): number {
  return a.bus - b.bus || a.device - b.device || a.fn - b.fn;
}

function describe(found: FoundFunction): FunctionInfo {
  const { fn, driver, error } = found;
  const tags = asVirtio9p(found)?.tags ?? [];
  return {
    address: fn.name,
    vendorId: fn.vendorId,
    deviceId: fn.deviceId,
    classCode: fn.classCode,
    driver: driver?.name,
    tag: tags.at(0),
    tags,
    error,
  };
}

async function unmountWithin(mount: Mount, timeoutMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  const unmounted = mount.unmount();
  await Promise.race([unmounted, timeout]);
  clearTimeout(timer);
  // Once it is unmounted this changes nothing.
  await mount.unmount({ force: true });
}
