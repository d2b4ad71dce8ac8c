import { GuestError } from '../errors.js';
import type { CardInfo } from './card-info.js';
import { ACK_OK, NetCommand } from './constants.js';
import type { FrameWork } from './frame-work.js';
import type { ReceivedFrame } from './receive-ring.js';

/** What a card needs of its driver. */
export interface CardDriver {
  readonly name: string;
  /** As the card says now. */
  info(): CardInfo;
  send(bytes: Uint8Array, work: FrameWork, queuePair: number): Promise<void>;
  /** Answers the acknowledgement. */
  command(command: readonly [number, number], data: Uint8Array): Promise<number>;
  /** Whether buffers are kept from the device once it has used them. */
  holdBuffers(hold: boolean): void;
  closed(): Promise<void>;
}

export interface CardListeners {
  frame: (frame: ReceivedFrame) => void;
  /** The link went up or down, or the card asks for an announcement. */
  change: (info: CardInfo) => void;
}

/**
 * A network card in use: raw Ethernet frames in and out. Everything rejects with a GuestError: EINVAL where the card refuses a command,
 * EIO where it failed, ENODEV once it is gone.
 */
export class NetworkCard {
  readonly #driver: CardDriver;
  readonly #frameListeners = new Set<CardListeners['frame']>();
  readonly #changeListeners = new Set<CardListeners['change']>();
  #closed: Promise<void> | undefined;

  constructor(driver: CardDriver) {
    this.#driver = driver;
  }

  /** What the card says about itself now. */
  get info(): CardInfo {
    return this.#driver.info();
  }

  /** Sends a frame, and resolves once the card has taken it. */
  send(bytes: Uint8Array, work: FrameWork = {}, queuePair = 0): Promise<void> {
    return this.#driver.send(bytes, work, queuePair);
  }

  /** Calls `listener` with each frame that comes. Answers what ends that. */
  onFrame(listener: CardListeners['frame']): () => void {
    this.#frameListeners.add(listener);
    return () => this.#frameListeners.delete(listener);
  }

  onChange(listener: CardListeners['change']): () => void {
    this.#changeListeners.add(listener);
    return () => this.#changeListeners.delete(listener);
  }

  /** Turns a mode of receiving on or off: one of the `RX_` commands. */
  setMode(mode: NetCommand, on: boolean): Promise<void> {
    return this.command(mode, Uint8Array.of(on ? 1 : 0));
  }

  /** Receives frames to these addresses, of six bytes each, too. */
  setAddresses(unicast: readonly Uint8Array[], multicast: readonly Uint8Array[]): Promise<void> {
    return this.command(NetCommand.MAC_TABLE_SET, Uint8Array.of(...table(unicast), ...table(multicast)));
  }

  setMac(mac: Uint8Array): Promise<void> {
    return this.command(NetCommand.MAC_ADDR_SET, mac);
  }

  addVlan(vlan: number): Promise<void> {
    return this.command(NetCommand.VLAN_ADD, le(vlan, 2));
  }

  removeVlan(vlan: number): Promise<void> {
    return this.command(NetCommand.VLAN_DEL, le(vlan, 2));
  }

  acknowledgeAnnouncement(): Promise<void> {
    return this.command(NetCommand.ANNOUNCE_ACK, new Uint8Array(0));
  }

  setQueuePairs(pairs: number): Promise<void> {
    return this.command(NetCommand.MQ_VQ_PAIRS_SET, le(pairs, 2));
  }

  /** What the card may leave undone in frames for this guest: a mask of `GUEST_` features. */
  setOffloads(features: bigint): Promise<void> {
    const data = new Uint8Array(8);
    new DataView(data.buffer).setBigUint64(0, features, true);
    return this.command(NetCommand.GUEST_OFFLOADS_SET, data);
  }

  async command(command: readonly [number, number], data: Uint8Array): Promise<void> {
    if ((await this.#driver.command(command, data)) === ACK_OK) return;
    throw new GuestError('EINVAL', { syscall: 'command', path: this.#driver.name });
  }

  /** Keeps used buffers from the card, as a guest does that is too slow; or gives them back to it. */
  holdBuffers(hold: boolean): void {
    this.#driver.holdBuffers(hold);
  }

  close(): Promise<void> {
    this.#closed ??= this.#driver.closed();
    return this.#closed;
  }

  /** The driver has a frame. Listeners must not throw. */
  received(frame: ReceivedFrame): void {
    for (const listener of this.#frameListeners) listener(frame);
  }

  changed(info: CardInfo): void {
    for (const listener of this.#changeListeners) queueMicrotask(() => listener(info));
  }
}

/** le32 entries, then the addresses. */
function table(addresses: readonly Uint8Array[]): number[] {
  return [...le(addresses.length, 4), ...addresses.flatMap((address) => [...address])];
}

function le(value: number, width: number): Uint8Array {
  return Uint8Array.from({ length: width }, (_, i) => value >>> (8 * i));
}
