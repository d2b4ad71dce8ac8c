import { readdir } from 'node:fs/promises';
import { ChassisClient } from '../../manager/control/client.js';
import type { LinuxGuest } from '../../testbed/guest.js';
import { censusOf, unixSocketsBelow, type Census } from './census.js';

/** All that a chassis and its VM hold: what has to be the same after any number of mounts that came and went. */
export interface Holdings {
  readonly processes: Readonly<Record<'daemon' | 'device process' | 'QEMU', Census>>;
  /** Paths of the unix sockets in the state directory: a listener's once, and once for each of its connections. */
  readonly unixSockets: readonly string[];
  /** Files in the state directory. */
  readonly stateFiles: readonly string[];
  /** PCI functions that the guest sees. */
  readonly pciFunctions: readonly string[];
}

export async function holdingsOf(
  stateDirectory: string,
  chassis: string,
  guest: LinuxGuest,
): Promise<Holdings> {
  const client = new ChassisClient({ directory: stateDirectory });
  const { pid } = await client.health();
  const { deviceProcess } = await client.get(chassis);
  const functions = await guest.ok('ls /sys/bus/pci/devices');
  return {
    processes: {
      daemon: await censusOf(pid),
      'device process': await censusOf(deviceProcess.pid ?? 0),
      QEMU: await censusOf(guest.pid),
    },
    unixSockets: await unixSocketsBelow(stateDirectory),
    stateFiles: (await readdir(stateDirectory, { recursive: true })).sort(),
    pciFunctions: functions.stdout.trim().split(/\s+/),
  };
}

/** Without the counts that an allocator or a garbage collector changes as it pleases. */
export function exactPart({ processes, ...rest }: Holdings): unknown {
  const counted = Object.entries(processes).map(([name, { descriptors, mappings }]) => [
    name,
    { descriptors, mappings: { ...mappings, anonymous: 'any' } },
  ]);
  return { ...rest, processes: Object.fromEntries(counted) as unknown };
}
