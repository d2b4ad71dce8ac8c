import { describe, expect, it } from 'vitest';
import { observe } from '../../manager/observation.js';
import { CHASSIS } from './control/noting-service.js';

function chassis(name: string, described = Promise.resolve({ ...CHASSIS, name })) {
  return { name, describe: () => described };
}

describe('looking at all chassis', () => {
  it('names those that do not tell of themselves in time, and shows the others in order', async () => {
    const hanging = chassis('b', new Promise(() => undefined));
    const { chassis: seen, silent } = await observe([chassis('a'), hanging, chassis('c')], 20);
    expect([seen.map(({ name }) => name), silent]).toEqual([['a', 'c'], ['b']]);
  });

  it('fails as one of them does, and not later on as one that was late does', async () => {
    const failing = () => Promise.reject(new Error('a bug'));
    await expect(observe([chassis('a'), { name: 'b', describe: failing }], 1000)).rejects.toThrow('a bug');
    let fail: (error: Error) => void = () => undefined;
    const late = chassis('b', new Promise((_, reject) => (fail = reject)));
    expect(await observe([late], 1)).toEqual({ chassis: [], silent: ['b'] });
    fail(new Error('late'));
    await new Promise((resolve) => setImmediate(resolve));
  });
});
