/** A back-end whose process may be killed at any time: what is told of it while it is at work, and how another one goes on from that. */
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import { dataAs } from '../../device-process/hand-over/movable.js';
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import type { DeviceRun } from './device-run.js';
import { part, takePart, type KeptParts, type ToldPart } from '../keeping/told.js';
import { deviceStateOf, giveDeviceState } from './device-state.js';
import { KeptDevice, KeptMemory, KeptPart, KeptSession, KeptVring } from './kept-state.js';
import type { MemoryTable } from './memory-table.js';
import { VhostUserRequest as Request } from './protocol.js';
import { restoreFault, restoreMemory, restoreSession, saveMemory, saveSession } from './run-state.js';

/** Requests that change nothing. */
const QUERIES: ReadonlySet<number> = new Set<number>([
  Request.VHOST_USER_GET_FEATURES,
  Request.VHOST_USER_GET_PROTOCOL_FEATURES,
  Request.VHOST_USER_GET_QUEUE_NUM,
  Request.VHOST_USER_GET_MAX_MEM_SLOTS,
  Request.VHOST_USER_GET_CONFIG,
  Request.VHOST_USER_GET_STATUS,
  Request.VHOST_USER_GET_INFLIGHT_FD,
]);
/** Requests that begin with the number of a ring, in their first byte. */
const OF_RINGS: ReadonlySet<number> = new Set<number>([
  Request.VHOST_USER_SET_VRING_NUM,
  Request.VHOST_USER_SET_VRING_ADDR,
  Request.VHOST_USER_SET_VRING_BASE,
  Request.VHOST_USER_GET_VRING_BASE,
  Request.VHOST_USER_SET_VRING_KICK,
  Request.VHOST_USER_SET_VRING_CALL,
  Request.VHOST_USER_SET_VRING_ERR,
  Request.VHOST_USER_SET_VRING_ENABLE,
]);
const OF_MEMORY: ReadonlySet<number> = new Set<number>([
  Request.VHOST_USER_SET_MEM_TABLE,
  Request.VHOST_USER_ADD_MEM_REG,
  Request.VHOST_USER_REM_MEM_REG,
]);

/** The part that a request is about, which is told anew whatever it looks like: another descriptor may have the same number. Undefined for none. */
export function partOf(request: number, payload: Uint8Array): string | undefined {
  if (QUERIES.has(request)) return undefined;
  if (OF_RINGS.has(request)) return `${KeptPart.VRING}${payload[0] ?? 0}`;
  return OF_MEMORY.has(request) ? KeptPart.MEMORY : KeptPart.SESSION;
}

/** The part of a back-end that is neither memory nor rings nor its run. */
export interface KeptFront {
  save(parcel: OutgoingParcel): Pick<KeptSession, 'protocolFeatures' | 'status' | 'channel'>;
  /** Answers why not. @throws ParcelError */
  restore(state: KeptSession, parcel: IncomingParcel): string | undefined;
}

export interface KeptBackEndOptions {
  readonly run: DeviceRun;
  readonly table: MemoryTable;
  readonly device: VirtioDevice;
  readonly front: KeptFront;
}

export class KeptBackEnd {
  readonly #options: KeptBackEndOptions;

  constructor(options: KeptBackEndOptions) {
    this.#options = options;
  }

  /** All parts, as they are now. */
  parts(): ToldPart[] {
    const { run, table, front } = this.#options;
    return [
      part(KeptPart.SESSION, (parcel) => ({ ...front.save(parcel), ...saveSession(run, parcel) })),
      part(KeptPart.MEMORY, (parcel) => ({ memory: saveMemory(table, parcel) })),
      ...run.vrings.map((vring) => part(`${KeptPart.VRING}${vring.index}`, (parcel) => vring.save(parcel))),
      this.devicePart(),
    ];
  }

  /** The one that also changes with what a driver says on a queue. */
  devicePart(): ToldPart {
    const { run, device } = this.#options;
    const state = device.isStateKept === true ? Buffer.from(deviceStateOf(device)).toString('hex') : null;
    return part(KeptPart.DEVICE, (): KeptDevice => ({ works: run.session !== undefined, state }));
  }

  /** Goes on, once the run is resumed, for a process that was killed. Answers why not. @throws ParcelError */
  async restore(parts: KeptParts): Promise<string | undefined> {
    const { run, table, device, front } = this.#options;
    const session = takePart(parts, KeptPart.SESSION);
    const state = dataAs(KeptSession, session.data);
    const memory = takePart(parts, KeptPart.MEMORY);
    const problem =
      front.restore(state, session.parcel) ??
      restoreMemory(dataAs(KeptMemory, memory.data), table, memory.parcel) ??
      restoreSession(state, run, session.parcel);
    if (problem !== undefined) return problem;
    for (const vring of run.vrings) {
      const { data, parcel } = takePart(parts, `${KeptPart.VRING}${vring.index}`);
      if (!vring.restore(dataAs(KeptVring, data), parcel))
        return `queue ${vring.index} is larger than it can be here`;
    }
    const refused = await this.#restoreState(parts);
    if (refused !== undefined) return refused;
    if (state.faulted) await restoreFault(run, device);
    return undefined;
  }

  /** What a process of a version without this part kept is gone on with as far as it goes. */
  async #restoreState(parts: KeptParts): Promise<string | undefined> {
    const kept = keptDevice(parts);
    if (kept === undefined || kept.state === null) return undefined;
    return giveDeviceState(this.#options.device, Buffer.from(kept.state, 'hex'));
  }

  /**
   * Its driver is the device's again, before rings run: those that were stopped may start again much later. That a driver works may not have been told
   * of: its first kick is no message.
   */
  takeOver(parts: KeptParts): void {
    const { run } = this.#options;
    const kept = keptDevice(parts);
    if (kept === undefined || run.faulted) return;
    run.knowPast();
    if (kept.works) run.takeOver([]);
  }
}

function keptDevice(parts: KeptParts): KeptDevice | undefined {
  const device = parts.get(KeptPart.DEVICE);
  return device && dataAs(KeptDevice, device.data);
}
