/**
 * Hot-plug as the machine's firmware interface has it: notifications about a device number come in, `eject` goes out. All of the
 * protocol is here, so that native PCI Express hot-plug can take its place.
 *
 * A slot is let go only once nothing in it is in use: a request waits for that, and the machine may take it back meanwhile.
 */
import type { GuestBus, HotplugNotification } from '../bus.js';
import type { DriverServices } from './driver.js';
import { ROOT_BUS, type FoundFunction, type RootBus } from './root-bus.js';

export class HotplugDriver {
  readonly #bus: GuestBus;
  readonly #pci: RootBus;
  readonly #services: DriverServices;
  readonly #ejectRequested: (functions: readonly FoundFunction[]) => void;
  readonly #leaving = new Set<number>();
  /** Notifications are handled one after the other: a scan that finds half of another's work would probe it twice. */
  #work: Promise<void> = Promise.resolve();

  /** `ejectRequested` hears of requests that have to wait, with the slot's functions. */
  constructor(
    bus: GuestBus,
    pci: RootBus,
    services: DriverServices,
    ejectRequested: (functions: readonly FoundFunction[]) => void,
  ) {
    this.#bus = bus;
    this.#pci = pci;
    this.#services = services;
    this.#ejectRequested = ejectRequested;
  }

  /** Listens, then looks at what is there already: nothing that is plugged meanwhile is missed. */
  start(): Promise<void> {
    this.#bus.onHotplug((bus, device, notification) => {
      if (bus === ROOT_BUS) void this.#enqueue(() => this.#handle(device, notification));
    });
    return this.#enqueue(() => this.#pci.scan(this.#services));
  }

  /** True where the machine has asked for the slot back: nothing in it is taken into use any more. */
  isLeaving(device: number): boolean {
    return this.#leaving.has(device);
  }

  /** A device is no longer in use: meets the request that waited for it. Resolves once that is done. */
  released(device: number): Promise<void> {
    return this.#leaving.has(device) ? this.#enqueue(() => this.#tryEject(device)) : Promise.resolve();
  }

  /** Lets every function go, for a shutdown. */
  stop(): Promise<void> {
    return this.#enqueue(async () => {
      const devices = new Set(this.#pci.functions().map(({ fn }) => fn.address.device));
      for (const device of devices) await this.#pci.releaseSlot(device);
    });
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const done = this.#work.then(work);
    // Who asked hears of a failure through `done`; the next notification is handled all the same.
    this.#work = done.catch(() => undefined);
    return done;
  }

  async #handle(device: number, notification: HotplugNotification): Promise<void> {
    if (notification === 'check') {
      await this.#pci.rescan(device, this.#services);
      // A slot that was emptied under a request has met it; what is plugged next is not meant.
      if (this.#pci.inSlot(device).length === 0) this.#leaving.delete(device);
      return;
    }
    if (notification === 'eject-cancelled') {
      this.#leaving.delete(device);
      return;
    }
    const functions = this.#pci.inSlot(device);
    this.#leaving.add(device);
    if (functions.some(({ binding }) => binding?.inUse)) this.#ejectRequested(functions);
    await this.#tryEject(device);
  }

  async #tryEject(device: number): Promise<void> {
    if (!this.#leaving.has(device)) return;
    if (this.#pci.inSlot(device).some(({ binding }) => binding?.inUse)) return;
    await this.#pci.releaseSlot(device);
    this.#leaving.delete(device);
    this.#bus.eject(ROOT_BUS, device);
  }
}
