/** Looks for the functions of one bus, asking no more numbers than can answer (PCI Express Base 5.0, section 7.3). */
import type { ConfigAccess } from './config.js';
import { AriRegister, ExtendedCapabilityId } from './express-registers.js';
import {
  DEVICES_PER_BUS,
  FUNCTIONS_PER_DEVICE,
  PciHeaderType,
  PciRegister,
  VENDOR_ID_ABSENT,
} from './registers.js';
import { FunctionNode, type BusNode } from './tree.js';

/** The functions on a bus, in order of address. Switches ARI forwarding of the bridge above as what is found there needs it. */
export function scanBus(access: ConfigAccess, bus: BusNode): FunctionNode[] {
  const above = bus.bridge?.bridge;
  if (above?.isAboveLink !== true) {
    return Array.from({ length: DEVICES_PER_BUS }, (_, device) => scanDevice(access, bus, device)).flat();
  }
  above.setAriForwarding(false);
  const first = probe(access, bus, 0);
  if (first === undefined) return [];
  if (!above.canForwardAri || nextFunction(first) === undefined) return scanDevice(access, bus, 0);
  above.setAriForwarding(true);
  return followFunctions(access, bus, first);
}

/** Without function 0 there is none, and others are looked for only if it says so. */
function scanDevice(access: ConfigAccess, bus: BusNode, device: number): FunctionNode[] {
  const first = probe(access, bus, device * FUNCTIONS_PER_DEVICE);
  if (first === undefined) return [];
  const found = [first];
  if ((first.config.read(PciRegister.HEADER_TYPE, 1) & PciHeaderType.MULTI_FUNCTION) === 0) return found;
  for (let fn = 1; fn < FUNCTIONS_PER_DEVICE; fn++) {
    const next = probe(access, bus, device * FUNCTIONS_PER_DEVICE + fn);
    if (next !== undefined) found.push(next);
  }
  return found;
}

/** With ARI each function names the next. Numbers only go up: a list that does not ends there. */
function followFunctions(access: ConfigAccess, bus: BusNode, first: FunctionNode): FunctionNode[] {
  const found = [first];
  let number = 0;
  for (;;) {
    const next = nextFunction(found[found.length - 1]) ?? 0;
    if (next <= number) return found;
    const fn = probe(access, bus, next);
    if (fn === undefined) return found;
    found.push(fn);
    number = next;
  }
}

/** The number of the next function, 0 where there is none; undefined where the function has no ARI. */
function nextFunction(fn: FunctionNode): number | undefined {
  const ari = fn.config.extendedCapability(ExtendedCapabilityId.ARI);
  return ari === undefined ? undefined : fn.config.read(ari + AriRegister.CAPABILITY, 2) >>> 8;
}

function probe(access: ConfigAccess, bus: BusNode, number: number): FunctionNode | undefined {
  const device = Math.floor(number / FUNCTIONS_PER_DEVICE);
  const fn = number % FUNCTIONS_PER_DEVICE;
  const vendorId = access.readConfig(bus.number, device, fn, PciRegister.VENDOR_ID, 2);
  return vendorId === VENDOR_ID_ABSENT ? undefined : new FunctionNode(access, bus, device, fn);
}
