/**
 * Any sequence of attaches, detaches, surprise removals, extensions, timeouts and guests that reboot or crash, against a model that
 * says how each ends: as it should, and with nothing left behind.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { check, detach, perform, type Step, World } from './modelled-chassis.js';

const RUNS = Number(process.env.CHASSIS_FUZZ_RUNS ?? 50);

const tag = fc.nat(7);
const force = fc.boolean();
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    arbitrary: fc.record({
      do: fc.constant('attach' as const),
      tag,
      slot: fc.nat(8),
      fn: fc.constantFrom(0, 0, 1, 9),
    }),
    weight: 5,
  },
  { arbitrary: fc.record({ do: fc.constant('attachToQueue' as const), tag }), weight: 6 },
  {
    arbitrary: fc.record({
      do: fc.constant('attachCard' as const),
      tags: fc.array(tag, { minLength: 1, maxLength: 3 }),
    }),
    weight: 3,
  },
  {
    arbitrary: fc.record({ do: fc.constant('detach' as const), tag, force, slot: fc.boolean() }),
    weight: 8,
  },
  {
    arbitrary: fc.record({ do: fc.constant('extend' as const), ports: fc.integer({ min: 1, max: 3 }) }),
    weight: 3,
  },
  { arbitrary: fc.record({ do: fc.constant('retract' as const), slot: fc.nat(12) }), weight: 2 },
  { arbitrary: fc.record({ do: fc.constantFrom('mount' as const, 'unmount' as const), tag }), weight: 8 },
  {
    arbitrary: fc.record({ do: fc.constantFrom('reboot' as const, 'crash' as const), slow: fc.boolean() }),
    weight: 2,
  },
  {
    arbitrary: fc.record({
      do: fc.constant('race' as const),
      tag,
      force,
      against: fc.constantFrom('mount' as const, 'crash' as const),
    }),
    weight: 5,
  },
);

describe('any sequence on a chassis and its guest', () => {
  it('ends as the model says, and leaves nothing behind', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 10, maxLength: 40, size: 'max' }),
        fc.boolean(),
        async (steps, isSlow) => {
          const world = new World();
          await world.boot(isSlow);
          for (const each of steps) {
            await perform(world, each);
            await check(world);
          }
          for (const name of [...world.attached.keys()]) {
            await detach(world, name, { force: true, slot: true });
          }
          await check(world);
          await Promise.all([world.guest.shutdown(), world.chassis.close()]);
          expect(world.gone.filter(({ closed, live }) => closed !== 1 || live !== 0)).toEqual([]);
        },
      ),
      { numRuns: RUNS },
    );
  });
});
