import { NetBackend } from '../backends/net-backend.js';
import type { Frame } from '../frame.js';
import type { PortRules } from './port-options.js';
import { StormGuard } from './storm-guard.js';

/** What a port has counted; every field only grows. */
export interface SwitchPortCounters {
  /** Frames from the station. */
  sent: number;
  /** Frames to the station, whether or not it had room for them. */
  received: number;
  /** Frames from the station that its port does not take: another's address, or a VLAN that it is not in. */
  refused: number;
  /** Frames from the station that were not flooded, because it had so many of them. */
  storm: number;
}

/** What a port asks of its switch. */
export interface PortOwner {
  forward(from: SwitchPort, frame: Frame): void;
  remove(port: SwitchPort): void;
}

/** A port of a switch: what a card is plugged into. */
export class SwitchPort extends NetBackend {
  readonly rules: PortRules;
  readonly counters: SwitchPortCounters = { sent: 0, received: 0, refused: 0, storm: 0 };
  readonly #owner: PortOwner;
  readonly #guard: StormGuard;
  #open = true;

  constructor(rules: PortRules, nowMs: number, owner: PortOwner) {
    super();
    this.rules = rules;
    this.#owner = owner;
    this.#guard = new StormGuard(rules.floodsPerSecond, nowMs);
  }

  get linkUp(): boolean {
    return this.#open;
  }

  /** There is always room: what a receiver has none for is lost there. */
  send(frame: Frame): boolean {
    if (!this.#open) return true;
    this.counters.sent++;
    this.#owner.forward(this, frame);
    return true;
  }

  receive(frame: Frame): void {
    this.counters.received++;
    this.port.deliver(frame);
  }

  mayFlood(nowMs: number): boolean {
    const allowed = this.#guard.allows(nowMs);
    if (!allowed) this.counters.storm++;
    return allowed;
  }

  close(): void {
    this.#open = false;
    this.#owner.remove(this);
  }
}
