/** Routing as the specification tells it, from the registers alone: no table is kept and nothing is remembered. */
import type { BusFunction } from '../../../../devices/pci/topology/bus.js';
import { Endpoint } from '../../../../devices/pci/topology/endpoint.js';
import { SlotPort, UpstreamPort } from '../../../../devices/pci/topology/ports.js';
import { ALL_ONES, COMMAND, DEVCTL2, EXPRESS, MASTER, MEMORY } from './machine.js';

/** What is on the bus below a bridge, as long as it can be reached. */
export function below(bridge: BusFunction): readonly BusFunction[] {
  const isReset = (bridge.readConfig(0x3e, 2) & 0x40) !== 0;
  if (bridge instanceof UpstreamPort) return isReset ? [] : bridge.downstreamPorts;
  if (!(bridge instanceof SlotPort) || !bridge.slot.isLinkActive) return [];
  return bridge.slot.occupant?.functions ?? [];
}

/** Every function that can be reached, from these on. */
export function reachable(functions: readonly BusFunction[]): BusFunction[] {
  return functions.flatMap((fn) => [fn, ...reachable(below(fn))]);
}

export function findConfig(
  root: readonly BusFunction[],
  bus: number,
  devfn: number,
): BusFunction | undefined {
  let functions = root;
  let above: BusFunction | undefined;
  for (let number = 0; number !== bus;) {
    above = functions.find(
      (fn) => fn.bridge && fn.readConfig(0x19, 1) <= bus && bus <= fn.readConfig(0x1a, 1),
    );
    if (above === undefined) return undefined;
    functions = below(above);
    number = above.readConfig(0x19, 1);
  }
  const isLink = above instanceof SlotPort;
  if (isLink && devfn > 7 && (above?.readConfig(DEVCTL2, 2) ?? 0) % 64 < 32) return undefined;
  return functions.find((fn) => fn.devfn === devfn);
}

/** Functions that master the bus although something above does not, or do not although nothing holds them back. */
export function wrongMasters(functions: readonly BusFunction[], allowed = true): BusFunction[] {
  return functions.flatMap((fn) => {
    const isMaster = allowed && (fn.readConfig(COMMAND, 2) & MASTER) !== 0;
    if (!(fn instanceof Endpoint)) return wrongMasters(below(fn), isMaster);
    return ((fn.pci.readConfig(COMMAND, 2) & MASTER) !== 0) === isMaster ? [] : [fn];
  });
}

interface Claim {
  readonly start: number;
  readonly end: number;
  readonly bar: number;
  readonly fn: BusFunction;
}

export function readMemory(functions: readonly BusFunction[], address: number): number {
  const taken: Claim[] = [];
  const claims = functions.flatMap(claimsOf).filter(({ start, end }) => end > start);
  for (const claim of claims.sort((a, b) => a.start - b.start)) {
    const from = Math.max(claim.start, taken.at(-1)?.end ?? 0);
    if (from < claim.end) taken.push({ ...claim, end: claim.end });
    if (address < from || address >= claim.end) continue;
    if (!(claim.fn instanceof Endpoint)) return readMemory(below(claim.fn), address);
    return claim.fn.pci.readBar(claim.bar, address - claim.start, 4);
  }
  return ALL_ONES;
}

function claimsOf(fn: BusFunction): Claim[] {
  if ((fn.readConfig(COMMAND, 2) & MEMORY) === 0) return [];
  if (fn instanceof Endpoint) {
    const bars = fn.pci.bars.filter(({ kind }) => kind !== 'io');
    return bars.map(({ index, kind, sizeBytes }) => {
      const high = kind === 'memory64' ? fn.readConfig(0x14 + 4 * index, 4) : 0;
      const start = high * 2 ** 32 + ((fn.readConfig(0x10 + 4 * index, 4) & ~0xf) >>> 0);
      return { start, end: start + sizeBytes, bar: index, fn };
    });
  }
  if (fn.bridge === undefined) return [];
  const window = (at: number, upper: number) => {
    const base = fn.readConfig(upper, 4) * 2 ** 32 + (fn.readConfig(at, 2) >>> 4) * 2 ** 20;
    const limit = fn.readConfig(upper + 4, 4) * 2 ** 32 + (fn.readConfig(at + 2, 2) >>> 4) * 2 ** 20;
    return { start: base, end: limit + 2 ** 20, bar: 0, fn };
  };
  const noUpper = EXPRESS + 0x34;
  return [window(0x20, noUpper), window(0x24, 0x28)];
}
