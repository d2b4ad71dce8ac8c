import { describe, expect, it } from 'vitest';
import { ChassisError, type ErrorCode } from '../../../manager/control/api.js';
import { ChassisModel, type MountRecord } from '../../../manager/chassis/chassis.js';
import { CLOUD_HYPERVISOR_RULES, IN_PROCESS_RULES } from '../../../manager/chassis/placement-rules.js';
import { plan, type PlacementRequest } from '../../../manager/chassis/planner.js';

function mount(tag: string, slot: number, fn: number): MountRecord {
  return {
    tag,
    slot,
    function: fn,
    source: { type: 'memory' },
    readOnly: false,
    permanent: false,
    port: 'auto',
  };
}

/** A chassis of `slots` slots in which `mounts` are parked. */
function chassis(slots: number, ...mounts: MountRecord[]): ChassisModel {
  const model = new ChassisModel(slots);
  for (const record of mounts) model.attach([record]);
  return model;
}

function refusal(
  model: ChassisModel,
  request: PlacementRequest,
  unusable?: Map<number, string>,
): ChassisError {
  try {
    plan(model, request, unusable);
  } catch (error) {
    if (error instanceof ChassisError) return error;
    throw error;
  }
  throw new Error('the planner refused nothing');
}

function expectRefusal(error: ChassisError, code: ErrorCode, message: RegExp, suggestion: RegExp): void {
  expect(error.code).toBe(code);
  expect(error.message).toMatch(message);
  expect(error.suggestion).toMatch(suggestion);
}

