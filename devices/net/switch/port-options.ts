import { MAC_BYTES, parseMac, VLAN_ID_MASK } from '../ethernet.js';

/** How a port of a switch treats its station. */
export interface SwitchPortOptions {
  /** The VLAN of frames without a tag, 1 to 4094. Default: 1; for a port with `trunk`, none: such frames are dropped. */
  readonly vlan?: number;
  /** VLANs whose frames come and go with a tag. Default: none. */
  readonly trunk?: readonly number[];
  /** Exchanges frames with ports that are not isolated, and with no others. Default: false. */
  readonly isolated?: boolean;
  /** The only address that the station may send from, and nobody else then. Default: any. */
  readonly macLock?: string;
  /** Frames a second that the port may have flooded, to all or to unknown stations. Default: 2000. */
  readonly floodsPerSecond?: number;
}

/** No VLAN has this number. */
export const NO_VLAN = 0;
const DEFAULT_VLAN = 1;
const DEFAULT_FLOODS_PER_SECOND = 2000;

/** The same, checked and complete. */
export interface PortRules {
  readonly vlan: number;
  readonly trunk: ReadonlySet<number>;
  readonly isolated: boolean;
  readonly macLock: number | undefined;
  readonly floodsPerSecond: number;
}

/** @throws RangeError for a VLAN, an address or a rate that cannot be */
export function portRules(options: SwitchPortOptions): PortRules {
  const { trunk = [], isolated = false, floodsPerSecond = DEFAULT_FLOODS_PER_SECOND } = options;
  const vlan = options.vlan ?? (trunk.length > 0 ? NO_VLAN : DEFAULT_VLAN);
  for (const each of options.vlan === undefined ? trunk : [...trunk, vlan]) {
    if (Number.isInteger(each) && each >= 1 && each < VLAN_ID_MASK) continue;
    throw new RangeError(`a VLAN has a number from 1 to ${VLAN_ID_MASK - 1}, not ${each}`);
  }
  if (!(floodsPerSecond >= 1)) throw new RangeError('a port may flood one frame a second at least');
  const macLock = options.macLock === undefined ? undefined : macNumber(parseMac(options.macLock), 0);
  return { vlan, trunk: new Set(trunk), isolated, macLock, floodsPerSecond };
}

/** An address as a number of 48 bits. */
export function macNumber(bytes: Uint8Array, at: number): number {
  let number = 0;
  for (let i = 0; i < MAC_BYTES; i++) number = number * 256 + bytes[at + i];
  return number;
}
