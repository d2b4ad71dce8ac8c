/** The switches that join the cards of all chassis: each is there while a card is on it. */
import { readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { Value } from '@sinclair/typebox/value';
import {
  ChassisError,
  SwitchName,
  type InForce,
  type SwitchNetwork,
  type SwitchPortCounters,
} from './control/api.js';
import { SwitchPaths } from './control/state-directory.js';
import type { Log } from './logging/log.js';
import type { Sandbox } from './sandbox/sandbox.js';
import type { SwitchPortSpec } from './switch-process/protocol.js';
import { SwitchHost } from './switch-process/switch-host.js';

export interface SwitchesOptions {
  /** The daemon's state directory. */
  readonly directory: string;
  /** The script of a switch's process, where it is not beside the daemon's own. */
  readonly entry?: string;
  /** What confines switches; nothing, without one. */
  readonly sandbox?: Sandbox | undefined;
  readonly log: Log;
}

/** Where cards get their ports. `card` is a name of a card's that no other of the daemon's has. */
export interface CardPorts {
  /**
   * The socket of a card's port, which it has until `leave`: the same one when it is asked for again. Only a card whose guest is to come from another
   * chassis may have the address of another one, unless the network locks addresses.
   * @throws ChassisError MAC_IN_USE, NETWORK_UNAVAILABLE
   */
  join(card: string, network: SwitchNetwork, mac: string, incoming?: boolean): Promise<string>;
  leave(card: string): Promise<void>;
  /** A card of an earlier daemon's keeps the port that it has. @throws ChassisError NETWORK_UNAVAILABLE or BAD_REQUEST */
  keep(card: string, network: SwitchNetwork, mac: string, socketPath: string): Promise<void>;
  /** What a card's port counted, as of the last `refresh`. */
  counters(card: string): SwitchPortCounters | undefined;
  /** What confines the card's switch. */
  sandbox(card: string): InForce | undefined;
  /** Asks the switches that these cards are on. */
  refresh(cards: readonly string[]): Promise<void>;
}

interface Joined {
  readonly host: SwitchHost;
  readonly switch: string;
  readonly mac: string;
  readonly spec: SwitchPortSpec;
  /** As of the last `refresh`. */
  counters?: SwitchPortCounters;
}

export class Switches implements CardPorts {
  private readonly options: SwitchesOptions;
  private readonly hosts = new Map<string, SwitchHost>();
  private readonly joined = new Map<string, Joined>();
  private nextPort = 1;

  constructor(options: SwitchesOptions) {
    this.options = options;
  }

  async join(card: string, network: SwitchNetwork, mac: string, incoming = false): Promise<string> {
    const known = this.joined.get(card);
    if (known) return known.spec.socketPath;
    if (!incoming || network.macLock) this.refuseTakenMac(network, mac);
    const number = this.nextPort++;
    const socketPath = this.paths(network.switch).portSocket(number);
    const joined = { ...portOf(network, mac, number, socketPath), host: this.hostOf(network.switch) };
    this.joined.set(card, joined);
    try {
      await joined.host.addPort(joined.spec);
    } catch (error) {
      this.joined.delete(card);
      throw error;
    }
    return socketPath;
  }

  /** Looks for the switches that an earlier daemon left, before cards `keep` their ports; `settle` follows. */
  async find(): Promise<void> {
    const { directory, log } = this.options;
    const names = readdirSync(directory).filter(isSwitchFolder);
    await Promise.all(
      names.map(async (folder) => {
        const ports = await this.hostOf(folder.slice(1))
          .find()
          .catch((error: unknown) => (log.warn('a switch cannot be gone on with', error), []));
        for (const port of ports) this.nextPort = Math.max(this.nextPort, numberOf(port) + 1);
      }),
    );
  }

  async keep(card: string, network: SwitchNetwork, mac: string, socketPath: string): Promise<void> {
    const number = numberOf(basename(socketPath, '.sock'));
    this.nextPort = Math.max(this.nextPort, number + 1);
    const joined = { ...portOf(network, mac, number, socketPath), host: this.hostOf(network.switch) };
    this.joined.set(card, joined);
    await joined.host.keepPort(joined.spec);
  }

  /** Ends the ports that no card has kept, and switches without any. */
  async settle(): Promise<void> {
    const hosts = [...this.hosts.values()];
    await Promise.all(hosts.map((host) => host.settle()));
  }

  /** Lets all go on as they are, for the next daemon. */
  leaveAlone(): void {
    this.joined.clear();
    for (const host of this.hosts.values()) host.leave();
  }

  async leave(card: string): Promise<void> {
    const joined = this.joined.get(card);
    this.joined.delete(card);
    await joined?.host.removePort(joined.spec.port);
  }

  /** All cards of a chassis. */
  async leaveAll(chassis: string): Promise<void> {
    const cards = [...this.joined.keys()].filter((card) => card.startsWith(`${chassis}/`));
    await Promise.all(cards.map((card) => this.leave(card)));
  }

  counters(card: string): SwitchPortCounters | undefined {
    return this.joined.get(card)?.counters;
  }

  sandbox(card: string): InForce | undefined {
    return this.joined.get(card)?.host.sandbox;
  }

  async refresh(cards: readonly string[]): Promise<void> {
    const asked = cards.flatMap((card) => this.joined.get(card) ?? []);
    const hosts = new Set(asked.map(({ host }) => host));
    const answers = Array.from(hosts, async (host) => [host, await host.counters()] as const);
    const counted = new Map(await Promise.all(answers));
    for (const joined of asked) joined.counters = counted.get(joined.host)?.get(joined.spec.port);
  }

  async stop(): Promise<void> {
    this.joined.clear();
    await Promise.all(Array.from(this.hosts.values(), (host) => host.stop()));
    this.hosts.clear();
  }

  /** A locked address is one card's alone, and a switch would send what is for two cards of one address to the one that spoke last. */
  private refuseTakenMac({ switch: name }: SwitchNetwork, mac: string): void {
    for (const [card, other] of this.joined) {
      if (other.switch !== name || other.mac !== mac) continue;
      throw new ChassisError(
        'MAC_IN_USE',
        `${card} has the address ${mac} on the switch ${name}`,
        'give this card another with --mac',
      );
    }
  }

  private hostOf(name: string): SwitchHost {
    const known = this.hosts.get(name);
    if (known) return known;
    const { entry, sandbox, log } = this.options;
    const host = new SwitchHost({
      name,
      paths: this.paths(name),
      ...(entry !== undefined && { entry }),
      ...{ sandbox, log },
    });
    this.hosts.set(name, host);
    return host;
  }

  private paths(name: string): SwitchPaths {
    return new SwitchPaths(this.options.directory, name);
  }
}

/** What a switch is to know of a card's port. */
function portOf(network: SwitchNetwork, mac: string, number: number, socketPath: string) {
  const { switch: name, vlan, trunk, isolated, macLock } = network;
  const spec: SwitchPortSpec = {
    ...{ port: `p${number}`, socketPath, isolated },
    ...(vlan !== undefined && { vlan }),
    ...(trunk && { trunk }),
    ...(macLock && { macLock: mac }),
  };
  return { switch: name, mac, spec };
}

/** Of a port's name. */
function numberOf(port: string): number {
  return Number(port.slice(1));
}

/** A folder of the state directory that is a switch's. */
export function isSwitchFolder(name: string): boolean {
  return name.startsWith('@') && Value.Check(SwitchName, name.slice(1));
}