describe('plan', () => {
  describe('without a slot', () => {
    it('takes the first empty slot', () => {
      expect(plan(chassis(3, mount('a', 1, 0)), { tags: ['b'] })).toEqual([{ slot: 2, function: 0 }]);
    });

    it('puts several mounts side by side in one slot', () => {
      expect(plan(chassis(2), { tags: ['a', 'b', 'c'] })).toEqual([
        { slot: 1, function: 0 },
        { slot: 1, function: 1 },
        { slot: 1, function: 2 },
      ]);
    });

    it('starts at the function that was asked for', () => {
      expect(plan(chassis(2), { tags: ['a', 'b'], function: 6 })).toEqual([
        { slot: 1, function: 6 },
        { slot: 1, function: 7 },
      ]);
    });

    it('passes over slots that the VM cannot use', () => {
      expect(plan(chassis(2), { tags: ['a'] }, new Map([[1, 'taken']]))).toEqual([{ slot: 2, function: 0 }]);
    });

    it('says what to do when no slot is free', () => {
      const full = chassis(1);
      full.attach([mount('a', 1, 0)]);
      full.apply(1, { type: 'plug' });
      expectRefusal(refusal(full, { tags: ['b'] }), 'NO_SLOT_FREE', /all 1 slots/, /several mounts at once/);
    });

    it('points to a parked slot that could be shared when no slot is free', () => {
      const error = refusal(chassis(1, mount('a', 1, 0)), { tags: ['b'] });
      expectRefusal(error, 'NO_SLOT_FREE', /all 1 slots/, /slot 1 has functions free/);
    });
  });

  describe('in a given slot', () => {
    it('uses the lowest functions free side by side', () => {
      const model = chassis(2, mount('a', 2, 0), mount('b', 2, 2));
      expect(plan(model, { tags: ['c'], slot: 2 })).toEqual([{ slot: 2, function: 1 }]);
      expect(plan(model, { tags: ['c', 'd'], slot: 2 })[0]).toEqual({ slot: 2, function: 3 });
    });

    it('completes a slot that waits for function 0', () => {
      expect(plan(chassis(1, mount('a', 1, 1)), { tags: ['b'], slot: 1 })).toEqual([
        { slot: 1, function: 0 },
      ]);
    });

    it('accepts a function other than 0 in an empty slot', () => {
      expect(plan(chassis(1), { tags: ['a'], slot: 1, function: 5 })).toEqual([{ slot: 1, function: 5 }]);
    });

    it.each([0, -1, 3, 1.5])('refuses slot %s of a chassis of two', (slot) => {
      expectRefusal(refusal(chassis(2), { tags: ['a'], slot }), 'SLOT_UNKNOWN', /no slot/, /1 to 2/);
    });

    it('refuses a function that is taken, and names its tag', () => {
      const error = refusal(chassis(3, mount('a', 1, 1)), { tags: ['b', 'c'], slot: 1, function: 0 });
      expectRefusal(error, 'SLOT_TAKEN', /function 1 of slot 1 is taken by tag "a"/, /free: 2, 3/);
    });

    it('refuses a slot without enough functions side by side', () => {
      const model = chassis(1, mount('a', 1, 2), mount('b', 1, 5));
      expectRefusal(
        refusal(model, { tags: ['c', 'd', 'e'], slot: 1 }),
        'SLOT_TAKEN',
        /no 3 functions/,
        /no other slot/,
      );
    });

    it('refuses to add to a slot that the VM has', () => {
      const model = chassis(2, mount('a', 1, 0));
      model.apply(1, { type: 'plug' });
      for (const state of ['plugging', 'plugged', 'unplugging']) {
        expectRefusal(
          refusal(model, { tags: ['b'], slot: 1, function: 3 }),
          'SLOT_TAKEN',
          new RegExp(`${state} with "a"`),
          /free: 2/,
        );
        if (state === 'plugging') model.apply(1, { type: 'plugged' });
        if (state === 'plugged') model.apply(1, { type: 'unplug' });
      }
    });

    it('refuses a slot that the VM cannot use, with the reason', () => {
      const error = refusal(chassis(2), { tags: ['a'], slot: 2 }, new Map([[2, 'slot 2 has no port']]));
      expectRefusal(error, 'SLOT_TAKEN', /^slot 2 has no port$/, /free: 1/);
    });
  });

  describe('counts', () => {
    it('refuses nine mounts', () => {
      const tags = Array.from({ length: 9 }, (_, i) => `t${i}`);
      expectRefusal(refusal(chassis(2), { tags }), 'BAD_REQUEST', /9 mounts/, /at most 8/);
    });

    it('refuses no mounts', () => {
      expect(refusal(chassis(2), { tags: [] }).code).toBe('BAD_REQUEST');
    });

    it('refuses two mounts from function 7 on', () => {
      expect(refusal(chassis(2), { tags: ['a', 'b'], function: 7 }).code).toBe('BAD_REQUEST');
    });
  });

  describe('by the rules of other VMMs', () => {
    it('puts one mount into a slot of Cloud Hypervisor, and no second beside it', () => {
      const model = new ChassisModel(2, CLOUD_HYPERVISOR_RULES);
      expect(plan(model, { tags: ['a'] })).toEqual([{ slot: 1, function: 0 }]);
      const error = refusal(model, { tags: ['a', 'b'] });
      expectRefusal(error, 'BAD_REQUEST', /cloud-hypervisor has one function/, /one mount at a time/);
      expect(refusal(model, { tags: ['a'], function: 1 }).code).toBe('BAD_REQUEST');
    });

    it.each([
      ['qemu', undefined, /attach several mounts at once.*create the chassis with more slots/],
      ['cloud-hypervisor', CLOUD_HYPERVISOR_RULES, /^detach a mount, create the chassis with more slots/],
      ['in-process', IN_PROCESS_RULES, /several mounts at once.*add a switch to the chassis/],
    ])('says the way out of a full chassis of %s', (_, rules, wayOut) => {
      const full = new ChassisModel(1, rules);
      full.attach([mount('a', 1, 0)]);
      full.apply(1, { type: 'plug' });
      expectRefusal(refusal(full, { tags: ['b'] }), 'NO_SLOT_FREE', /all 1 slots/, wayOut);
    });

    it('does not tell to grow a chassis that is as large as can be', () => {
      const full = new ChassisModel(224);
      for (let slot = 1; slot <= 224; slot++) {
        full.attach([mount(`m${slot}`, slot, 0)]);
        full.apply(slot, { type: 'plug' });
      }
      expect(refusal(full, { tags: ['b'] }).suggestion).not.toMatch(/more slots/);
    });
  });

  describe('tags', () => {
    it('refuses one that is in use, and says where', () => {
      const error = refusal(chassis(2, mount('a', 2, 4)), { tags: ['a'] });
      expectRefusal(error, 'TAG_IN_USE', /slot 2, function 4/, /another tag/);
    });

    it('refuses one that is given twice', () => {
      expectRefusal(refusal(chassis(2), { tags: ['a', 'a'] }), 'TAG_IN_USE', /twice/, /of its own/);
    });

    it('refuses an empty one', () => {
      expect(refusal(chassis(2), { tags: [''] }).code).toBe('TAG_INVALID');
    });

    it('counts bytes, not characters', () => {
      expect(plan(chassis(1), { tags: ['x'.repeat(254)] })).toHaveLength(1);
      expect(plan(chassis(1), { tags: ['é'.repeat(127)] })).toHaveLength(1);
      expectRefusal(refusal(chassis(1), { tags: ['é'.repeat(128)] }), 'TAG_INVALID', /256 bytes/, /shorter/);
    });

    it.each(['a\0b', 'a\nb', '\x7f', '\ud800'])('refuses %j', (tag) => {
      expect(refusal(chassis(1), { tags: [tag] }).code).toBe('TAG_INVALID');
    });
  });
});

describe('ChassisModel', () => {
  it('throws at an illegal event and changes nothing', () => {
    const model = chassis(1, mount('a', 1, 0));
    expect(() => model.apply(1, { type: 'plugged' })).toThrow(/parked: plugged is illegal/);
    expect(model.slot(1)).toEqual({ state: 'parked', functions: 1, present: 0 });
  });

  it('drops the mounts of functions that a guest let go when asked', () => {
    const model = chassis(1, mount('a', 1, 0), mount('b', 1, 3));
    model.apply(1, { type: 'plug' });
    model.apply(1, { type: 'plugged' });
    model.apply(1, { type: 'unplug' });
    expect(model.apply(1, { type: 'deleted', functions: 0b1000 }).map(({ tag }) => tag)).toEqual(['b']);
    expect(model.mounts().map(({ tag }) => tag)).toEqual(['a']);
    expect(model.apply(1, { type: 'vmLost' }).map(({ tag }) => tag)).toEqual(['a']);
    expect(model.slotsFree).toBe(1);
  });

  it.each([0, 225, 1.5])('refuses %s slots', (slots) => {
    expect(() => new ChassisModel(slots)).toThrow(RangeError);
  });
});
