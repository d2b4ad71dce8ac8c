import { afterAll, beforeAll, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { holdingsOf } from '../soak/holdings.js';
import { expectNothingLeft } from '../soak/left-behind.js';
import { SteadyLoad, type LoadResult } from '../soak/steady-load.js';
import { TreeCycles } from '../soak/tree-cycles.js';
import { describeRealGuest, Lab, tagSeen } from './lab.js';

/** More of them by hand: `npm run soak`. They take a tenth of the time of a plug cycle. */
const CYCLES = 2 * Number(process.env.CHASSIS_SOAK_CYCLES ?? 120);
const WARM_UP_CYCLES = 100;
const TIMEOUT_MS = 240_000 + CYCLES * 200;

describeRealGuest('mounts that come and go in the tree beside one that is in use', () => {
  let lab: Lab;
  let cycles: TreeCycles;

  beforeAll(async () => {
    lab = await Lab.start('vhost-user');
    await lab.boot('6.1');
    const stateDirectory = lab.daemon.directory;
    const client = new ChassisClient({ directory: stateDirectory });
    const source = { type: 'directory' as const, path: await lab.directory('load') };
    await client.attach('lab', { mounts: [{ tag: 'load', source }], via: 'tree' });
    await lab.guest.waitFor(tagSeen('chassis'));
    const [mount, helper] = (await client.guestSetup('helper')).text.trim().split('\n');
    await lab.guest.waitFor(mount);
    await lab.sh(helper.replace(/ &$/, ' >/dev/null 2>&1 &'));
    const folder = await lab.directory('cycle');
    cycles = new TreeCycles({ guest: lab.guest, stateDirectory, chassis: 'lab', folder });
  });
  afterAll(() => lab.stop());

  async function underLoad(count: number): Promise<LoadResult> {
    const load = new SteadyLoad(lab.guest, '/run/chassis/chassis/load');
    await cycles.run(count);
    return load.stop();
  }

  it(
    `leave all as it was after ${CYCLES} cycles, and disturb nobody`,
    async () => {
      const holdings = () => holdingsOf(lab.daemon.directory, 'lab', lab.guest);
      await underLoad(WARM_UP_CYCLES);
      const before = await holdings();
      const load = await underLoad(CYCLES);
      process.stdout.write(cycles.report());
      await expectNothingLeft(before, holdings);
      expect(load.rounds).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
});
