/**
 * What plugging costs, and how that grows with what is plugged in already. Each part is one way to have a chassis; a part measures
 * operations at several sizes, and all of them are shown in one table.
 */
import { parseArgs } from 'node:util';
import { table } from '../cli/support/mounts-text.js';
import { daemon, throughDaemonInGuest } from './hotplug/daemon.js';
import { inProcess } from './hotplug/in-process.js';
import { spreadOf } from './support/results.js';

/** What was measured while there were so many mounts: one value a round, by size. Milliseconds, unless the operation's name says so. */
export interface Growth {
  readonly operation: string;
  readonly valuesBySize: ReadonlyMap<number, readonly number[]>;
}

/** Measures at each of the sizes, so many rounds at each. */
export type HotplugPart = (sizes: readonly number[], rounds: number) => Promise<Growth[]>;

const PARTS: Record<string, HotplugPart> = { 'in-process': inProcess, daemon, guest: throughDaemonInGuest };

const USAGE = `npm run bench -- hotplug [--part NAME] [--sizes N,N…] [--rounds N] [--json]

Milliseconds that plugging takes while there are so many mounts: medians, and how the largest size compares with the smallest.
in-process: the library's chassis and its guest. daemon: the tree through the daemon's API, without a guest, and the memory of the device
process. guest: functions and the tree in a Linux guest (6.1), until the VMM, the device process or the guest's helper has answered.
Parts: ${Object.keys(PARTS).join(', ')}; all of them by default.
`;

export async function hotplug(options: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...options],
    options: {
      part: { type: 'string', multiple: true, default: Object.keys(PARTS) },
      sizes: { type: 'string', default: '1,10,100,1000' },
      rounds: { type: 'string', default: '15' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const sizes = values.sizes.split(',').map(Number);
  for (const name of values.part) {
    if (!(name in PARTS)) throw new Error(`there is no part ${name}: ${Object.keys(PARTS).join(', ')}`);
    const growths = await PARTS[name](sizes, Number(values.rounds));
    process.stdout.write(`${values.json ? jsonLines(name, growths) : growthTable(name, sizes, growths)}\n`);
  }
}

function jsonLines(part: string, growths: readonly Growth[]): string {
  return growths
    .map(({ operation, valuesBySize }) =>
      JSON.stringify({ part, operation, sizes: Object.fromEntries(valuesBySize) }),
    )
    .join('\n');
}

function growthTable(part: string, sizes: readonly number[], growths: readonly Growth[]): string {
  const rows = growths.map(({ operation, valuesBySize }) => {
    const medians = sizes.map((size) => median(valuesBySize.get(size)));
    const [first, last] = [medians[0], medians[medians.length - 1]];
    const growth = first === undefined || last === undefined ? '-' : `× ${(last / first).toFixed(1)}`;
    return [operation, ...medians.map((value) => value?.toFixed(3) ?? '-'), growth];
  });
  return table([`${part.toUpperCase()}, MS WITH`, ...sizes.map(String), 'GROWTH'], rows);
}

/** Undefined where that size was not measured. */
function median(values: readonly number[] | undefined): number | undefined {
  return values && spreadOf(values).median;
}
