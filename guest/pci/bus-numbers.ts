/**
 * Numbers buses depth first, in two passes: one finds what there is, the other gives every bridge its share of the numbers that
 * are left, so that what is plugged in later has some. A bridge cannot get more afterwards: its neighbours' numbers are next.
 */
import type { ConfigAccess } from './config.js';
import { scanBus } from './scan.js';
import { BusNode } from './tree.js';

/** Finds all that is on a bus and below, and numbers it within `bus.number` and `bus.lastNumber`. */
export function numberBuses(access: ConfigAccess, bus: BusNode): void {
  discover(access, bus, bus.lastNumber);
  spread(bus);
}

/** Answers the highest number that was used. Bridges that none is left for stay closed. */
function discover(access: ConfigAccess, bus: BusNode, last: number): number {
  bus.functions = scanBus(access, bus);
  closeBridges(bus);
  let used = bus.number;
  for (const fn of bus.functions) {
    if (fn.bridge === undefined || used === last) continue;
    const secondary = used + 1;
    // All numbers that are left, until it is known how many are needed.
    fn.bridge.setBusNumbers(bus.number, secondary, last);
    fn.secondary = new BusNode(secondary, last, fn);
    used = discover(access, fn.secondary, last);
    fn.bridge.setBusNumbers(bus.number, secondary, used);
  }
  return used;
}

function spread(bus: BusNode): void {
  closeBridges(bus);
  let spare = bus.lastNumber - bus.number - busesBelow(bus);
  let growing = bus.functions.filter((fn) => fn.grows).length;
  let next = bus.number + 1;
  for (const fn of bus.functions) {
    const { bridge, secondary } = fn;
    if (bridge === undefined || secondary === undefined) continue;
    const extra = fn.grows ? Math.floor(spare / growing) : 0;
    if (fn.grows) growing--;
    spare -= extra;
    secondary.number = next;
    secondary.lastNumber = next + busesBelow(secondary) + extra;
    bridge.setBusNumbers(bus.number, next, secondary.lastNumber);
    next = secondary.lastNumber + 1;
    spread(secondary);
  }
}

/** No bridge may answer to numbers that it had before: they may be another's now. */
function closeBridges(bus: BusNode): void {
  for (const { bridge } of bus.functions) bridge?.setBusNumbers(0, 0, 0);
}

function busesBelow(bus: BusNode): number {
  return bus.functions.reduce((sum, { secondary }) => (secondary ? sum + 1 + busesBelow(secondary) : sum), 0);
}
