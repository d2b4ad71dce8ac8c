/** Plugs functions into a running QEMU and pulls them out, over QMP. */
import { ChassisError, type Vmm } from '../control/api.js';
import { functionBit, type FunctionMask } from '../chassis/hotplug.js';
import type { PluggableFunction, VmmDriver } from './driver.js';
import type { VmmAbilities } from './port-choice.js';
import {
  chardevs,
  checkQemu,
  children,
  formatVersion,
  MSIX_UNPLUG_ABORTS,
  peripherals,
  portNumbers,
  reconnection,
} from './qemu-check.js';
import { cardNetdev, deviceId, functionDevice, inPlugOrder, parseDeviceId, portId } from './qemu-names.js';
import { QmpClosedError, QmpCommandError, QmpTimeoutError, type QmpClient, type QmpEvent } from './qmp.js';

export interface QemuDriverOptions {
  readonly slotCount: number;
  /** Called for each function of ours that the VM let go, asked or not. */
  readonly onDeleted: (slot: number, fn: number) => void;
}

/**
 * A request to unplug is forgotten by a guest that was still booting, so it is repeated; QEMU itself refuses repeats
 * within five seconds, because a second press of the attention button would cancel the first.
 */
const UNPLUG_REPEAT_MS = 6000;
/** How QEMU refuses a repeat; a plain GenericError, so only its text tells it from a real refusal. */
const UNPLUG_UNDER_WAY = /in the process of unplug|guest is busy/;
/** Functions without function 0 go at once, or when the guest next looks. */
const ROLLBACK_TIMEOUT_MS = 5000;

export class QemuDriver implements VmmDriver {
  readonly vmm: Vmm;
  readonly abilities: VmmAbilities;
  private readonly qmp: QmpClient;
  private readonly slotCount: number;
  private readonly onDeleted: QemuDriverOptions['onDeleted'];
  /** Of functions that the VM let go, by device id: the next of that id waits for it. */
  private readonly backendRemovals = new Map<string, Promise<void>>();
  /** Why a slot is unusable, by the QOM path of what is in the way; without a path where a port is missing. */
  private obstacles: { readonly path?: string; readonly slot: number; readonly reason: string }[] = [];

  private constructor(qmp: QmpClient, abilities: VmmAbilities, options: QemuDriverOptions) {
    this.qmp = qmp;
    this.slotCount = options.slotCount;
    this.onDeleted = options.onDeleted;
    this.abilities = abilities;
    this.vmm = {
      type: 'qemu',
      version: formatVersion(qmp.version),
      notes: abilities.msixPreventsUnplug ? [MSIX_UNPLUG_ABORTS.note] : [],
    };
    qmp.onEvent((event) => this.deviceDeleted(event));
  }

  /**
   * Looks at the QEMU behind a connection.
   * @throws ChassisError VMM_UNSUITABLE or VMM_GONE
   */
  static async open(qmp: QmpClient, options: QemuDriverOptions): Promise<QemuDriver> {
    try {
      const abilities = await checkQemu(qmp, options.slotCount);
      const driver = new QemuDriver(qmp, abilities, options);
      await driver.removeLeftBackends();
      await driver.findObstacles();
      return driver;
    } catch (error) {
      throw asChassisError(error, 'look at the VM');
    }
  }

  get unusable(): ReadonlyMap<number, string> {
    return new Map(this.obstacles.map(({ slot, reason }) => [slot, reason]));
  }

  async present(): Promise<ReadonlyMap<number, FunctionMask>> {
    const masks = new Map<number, FunctionMask>();
    try {
      for (const id of (await peripherals(this.qmp)).keys()) {
        const place = parseDeviceId(id);
        if (place) masks.set(place.slot, (masks.get(place.slot) ?? 0) | functionBit(place.function));
      }
    } catch (error) {
      throw asChassisError(error, 'list the devices');
    }
    return masks;
  }

  async plug(slot: number, functions: readonly PluggableFunction[], timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    const tried: number[] = [];
    try {
      for (const plugged of inPlugOrder(functions)) {
        const leftMs = () => Math.max(1, deadline - Date.now());
        if (plugged.port === 'vhost-user') await this.addBackend(slot, plugged, leftMs);
        tried.push(plugged.function);
        const device = functionDevice(slot, functions.length > 1, plugged, this.qmp.version);
        await this.qmp.execute('device_add', device, leftMs());
        if (plugged.card?.up === false && plugged.port === 'vhost-user')
          await this.setLink(slot, plugged.function, false);
      }
    } catch (error) {
      // The last one tried may still come true if its answer is late.
      await this.takeBack(slot, error instanceof QmpTimeoutError ? tried : tried.slice(0, -1));
      const backends = functions.filter(({ port }) => port === 'vhost-user');
      await Promise.all(backends.map(({ function: fn }) => this.removeBackend(deviceId(slot, fn))));
      throw asChassisError(error, `plug slot ${slot}`);
    }
  }

