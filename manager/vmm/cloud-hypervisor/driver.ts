/**
 * Plugs functions into a running Cloud Hypervisor and pulls them out, over its REST API. That tells nothing by itself: what the guest let go
 * shows when the VM is looked at, which its owner does now and then, and a removal does often.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { ChassisError, type Vmm } from '../../control/api.js';
import { functionBit, type FunctionMask } from '../../chassis/hotplug.js';
import type { PluggableFunction, VmmDriver } from '../driver.js';
import type { VmmAbilities } from '../port-choice.js';
import { deviceId, parseDeviceId } from '../qemu-names.js';
import {
  CloudHypervisorGone,
  CloudHypervisorRefusal,
  CloudHypervisorTimeout,
  type CloudHypervisorClient,
  type VmInfo,
} from './client.js';
import { deviceRequest } from './devices.js';

export interface CloudHypervisorDriverOptions {
  readonly client: CloudHypervisorClient;
  readonly version: string;
  /** Called for each function of ours that the VM let go, asked or not. */
  readonly onDeleted: (slot: number, fn: number) => void;
}

/**
 * Its generic vhost-user device would carry mounts, but `vm.remove-device` refuses it for all devices but network cards, disks and few others
 * (RemovalNotAllowed, read in the sources of release 53). A vfio-user device it removes.
 */
export const CLOUD_HYPERVISOR_ABILITIES: VmmAbilities = {
  vfioUser: true,
  vhostUser: false,
  vhostUserDisk: true,
  vhostUserNet: true,
  msixPreventsUnplug: false,
  cardMsix: true,
};
const NOTES = [
  'its generic vhost-user device cannot be removed: mounts are served over vfio-user',
  'it does not tell guests of the cable of a card over vhost-user: pulled, nothing passes, and the link looks up',
];

/** A guest that was still booting forgets a request. */
const UNPLUG_REPEAT_MS = 6000;
const UNPLUG_LOOK_MS = 100;

export class CloudHypervisorDriver implements VmmDriver {
  readonly vmm: Vmm;
  readonly abilities = CLOUD_HYPERVISOR_ABILITIES;
  readonly unusable = new Map<number, string>();
  private readonly client: CloudHypervisorClient;
  private readonly onDeleted: CloudHypervisorDriverOptions['onDeleted'];
  private readonly processors: number;
  /** Ids of ours that the VM had when it was last looked at, or got since. */
  private readonly known = new Set<string>();

  /** `info` is the running VM's. @throws ChassisError VMM_UNSUITABLE where its memory is not shared */
  constructor(info: VmInfo, { client, version, onDeleted }: CloudHypervisorDriverOptions) {
    checkMemoryIsShared(info);
    this.client = client;
    this.onDeleted = onDeleted;
    this.processors = Math.max(1, info.config.cpus?.boot_vcpus ?? 1);
    this.vmm = {
      type: 'cloud-hypervisor',
      version,
      notes: NOTES,
    };
  }

  async present(): Promise<ReadonlyMap<number, FunctionMask>> {
    const masks = new Map<number, FunctionMask>();
    for (const id of await this.asked('list the devices', () => this.look())) {
      const place = parseDeviceId(id);
      if (place) masks.set(place.slot, (masks.get(place.slot) ?? 0) | functionBit(place.function));
    }
    return masks;
  }

  /**
   * Looks at what the VM has of ours, and says what it let go. Answers the ids.
   * @throws CloudHypervisorGone where the VM does not run any more, or CloudHypervisorTimeout
   */
  async look(): Promise<ReadonlySet<string>> {
    // What is added meanwhile may be missing in the answer.
    const before = [...this.known];
    const info = await this.client.info();
    if (!info || !isRunning(info)) throw new CloudHypervisorGone('the VM does not run any more');
    const present = new Set(Object.keys(info.device_tree ?? {}).filter((id) => parseDeviceId(id)));
    for (const id of present) this.known.add(id);
    for (const id of before) {
      if (!present.has(id)) this.deleted(id);
    }
    return present;
  }

  async plug(slot: number, functions: readonly PluggableFunction[], timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (const plugged of functions) {
      await this.asked(`plug slot ${slot}`, () => this.add(slot, plugged, deadline));
    }
  }

