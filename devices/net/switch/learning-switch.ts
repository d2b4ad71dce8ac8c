/**
 * A learning Ethernet switch (IEEE 802.1Q without spanning trees): joins cards of any chassis in this process, and whatever else is a
 * backend (see `patch`).
 *
 * Frames go to where their destination was last heard, else to all ports of their VLAN. Unfinished work stays with a frame: a stream
 * that one guest leaves to be cut up arrives whole at another that takes it so. Nothing is kept: a port that has no room
 * loses the frame, and no other does.
 */
import { EthernetField, EtherType, isGroupAddress, u16At, VLAN_TAG_BYTES } from '../ethernet.js';
import { MAX_FRAME_BYTES, type Frame } from '../frame.js';
import { AddressTable } from './address-table.js';
import { macNumber, NO_VLAN, portRules, type SwitchPortOptions } from './port-options.js';
import { SwitchPort } from './switch-port.js';
import { isTagged, taggedVlan, VlanTagger } from './vlan-tagger.js';

export interface LearningSwitchOptions {
  /** Addresses that one port may be heard with at once. Default: 256. */
  readonly addressesPerPort?: number;
  /** Milliseconds after which an address is forgotten that is not heard any more. Default: 300,000. */
  readonly ageMs?: number;
  /** Milliseconds that only grow. Default: performance.now. */
  readonly now?: () => number;
}

const DEFAULT_ADDRESSES_PER_PORT = 256;
const DEFAULT_AGE_MS = 300_000;
/** 01-80-C2-00-00-00 to -0F are between neighbours, and no switch passes them on (IEEE 802.1Q, table 8-1). */
const RESERVED_GROUP = 0x0180c2000000;
const RESERVED_GROUPS = 16;

export class LearningSwitch {
  readonly #ports = new Set<SwitchPort>();
  readonly #addresses: AddressTable<SwitchPort>;
  readonly #locked = new Map<number, SwitchPort>();
  readonly #tagger = new VlanTagger();
  readonly #now: () => number;

  constructor(options: LearningSwitchOptions = {}) {
    const { addressesPerPort = DEFAULT_ADDRESSES_PER_PORT, ageMs = DEFAULT_AGE_MS } = options;
    this.#addresses = new AddressTable({ perPort: addressesPerPort, ageMs });
    this.#now = options.now ?? (() => performance.now());
  }

  get ports(): ReadonlySet<SwitchPort> {
    return this.#ports;
  }

  /** Addresses that are known. */
  get addressCount(): number {
    return this.#addresses.size;
  }

  /**
   * A new port, to plug a card into. It is gone once it is closed.
   *
   * @throws RangeError for options that cannot be, or a `macLock` that another port has
   */
  addPort(options: SwitchPortOptions = {}): SwitchPort {
    const rules = portRules(options);
    if (rules.macLock !== undefined && this.#locked.has(rules.macLock)) {
      throw new RangeError(`another port is locked to ${options.macLock}`);
    }
    const port = new SwitchPort(rules, this.#now(), {
      forward: (from, frame) => this.#forward(from, frame),
      remove: (gone) => this.#remove(gone),
    });
    this.#ports.add(port);
    if (rules.macLock !== undefined) this.#locked.set(rules.macLock, port);
    return port;
  }

  #remove(port: SwitchPort): void {
    this.#ports.delete(port);
    this.#addresses.forget(port);
    const { macLock } = port.rules;
    if (macLock !== undefined) this.#locked.delete(macLock);
  }

  #forward(from: SwitchPort, frame: Frame): void {
    const { head, headOffset: at } = frame;
    const source = macNumber(head, at + EthernetField.SOURCE);
    const vlan = this.#vlanOf(from, frame);
    if (vlan === NO_VLAN || this.#isForged(from, source, head, at)) {
      from.counters.refused++;
      return;
    }
    const nowMs = this.#now();
    this.#addresses.learn(vlan, source, from, nowMs);
    const destination = macNumber(head, at + EthernetField.DESTINATION);
    if (destination - RESERVED_GROUP >= 0 && destination - RESERVED_GROUP < RESERVED_GROUPS) return;
    const isGroup = isGroupAddress(head, at + EthernetField.DESTINATION);
    const to = isGroup ? undefined : this.#addresses.find(vlan, destination, nowMs);
    if (to !== undefined) this.#deliver(from, to, frame, vlan);
    else if (from.mayFlood(nowMs)) for (const each of this.#ports) this.#deliver(from, each, frame, vlan);
  }

  /** The VLAN that a frame belongs to, or NO_VLAN where the port does not take it. */
  #vlanOf({ rules }: SwitchPort, frame: Frame): number {
    // Tags of providers would come to lie within ours; a frame that leaves no room for a tag cannot get one.
    if (u16At(frame.head, frame.headOffset + EthernetField.TYPE) === EtherType.SERVICE_VLAN) return NO_VLAN;
    if (frame.byteLength + VLAN_TAG_BYTES > MAX_FRAME_BYTES) return NO_VLAN;
    const tagged = taggedVlan(frame);
    if (tagged === NO_VLAN) return rules.vlan;
    return rules.trunk.has(tagged) ? tagged : NO_VLAN;
  }

  /** A source that is no station's, not the port's own, or another port's. */
  #isForged(from: SwitchPort, source: number, head: Uint8Array, at: number): boolean {
    if (isGroupAddress(head, at + EthernetField.SOURCE)) return true;
    const { macLock } = from.rules;
    if (macLock !== undefined) return source !== macLock;
    return this.#locked.size > 0 && this.#locked.has(source);
  }

  #deliver(from: SwitchPort, to: SwitchPort, frame: Frame, vlan: number): void {
    const { rules } = to;
    if (from === to || (from.rules.isolated && rules.isolated)) return;
    if (rules.vlan === vlan) to.receive(isTagged(frame) ? this.#tagger.untagged(frame) : frame);
    else if (rules.trunk.has(vlan)) to.receive(this.#tagger.tagged(frame, vlan));
  }
}