  async unplug(slot: number, functions: readonly number[], timeoutMs: number): Promise<void> {
    const watch = new DeletionWatch(
      this.qmp,
      functions.map((fn) => deviceId(slot, fn)),
    );
    const repeat = setInterval(
      () => void this.requestUnplug(slot, functions).catch(() => undefined),
      UNPLUG_REPEAT_MS,
    );
    let expiry: NodeJS.Timeout | undefined;
    try {
      const expired = new Promise<never>((_, reject) => {
        expiry = setTimeout(() => reject(guestTimeout(slot, timeoutMs)), timeoutMs);
      });
      watch.gone(await Promise.race([this.requestUnplug(slot, functions), expired]));
      await Promise.race([watch.done, expired, this.qmp.closed.then((reason) => Promise.reject(reason))]);
      for (const fn of functions) await this.backendRemovals.get(deviceId(slot, fn));
    } catch (error) {
      throw asChassisError(error, `unplug slot ${slot}`);
    } finally {
      clearInterval(repeat);
      clearTimeout(expiry);
      watch.stop();
    }
  }

  async setLink(slot: number, fn: number, up: boolean): Promise<void> {
    try {
      await this.qmp.execute('set_link', { name: deviceId(slot, fn), up });
    } catch (error) {
      throw asChassisError(error, `change the link of slot ${slot}`);
    }
  }

  /** The socket of a vhost-user function, and of a network card what QEMU plugs it into, under the function's own id. */
  private async addBackend(slot: number, plugged: PluggableFunction, leftMs: () => number): Promise<void> {
    const id = deviceId(slot, plugged.function);
    await this.backendRemovals.get(id);
    this.backendRemovals.delete(id);
    const addr = { type: 'unix', data: { path: plugged.socketPath } };
    await this.qmp.execute(
      'chardev-add',
      {
        id,
        backend: {
          type: 'socket',
          data: { addr, server: false, ...reconnection(plugged, this.qmp.version) },
        },
      },
      leftMs(),
    );
    if (plugged.card) await this.qmp.execute('netdev_add', cardNetdev(slot, plugged), leftMs());
  }

  /** A function over vfio-user has none, and a QEMU that is gone neither: both are fine. */
  private async removeBackend(id: string): Promise<void> {
    await this.qmp.execute('netdev_del', { id }).catch(() => undefined);
    await this.qmp.execute('chardev-remove', { id }).catch(() => undefined);
  }

  /** An earlier daemon ended between adding a back-end and adding its device: nobody else can have made one of that name. */
  private async removeLeftBackends(): Promise<void> {
    const devices = await peripherals(this.qmp);
    for (const id of await chardevs(this.qmp)) {
      if (parseDeviceId(id) && !devices.has(id)) await this.removeBackend(id);
    }
  }

  /** One `device_del` ejects the whole slot. Answers the ids that the VM turned out not to have. */
  private async requestUnplug(slot: number, functions: readonly number[]): Promise<string[]> {
    const missing: string[] = [];
    for (const fn of functions) {
      const id = deviceId(slot, fn);
      try {
        await this.qmp.execute('device_del', { id });
        break;
      } catch (error) {
        if (!(error instanceof QmpCommandError)) throw error;
        if (UNPLUG_UNDER_WAY.test(error.message)) break;
        if (error.errorClass !== 'DeviceNotFound') throw error;
        missing.push(id);
        this.onDeleted(slot, fn);
      }
    }
    return missing;
  }

  /** Removes what a failed plug left. */
  async takeBack(slot: number, functions: readonly number[]): Promise<void> {
    if (functions.length === 0) return;
    const ids = functions.map((fn) => deviceId(slot, fn));
    const watch = new DeletionWatch(this.qmp, ids);
    for (const id of ids) {
      await this.qmp.execute('device_del', { id }, ROLLBACK_TIMEOUT_MS).catch((error: unknown) => {
        if (error instanceof QmpCommandError && error.errorClass === 'DeviceNotFound') watch.gone([id]);
      });
    }
    const left = await watch.within(ROLLBACK_TIMEOUT_MS);
    const reason = `slot ${slot} of the VM still holds functions of an attach that failed`;
    this.obstacles.push(...left.map((id) => ({ path: `/machine/peripheral/${id}`, slot, reason })));
    if (left.length > 0) void this.clearWhatNeverCame(left);
  }

