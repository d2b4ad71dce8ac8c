/** What the manager needs of a virtual machine monitor that it can plug functions into. */
import type { DrivenVmm, Port, Vmm } from '../control/api.js';
import type { FunctionMask } from '../chassis/hotplug.js';
import type { VmmAbilities } from './port-choice.js';

/** The VMM that a chassis is for, and the socket at which it is driven. */
export interface VmmEndpoint {
  readonly type: DrivenVmm;
  readonly socketPath: string;
}

export interface PluggableFunction {
  /** 0–7. */
  readonly function: number;
  /** The mount's, of which a 9p device's config space consists; or a disk's or card's name. */
  readonly tag: string;
  /** It is a disk: what of one a VMM has to know. */
  readonly disk?: PluggableDisk;
  /** It is a network card: what of one a VMM has to know. */
  readonly card?: PluggableCard;
  /** It has a queue for each of many mounts. */
  readonly mux?: boolean;
  readonly port: Port;
  /** Where the device process serves it. */
  readonly socketPath: string;
}

export interface PluggableDisk {
  readonly queues: number;
}

export interface PluggableCard {
  readonly mac: string;
  readonly mtu?: number;
  readonly queuePairs: number;
  /** The cable is in. */
  readonly up: boolean;
}

export interface VmmDriver {
  readonly vmm: Vmm;
  readonly abilities: VmmAbilities;
  /** Slots that cannot take our functions, and what stands in the way. */
  readonly unusable: ReadonlyMap<number, string>;
  /** Our functions that the VM has now, by slot. */
  present(): Promise<ReadonlyMap<number, FunctionMask>>;
  /**
   * Adds functions to an empty slot, function 0 last. All of them are in the VM when it resolves, none when it rejects.
   * @throws ChassisError VMM_REFUSED, VMM_GONE or GUEST_TIMEOUT
   */
  plug(slot: number, functions: readonly PluggableFunction[], timeoutMs: number): Promise<void>;
  /** Removes functions that the guest has not seen, since function 0 is not among them. Does not reject. */
  takeBack(slot: number, functions: readonly number[]): Promise<void>;
  /**
   * Asks the guest to let a slot go, and resolves once the VM has none of the functions any more. After GUEST_TIMEOUT
   * the request stands: `onDeleted` tells when the guest complies.
   * @throws ChassisError VMM_REFUSED (the guest will not), VMM_GONE or GUEST_TIMEOUT
   */
  unplug(slot: number, functions: readonly number[], timeoutMs: number): Promise<void>;
  /** Tells the guest of a card that its cable was pulled, or plugged in again: over vhost-user. @throws ChassisError VMM_GONE or VMM_REFUSED */
  setLink(slot: number, fn: number, up: boolean): Promise<void>;
}
