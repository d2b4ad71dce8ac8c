import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { holdingsOf, type Holdings } from '../soak/holdings.js';
import { expectNothingLeft } from '../soak/left-behind.js';
import { PlugCycles } from '../soak/plug-cycles.js';
import { SteadyLoad, type LoadResult } from '../soak/steady-load.js';
import { describePerPort, Lab } from './lab.js';

/** More of them by hand: a night's worth is 100,000. */
const CYCLES = Number(process.env.CHASSIS_SOAK_CYCLES ?? 150);
if (!(CYCLES >= 1)) throw new Error('CHASSIS_SOAK_CYCLES: it is how many cycles to go through');
/** Until caches, pools and heaps have the size that they keep. */
const WARM_UP_CYCLES = 20;
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
      await expectNothingLeft(before, holdings);
      expect(plugging.complaints).toEqual([]);
      expect(load.rounds).toBeGreaterThan(0);
      for (const [name, checksum] of load.checksums) {
        expect(await sha256(join(loadFolder, name)), name).toBe(checksum);
      }
    },
    TIMEOUT_MS,
  );
});

async function sha256(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}