  async unplug(slot: number, functions: readonly number[], timeoutMs: number): Promise<void> {
    const ids = functions.map((fn) => deviceId(slot, fn));
    const deadline = Date.now() + timeoutMs;
    let askedAt = -Infinity;
    await this.asked(`unplug slot ${slot}`, async () => {
      for (;;) {
        if (Date.now() - askedAt >= UNPLUG_REPEAT_MS) {
          askedAt = Date.now();
          for (const id of ids) await this.remove(id, deadline);
        }
        const present = await this.look();
        if (!ids.some((id) => present.has(id))) return;
        if (Date.now() >= deadline) throw guestTimeout(slot, timeoutMs);
        await pause(UNPLUG_LOOK_MS);
      }
    });
  }

  /** A slot has one function here, number 0: nothing is ever there without it. */
  async takeBack(): Promise<void> {}

  /** The device process lets nothing pass meanwhile; there is nobody to tell. */
  async setLink(): Promise<void> {}

  private async add(slot: number, plugged: PluggableFunction, deadline: number): Promise<void> {
    const id = deviceId(slot, plugged.function);
    const { route, config } = deviceRequest(slot, plugged, this.processors);
    try {
      const added = await this.client.add(route, config, left(deadline));
      if (added?.id !== id) {
        await this.client.remove(added?.id ?? id).catch(() => undefined);
        throw new CloudHypervisorRefusal(0, 'it did not add the device under its id to a running VM');
      }
      this.known.add(id);
    } catch (error) {
      // It may still come true.
      if (error instanceof CloudHypervisorTimeout) void this.giveUp(slot, id);
      throw error;
    }
  }

  /** Takes out what was given up, in case that it came all the same; the slot takes nothing until that is known. */
  private async giveUp(slot: number, id: string): Promise<void> {
    this.unusable.set(slot, `slot ${slot} of the VM may still get a function of an attach that failed`);
    for (;;) {
      try {
        // Requests are answered in order: once there is an answer, it was added, or never will be.
        const present = await this.look();
        if (!present.has(id)) break;
        await this.client.remove(id);
      } catch (error) {
        if (error instanceof CloudHypervisorGone) return;
      }
      await pause(UNPLUG_REPEAT_MS, undefined, { ref: false });
    }
    this.unusable.delete(slot);
  }

  /** One that the VM has not is gone already. */
  private async remove(id: string, deadline: number): Promise<void> {
    try {
      await this.client.remove(id, left(deadline));
    } catch (error) {
      if (!(error instanceof CloudHypervisorRefusal && error.status === 404)) throw error;
    }
  }

  private deleted(id: string): void {
    const place = parseDeviceId(id);
    if (this.known.delete(id) && place) this.onDeleted(place.slot, place.function);
  }

  /** What the VMM says, as the operator should hear it. */
  private async asked<T>(what: string, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      throw asChassisError(error, what);
    }
  }
}

/** A VM that can be plugged into. */
export function isRunning({ state }: VmInfo): boolean {
  return state === 'Running' || state === 'Paused';
}

/** A device process sees guest memory only through the files behind it, and a private mapping hides the guest's writes. */
function checkMemoryIsShared({ config: { memory } }: VmInfo): void {
  const zones = memory?.zones ?? [];
  const isShared = zones.length > 0 ? zones.every((zone) => zone.shared === true) : memory?.shared === true;
  if (isShared) return;
  throw new ChassisError(
    'VMM_UNSUITABLE',
    'the memory of this VM is not shared',
    'start it with --memory size=…,shared=on (`chassis args` prints it)',
  );
}

function left(deadline: number): number {
  return Math.max(1, deadline - Date.now());
}

function guestTimeout(slot: number, timeoutMs: number): ChassisError {
  return new ChassisError(
    'GUEST_TIMEOUT',
    `the guest did not let slot ${slot} go within ${timeoutMs} ms`,
    'unmount it in the guest; the slot goes as soon as the guest complies, or when the VM stops',
  );
}

export function asChassisError(error: unknown, what: string): unknown {
  if (error instanceof CloudHypervisorRefusal)
    return new ChassisError('VMM_REFUSED', `Cloud Hypervisor refused to ${what}: ${error.message}`);
  if (error instanceof CloudHypervisorTimeout) {
    return new ChassisError(
      'GUEST_TIMEOUT',
      `Cloud Hypervisor: ${error.message} (to ${what})`,
      'see whether the VM is stopped or hangs',
    );
  }
  if (error instanceof CloudHypervisorGone) {
    return new ChassisError(
      'VMM_GONE',
      `the VM went away: ${error.message}`,
      'the mounts stay parked for its next start',
    );
  }
  return error;
}
