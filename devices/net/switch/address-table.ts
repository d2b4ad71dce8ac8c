/** Which port of a switch a station was last heard at, by VLAN. */

const SWEEP_EVERY_MS = 1000;

/** One address, learned or to be found: its two halves as numbers that need no heap. */
interface Entry<Port> {
  port: Port;
  seenMs: number;
}

export interface AddressTableLimits {
  /** Addresses that one port may have learned at once. Who sends from more is flooded to, and takes nobody else's place. */
  readonly perPort: number;
  /** How long an address is kept without having been heard. */
  readonly ageMs: number;
}

export class AddressTable<Port> {
  readonly #limits: AddressTableLimits;
  /** By VLAN, then by address as a number of 48 bits. */
  readonly #vlans = new Map<number, Map<number, Entry<Port>>>();
  readonly #counts = new Map<Port, number>();
  /** When aged addresses of a port were last looked for. */
  readonly #sweptMs = new Map<Port, number>();

  constructor(limits: AddressTableLimits) {
    this.#limits = limits;
  }

  /** Addresses that are kept, aged ones included until their place is needed. */
  get size(): number {
    let size = 0;
    for (const entries of this.#vlans.values()) size += entries.size;
    return size;
  }

  /** A station was heard at a port: the newest port counts. */
  learn(vlan: number, mac: number, port: Port, nowMs: number): void {
    const entry = this.#vlans.get(vlan)?.get(mac);
    if (entry !== undefined) {
      if (entry.port !== port && !this.#moveTo(entry, port, nowMs)) return;
      entry.seenMs = nowMs;
    } else if (this.#hasRoom(port, nowMs)) {
      this.#entriesOf(vlan).set(mac, { port, seenMs: nowMs });
      this.#count(port, 1);
    }
  }

  /** The port of an address that was heard lately. */
  find(vlan: number, mac: number, nowMs: number): Port | undefined {
    const entry = this.#vlans.get(vlan)?.get(mac);
    return entry === undefined || this.#isOld(entry, nowMs) ? undefined : entry.port;
  }

  /** A port is gone. */
  forget(port: Port): void {
    this.#remove((entry) => entry.port === port);
    this.#counts.delete(port);
    this.#sweptMs.delete(port);
  }

  #moveTo(entry: Entry<Port>, port: Port, nowMs: number): boolean {
    if (!this.#hasRoom(port, nowMs)) return false;
    this.#count(entry.port, -1);
    this.#count(port, 1);
    entry.port = port;
    return true;
  }

  /** Where a port has all that it may have, its aged addresses make room. They are looked for now and then: not for each made-up address. */
  #hasRoom(port: Port, nowMs: number): boolean {
    const full = () => (this.#counts.get(port) ?? 0) >= this.#limits.perPort;
    if (!full()) return true;
    if (nowMs - (this.#sweptMs.get(port) ?? -Infinity) < SWEEP_EVERY_MS) return false;
    this.#sweptMs.set(port, nowMs);
    this.#remove((entry) => entry.port === port && this.#isOld(entry, nowMs));
    return !full();
  }

  #remove(matches: (entry: Entry<Port>) => boolean): void {
    for (const [vlan, entries] of this.#vlans) {
      for (const [mac, entry] of entries) {
        if (!matches(entry)) continue;
        entries.delete(mac);
        this.#count(entry.port, -1);
      }
      if (entries.size === 0) this.#vlans.delete(vlan);
    }
  }

  #isOld(entry: Entry<Port>, nowMs: number): boolean {
    return nowMs - entry.seenMs > this.#limits.ageMs;
  }

  #entriesOf(vlan: number): Map<number, Entry<Port>> {
    const known = this.#vlans.get(vlan);
    if (known !== undefined) return known;
    const made = new Map<number, Entry<Port>>();
    this.#vlans.set(vlan, made);
    return made;
  }

  #count(port: Port, change: number): void {
    this.#counts.set(port, (this.#counts.get(port) ?? 0) + change);
  }
}