  /**
   * A QEMU that stood still does late what it was asked, in order: once it answers, a device that it does not have was never added, and no
   * event will say that it went. One that it has goes with the request that is there already.
   */
  private async clearWhatNeverCame(ids: readonly string[]): Promise<void> {
    let gone = false;
    void this.qmp.closed.then(() => (gone = true));
    while (!gone) {
      try {
        const present = await peripherals(this.qmp);
        const absent = ids.filter((id) => !present.has(id)).map((id) => `/machine/peripheral/${id}`);
        this.obstacles = this.obstacles.filter(({ path = '' }) => !absent.includes(path));
        return;
      } catch (error) {
        if (!(error instanceof QmpTimeoutError)) return;
      }
    }
  }

  /** Slots whose port is missing, or in whose port somebody else's device sits. */
  private async findObstacles(): Promise<void> {
    const ports = await peripherals(this.qmp);
    for (const slot of portNumbers(this.slotCount)) {
      if (ports.has(portId(slot))) continue;
      this.obstacles.push({ slot, reason: `the VM was started without a port for slot ${slot}` });
    }
    for (const container of ['/machine/peripheral', '/machine/peripheral-anon']) {
      for (const name of (await children(this.qmp, container)).keys()) {
        if (container !== '/machine/peripheral' || !parseDeviceId(name))
          await this.noteForeign(`${container}/${name}`);
      }
    }
  }

  private async noteForeign(path: string): Promise<void> {
    let bus: unknown;
    try {
      bus = await this.qmp.execute('qom-get', { path, property: 'parent_bus' });
    } catch (error) {
      if (error instanceof QmpCommandError) return;
      throw error;
    }
    const match = typeof bus === 'string' ? /\/chassis-slot(\d{1,3})(?:\/|$)/.exec(bus) : null;
    if (!match) return;
    const slot = Number(match[1]);
    this.obstacles.push({
      path,
      slot,
      reason: `slot ${slot} of the VM holds a device that is not ours: ${path}`,
    });
  }

  private deviceDeleted(event: QmpEvent): void {
    if (event.event !== 'DEVICE_DELETED') return;
    const { device, path } = event.data;
    this.obstacles = this.obstacles.filter(
      (obstacle) => obstacle.path === undefined || obstacle.path !== path,
    );
    const place = typeof device === 'string' ? parseDeviceId(device) : undefined;
    if (typeof device !== 'string' || !place) return;
    this.backendRemovals.set(device, this.removeBackend(device));
    this.onDeleted(place.slot, place.function);
  }
}

/** Follows devices until the last of them is gone. */
class DeletionWatch {
  /** Resolves once all are gone; rejects when the guest refuses. */
  readonly done: Promise<void>;
  readonly stop: () => void;
  private readonly left: Set<string>;
  private resolve: () => void = () => undefined;
  private reject: (error: Error) => void = () => undefined;

  constructor(qmp: QmpClient, ids: readonly string[]) {
    this.left = new Set(ids);
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.done.catch(() => undefined);
    this.stop = qmp.onEvent((event) => this.hear(event));
  }

  gone(ids: readonly string[]): void {
    for (const id of ids) this.left.delete(id);
    if (this.left.size === 0) this.resolve();
  }

  /** Waits, at most so long; answers the ids that are still there. */
  async within(timeoutMs: number): Promise<string[]> {
    let timer: NodeJS.Timeout | undefined;
    const expired = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)));
    await Promise.race([this.done.catch(() => undefined), expired]);
    clearTimeout(timer);
    this.stop();
    return [...this.left];
  }

  private hear({ event, data }: QmpEvent): void {
    const id = typeof data.device === 'string' ? data.device : String(data.path).replace(/^.*\//, '');
    if (!this.left.has(id)) return;
    if (event === 'DEVICE_DELETED') this.gone([id]);
    if (event === 'DEVICE_UNPLUG_GUEST_ERROR') {
      this.reject(
        new ChassisError(
          'VMM_REFUSED',
          `the guest refused to let ${id} go`,
          'unmount it in the guest, then detach again',
        ),
      );
    }
  }
}

function guestTimeout(slot: number, timeoutMs: number): ChassisError {
  return new ChassisError(
    'GUEST_TIMEOUT',
    `the guest did not let slot ${slot} go within ${timeoutMs} ms`,
    'unmount it in the guest; the slot goes as soon as the guest complies, or when the VM stops',
  );
}

/** What QMP says, as the operator should hear it. */
function asChassisError(error: unknown, what: string): unknown {
  if (error instanceof QmpCommandError) {
    return new ChassisError('VMM_REFUSED', `QEMU refused to ${what}: ${error.message}`);
  }
  if (error instanceof QmpTimeoutError) {
    return new ChassisError(
      'GUEST_TIMEOUT',
      `${error.message} (to ${what})`,
      'see whether the VM is stopped or hangs',
    );
  }
  if (error instanceof QmpClosedError) {
    return new ChassisError(
      'VMM_GONE',
      `the VM went away: ${error.message}`,
      'the mounts stay parked for its next start',
    );
  }
  return error;
}
