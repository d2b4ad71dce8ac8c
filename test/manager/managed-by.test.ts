import { describe, expect, it } from 'vitest';
import type { AddCardRequest, AddDiskRequest } from '../../manager/control/api.js';
import { ControllerHarness, QUERY, request } from './controller-harness.js';

const lab = ControllerHarness.perTest(6);
const MINE = '/srv/chassis.yaml';
const COMMON = { managedBy: MINE, permanent: false, port: 'auto', timeoutMs: 1000 } as const;
const DISK: AddDiskRequest = {
  ...{
    name: 'root',
    source: { type: 'memory', sizeBytes: 8192 },
    readOnly: false,
    overlay: false,
    queues: 1,
  },
  ...COMMON,
};
const CARD: AddCardRequest = {
  ...{ name: 'lan0', network: { type: 'switch', switch: 'lan', isolated: false, macLock: false } },
  ...{ queuePairs: 1, up: true },
  ...COMMON,
};

/** `NAME WHO` of each mount that shows something. */
async function makers(): Promise<string[]> {
  const mounts = await lab.controller.mounts();
  return mounts
    .filter(({ source }) => source?.type === 'memory')
    .map(({ tag, managedBy }) => `${tag} ${managedBy ?? '-'}`);
}

describe('who made something', () => {
  it('is kept with mounts of every carrier, and nothing is said of what was made by hand', async () => {
    for (const via of ['function', 'tree', 'queue'] as const) {
      const { mounts, ...options } = request([via, `${via}-by-hand`], { via });
      const mine = { ...mounts[0], managedBy: MINE };
      await lab.controller.attach({ ...options, mounts: [mine, mounts[1]] });
    }
    expect(await makers()).toEqual([
      ...[`function ${MINE}`, 'function-by-hand -', `queue ${MINE}`, 'queue-by-hand -'],
      ...[`tree ${MINE}`, 'tree-by-hand -'],
    ]);
  });

  it('stays through changes of a policy, and goes with the mount although its function is kept', async () => {
    await lab.boot();
    const { mounts, ...options } = request(['a']);
    await lab.controller.attach({ ...options, mounts: [{ ...mounts[0], managedBy: MINE }] });
    await lab.controller.policies.change('a', { set: { readOnly: true }, unset: [] });
    expect(await makers()).toEqual([`a ${MINE}`]);
    await lab.controller.detach('a', { ...QUERY, keepFunction: true });
    await lab.controller.attach(request(['a']));
    expect(await makers()).toEqual(['a -']);
  });

  it('is kept with disks and cards, also where those are changed', async () => {
    expect(await lab.controller.disks.add(DISK)).toMatchObject({ managedBy: MINE });
    expect(await lab.controller.disks.resize('root', { sizeBytes: 16_384, shrink: false })).toMatchObject({
      managedBy: MINE,
    });
    expect(await lab.controller.networks.add(CARD)).toMatchObject({ managedBy: MINE });
    expect(await lab.controller.networks.setLink('lan0', false)).toMatchObject({ managedBy: MINE });
  });
});
