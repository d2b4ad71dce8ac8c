/** The network cards of one chassis: each a function in a slot of its own. */
import { createHash } from 'node:crypto';
import { isAbsolute } from 'node:path';
import {
  ChassisError,
  type AddCardRequest,
  type Captured,
  type CaptureRequest,
  type Card,
  type RemoveCardQuery,
} from './control/api.js';
import type { CardRecord, ChassisModel } from './chassis/chassis.js';
import { plan } from './chassis/planner.js';
import type { Departures } from './departures.js';
import type { DeviceFunctions } from './device-functions.js';
import { functionFacts } from './function-facts.js';
import { hostIdentity } from './host-identity.js';
import { describeCard } from './views.js';
import type { VmSlots } from './vm-slots.js';

export interface NetworksOptions {
  readonly chassis: string;
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  readonly departures: Departures;
  /** Runs a job once those before it have ended. */
  readonly exclusively: <T>(job: () => Promise<T>) => Promise<T>;
  /** Sees to it that devices can be attached. @throws ChassisError VMM_UNSUITABLE or DEVICE_PROCESS_LOST */
  readonly ready: () => Promise<void>;
  /** Plugs it in, or parks it; where that fails, it is gone. */
  readonly plugIn: (card: CardRecord, timeoutMs: number) => Promise<void>;
}

export class Networks {
  private readonly options: NetworksOptions;

  constructor(options: NetworksOptions) {
    this.options = options;
  }

  /**
   * Plugs a card in, or parks it for the next VM.
   * @throws ChassisError TAG_IN_USE, SLOT_TAKEN, NO_SLOT_FREE, MAC_IN_USE, NETWORK_UNAVAILABLE…
   */
  async add(request: AddCardRequest): Promise<Card> {
    const { devices, exclusively, ready, plugIn } = this.options;
    return exclusively(async () => {
      await ready();
      const card = this.place(request);
      await plugIn(card, request.timeoutMs);
      await devices.refresh();
      return this.view(card);
    });
  }

  /** All of them, as of now. */
  async list(): Promise<Card[]> {
    await this.options.devices.refresh();
    return this.known();
  }

  /** All of them, as of the last time that the device process was asked. */
  known(): Card[] {
    return this.options.model.cards().map((card) => this.view(card));
  }

  /** Pulls a card's cable, or plugs it in again. @throws ChassisError NO_CARD */
  setLink(name: string, up: boolean): Promise<Card> {
    const { model, devices, slots, exclusively } = this.options;
    return exclusively(async () => {
      const card = this.find(name);
      const changed = { ...card, card: { ...card.card, up } };
      model.change(changed);
      await devices.setLink(changed);
      await slots.setLink(changed);
      await devices.refresh();
      return this.view(changed);
    });
  }

  /** Resolves once the capture has ended. @throws ChassisError NO_CARD, SOURCE_IN_USE or SOURCE_UNREADABLE */
  async capture(name: string, request: CaptureRequest): Promise<Captured> {
    if (!isAbsolute(request.path) || request.path.includes('\0')) {
      throw new ChassisError('BAD_REQUEST', `${JSON.stringify(request.path)} is not an absolute path`);
    }
    return this.options.devices.capture(this.find(name), request);
  }

  /** Ends the capture that is under way, if there is one. @throws ChassisError NO_CARD */
  async endCapture(name: string): Promise<void> {
    await this.options.devices.endCapture(this.find(name));
  }

  /**
   * Unplugs a card, or takes it away where no VM has it.
   * @throws ChassisError NO_CARD, MOUNT_BUSY where an unknown VMM has it, VMM_REFUSED, or GUEST_TIMEOUT, after which it works on
   */
  remove(name: string, query: RemoveCardQuery): Promise<void> {
    return this.options.exclusively(async () => {
      const alone = { slot: false, keepFunction: false, discard: false };
      await this.options.departures.leave(this.find(name), { ...query, ...alone });
    });
  }

  private find(name: string): CardRecord {
    const { model } = this.options;
    const card = model.card(name);
    if (card) return card;
    const suggestion = model.disk(name)
      ? `it is a disk: chassis disk remove ${name}`
      : model.mount(name)
        ? `it is a mount: chassis detach ${name}`
        : 'list them with: chassis net list';
    throw new ChassisError('NO_CARD', `no network card has the name ${JSON.stringify(name)}`, suggestion);
  }

  private place(request: AddCardRequest): CardRecord {
    const { chassis, model, slots } = this.options;
    const { name, network, mtu, queuePairs, up, permanent, port, slot, managedBy } = request;
    const [place] = plan(model, { tags: [name], slot, alone: true }, slots.unusable);
    const mac = request.mac ?? macFor(chassis, name);
    const twin = model.cards().find((other) => other.card.mac === mac);
    if (twin) {
      throw new ChassisError(
        'MAC_IN_USE',
        `the card ${JSON.stringify(twin.tag)} has the address ${mac}`,
        'give this one another with --mac',
      );
    }
    const card = { network, mac, ...(mtu !== undefined && { mtu }), queuePairs, up };
    return { tag: name, permanent, port, managedBy, ...place, card };
  }

  private view(card: CardRecord): Card {
    const { chassis, model, devices, slots } = this.options;
    return describeCard(model, card, {
      ...functionFacts(chassis, card, devices, slots),
      status: devices.cardStatus(card),
      switchPort: devices.switchPort(card),
      switchSandbox: devices.switchSandbox(card),
    });
  }
}

/**
 * The address of a card that was not given one: a guest's configuration names it, so that it is the same each time, and no other host's,
 * whose network may be bridged to this one. Locally administered (IEEE 802, bit 1), and a station's (bit 0).
 */
function macFor(chassis: string, card: string): string {
  const bytes = createHash('sha256').update(`${hostIdentity()}\0${chassis}\0${card}`).digest().subarray(0, 6);
  bytes[0] = (bytes[0] & 0xfc) | 2;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
