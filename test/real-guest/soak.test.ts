import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { exactPart, holdingsOf, type Holdings } from '../soak/holdings.js';
import { PlugCycles } from '../soak/plug-cycles.js';
import { SteadyLoad, type LoadResult } from '../soak/steady-load.js';
import { describePerPort, Lab } from './lab.js';

/** More of them by hand: a night's worth is 100,000. */
const CYCLES = Number(process.env.CHASSIS_SOAK_CYCLES ?? 500);
if (!(CYCLES >= 1)) throw new Error('CHASSIS_SOAK_CYCLES: it is how many cycles to go through');
/** Until caches, pools and heaps have the size that they keep. */
const WARM_UP_CYCLES = 20;
/**
 * What a process's private memory may grow by, however many the cycles: JavaScript heaps and QEMU's translated code move by up to
 * 10 MiB either way before they settle. In 500 cycles it shows a leak of 50 KiB a cycle; smaller ones take a longer soak.
 */
const PRIVATE_ALLOWANCE_KIB = 16 * 1024;
/** An emulated guest on a busy machine can take ten times as long as on an idle one. */
const TIMEOUT_MS = 120_000 + (WARM_UP_CYCLES + CYCLES) * 2000;

describePerPort('plugging and unplugging beside a mount that is in use', (port) => {
  // vfio-user is there for VMMs without the other; the code that could leak is mostly the same.
  const cycles = port === 'vhost-user' ? CYCLES : Math.ceil(CYCLES / 10);
  let lab: Lab;
  let plugging: PlugCycles;
  let loadFolder: string;

  beforeAll(async () => {
    lab = await Lab.start(port);
    await lab.boot('6.1');
    loadFolder = await lab.directory('load');
    await lab.mount(loadFolder, 'load');
    await lab.sh('dmesg -c');
    const folder = await lab.directory('cycle');
    const stateDirectory = lab.daemon.directory;
    plugging = new PlugCycles({ guest: lab.guest, stateDirectory, chassis: 'lab', port, folder });
  });
  afterAll(() => lab.stop());

  const holdings = (): Promise<Holdings> => holdingsOf(lab.daemon.directory, 'lab', lab.guest);

  async function underLoad(count: number): Promise<LoadResult> {
    const load = new SteadyLoad(lab.guest, '/mnt/load');
    await plugging.run(count);
    return load.stop();
  }

  it('has a guest that keeps apart what scripts print that end at the same time', async () => {
    const wanted = Array.from({ length: 8 }, (_, i) => `${i}\n`.repeat(10_000));
    const printed = wanted.map((_, i) =>
      lab.guest.ok(`until [ -e /tmp/together ]; do usleep 10000; done; yes ${i} | head -n 10000`),
    );
    await lab.sh('touch /tmp/together');
    expect((await Promise.all(printed)).map(({ stdout }) => stdout)).toEqual(wanted);
  });

  it(
    `leaves all as it was after ${cycles} cycles, and disturbs nobody`,
    async () => {
      await underLoad(WARM_UP_CYCLES);
      const before = await holdings();
      const load = await underLoad(cycles);
      process.stdout.write(plugging.report());
      // A VMM that has let a function go closes what belonged to it a moment later.
      const settled = expect.poll(async () => exactPart(await holdings()), { timeout: 20_000 });
      await settled.toEqual(exactPart(before));
      const after = await holdings();
      process.stdout.write(growth(before, after));
      for (const [name, { privateKiB }] of Object.entries(after.processes)) {
        const { privateKiB: atFirst } = before.processes[name as keyof Holdings['processes']];
        expect(privateKiB - atFirst, `${name}: KiB`).toBeLessThan(PRIVATE_ALLOWANCE_KIB);
      }
      expect(plugging.complaints).toEqual([]);
      expect(load.rounds).toBeGreaterThan(0);
      for (const [name, checksum] of load.checksums) {
        expect(await sha256(join(loadFolder, name)), name).toBe(checksum);
      }
    },
    TIMEOUT_MS,
  );
});

function growth(before: Holdings, after: Holdings): string {
  const lines = Object.entries(after.processes).map(([name, { privateKiB, mappings }]) => {
    const first = before.processes[name as keyof Holdings['processes']];
    const memory = `private memory ${first.privateKiB} -> ${privateKiB} KiB`;
    return `  ${name}: ${memory}, anonymous mappings ${first.mappings.anonymous} -> ${mappings.anonymous}\n`;
  });
  return lines.join('');
}

async function sha256(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}
