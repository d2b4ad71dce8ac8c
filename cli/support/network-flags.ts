import { ChassisError, type Network, type PasstNetwork } from '../../manager/control/api.js';

/** The flags of `net add` that say what a card is plugged into. */
export interface NetworkFlags {
  readonly switch?: string;
  readonly tap?: string;
  readonly passt?: boolean;
  readonly vlan?: number;
  readonly trunk?: string;
  readonly isolated?: boolean;
  readonly 'mac-lock'?: boolean;
  readonly publish?: readonly string[];
  readonly 'host-loopback'?: boolean;
}

/** The switch of cards that are not told another network. */
const DEFAULT_SWITCH = 'default';
const MAX_VLAN = 4094;

/** @throws ChassisError BAD_REQUEST for a trunk or ports that are none, or flags that are another network's */
export function parseNetwork(flags: NetworkFlags): Network {
  if (flags.tap !== undefined) {
    refuse(flags, 'a TAP device', [...OF_SWITCH, ...OF_PASST]);
    return { type: 'tap', interface: flags.tap };
  }
  if (flags.passt) {
    refuse(flags, 'passt', OF_SWITCH);
    const publish = (flags.publish ?? []).map(parsePublished);
    return { type: 'passt', hostLoopback: flags['host-loopback'] ?? true, publish };
  }
  refuse(flags, 'a switch', OF_PASST);
  return {
    ...{ type: 'switch', switch: flags.switch ?? DEFAULT_SWITCH },
    ...(flags.vlan !== undefined && { vlan: flags.vlan }),
    ...(flags.trunk !== undefined && { trunk: parseTrunk(flags.trunk) }),
    ...{ isolated: flags.isolated ?? false, macLock: flags['mac-lock'] ?? false },
  };
}

const OF_SWITCH = ['switch', 'vlan', 'trunk', 'isolated', 'mac-lock'] as const;
const OF_PASST = ['publish', 'host-loopback'] as const;

function refuse(flags: NetworkFlags, network: string, others: readonly (keyof NetworkFlags)[]): void {
  const stray = others.find((name) => flags[name] !== undefined);
  if (stray) throw new ChassisError('BAD_REQUEST', `--${stray} is not for ${network}`, 'leave it out');
}

/** `2,10-12` */
function parseTrunk(text: string): number[] {
  const vlans = text.split(',').flatMap((part) => {
    const match = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part);
    const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (!match || first < 1 || last > MAX_VLAN || first > last) throw noTrunk(text);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
  return [...new Set(vlans)];
}

function noTrunk(text: string): ChassisError {
  return new ChassisError(
    'BAD_REQUEST',
    `${JSON.stringify(text)} is no list of VLANs`,
    `give numbers from 1 to ${MAX_VLAN}: --trunk 10,20-29`,
  );
}

/** `8080:80`, or `8080` alone. */
function parsePublished(text: string): PasstNetwork['publish'][number] {
  const match = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(text);
  const [host, guest] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (match && isPort(host) && isPort(guest)) return { host, guest };
  throw new ChassisError(
    'BAD_REQUEST',
    `${JSON.stringify(text)} is no pair of ports`,
    'give the port of the host and that of the guest: --publish 8080:80',
  );
}

function isPort(number: number): boolean {
  return number >= 1 && number <= 65_535;
}
