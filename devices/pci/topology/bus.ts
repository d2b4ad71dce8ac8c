/** One bus of the hierarchy: the root bus, the inside of a switch, or the link below a port. */
import type { AccessWidth } from '../function.js';
import type { Bridge } from './bridge.js';
import { ClaimMap, type Claim } from './claims.js';
import { FUNCTIONS } from './defs.js';
import type { Endpoint } from './endpoint.js';

/** What the parts of a hierarchy ask of its root complex. Every method is cheap and safe to call at any time. */
export interface Fabric {
  /** Bus numbers, or who sits where, may have changed. */
  routesChanged(): void;
  /** Which address is whose may have changed. */
  decodingChanged(): void;
  /** The level of `source`'s interrupt pin. Idempotent. */
  setIntx(source: Endpoint | Bridge, asserted: boolean): void;
  /** An interrupt message: a write of `data` to a physical address. */
  message(address: number, data: number): void;
  /** A guest's write reached the endpoint, which may have work to do. */
  wrote(endpoint: Endpoint): void;
}

/** Address spaces that are routed. */
export type AddressSpace = 'memory' | 'io';

/** What sits on a bus under a number. */
export interface BusFunction {
  /** Device × 8 + function. */
  readonly devfn: number;
  /** Set where the function is a bridge. */
  readonly bridge: Bridge | undefined;
  /** Config accesses, aligned to `width`. */
  readConfig(offset: number, width: AccessWidth): number;
  writeConfig(offset: number, width: AccessWidth, value: number): void;
  /** Adds the addresses that the function answers at, as its registers are. */
  claim(space: AddressSpace, claims: ClaimMap): void;
  /** The bus can be reached: registers are as at power-on. */
  powerUp(bus: Bus): void;
  /** The function's power or link is gone, or it is held in reset. */
  powerDown(): void;
  /** Whether the bus passes requests on upstream has changed. */
  masteringChanged(): void;
}

export class Bus {
  /** The bridge that the bus is below; none for the root bus. */
  readonly bridge: Bridge | undefined;
  /** Set while the bus can be reached. */
  fabric: Fabric | undefined;
  /** True where requests of the bus's functions get through to memory: every bridge above is a bus master. */
  mastering = false;
  readonly #functions: (BusFunction | undefined)[] = [];
  #bridges: readonly Bridge[] = [];
  readonly #claims = { memory: new ClaimMap(), io: new ClaimMap() };
  readonly #stale = { memory: true, io: true };

  constructor(bridge: Bridge | undefined) {
    this.bridge = bridge;
  }

  add(fn: BusFunction): void {
    this.#functions[fn.devfn] = fn;
    this.#changed();
    fn.powerUp(this);
  }

  remove(fn: BusFunction): void {
    fn.powerDown();
    this.#functions[fn.devfn] = undefined;
    this.#changed();
  }

  /** A link has one device: beyond its eight functions are only those that ARI forwarding reaches. */
  find(devfn: number): BusFunction | undefined {
    if (devfn >= FUNCTIONS && this.bridge?.reachesDevice0Only === true) return undefined;
    return this.#functions[devfn];
  }

  /** The bridge that passes config requests for a bus on: the first whose numbers hold it. */
  bridgeTowards(busNumber: number): Bridge | undefined {
    return this.#bridges.find(
      (bridge) => bridge.secondaryBus <= busNumber && busNumber <= bridge.subordinateBus,
    );
  }

  /** Who answers at an address. */
  claimAt(space: AddressSpace, address: number): Claim | undefined {
    if (this.#stale[space]) this.#rebuild(space);
    return this.#claims[space].find(address);
  }

  claimsChanged(space: AddressSpace): void {
    this.#stale[space] = true;
    // What has left is not held on to until somebody looks again.
    this.#claims[space].clear();
    this.fabric?.decodingChanged();
  }

  setMastering(mastering: boolean): void {
    if (mastering === this.mastering) return;
    this.mastering = mastering;
    for (const fn of this.#functions) fn?.masteringChanged();
  }

  #rebuild(space: AddressSpace): void {
    const claims = this.#claims[space];
    this.#stale[space] = false;
    for (const fn of this.#functions) fn?.claim(space, claims);
    claims.build();
  }

  #changed(): void {
    this.#bridges = this.#functions.flatMap((fn) => fn?.bridge ?? []);
    this.claimsChanged('memory');
    this.claimsChanged('io');
    this.fabric?.routesChanged();
  }
}
