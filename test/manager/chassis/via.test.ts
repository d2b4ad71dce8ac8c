import { describe, expect, it } from 'vitest';
import { ChassisModel } from '../../../manager/chassis/chassis.js';
import { IN_PROCESS_RULES } from '../../../manager/chassis/placement-rules.js';
import { chooseVia, planBeside, type ViaRequest } from '../../../manager/chassis/via.js';
import { refusal } from '../refusal.js';

const PLAIN = {
  readOnly: false,
  permanent: false,
  port: 'auto' as const,
  source: { type: 'memory' as const },
};

function request(options: Partial<ViaRequest> = {}): ViaRequest {
  return { via: 'auto', mounts: [{ tag: 'x' }], permanent: false, port: 'auto', ...options };
}

/** A chassis in which the first `taken` slots have a mount each; with the tree in the last of them where asked for. */
function chassis(slots: number, taken: number, { tree = false } = {}): ChassisModel {
  const model = new ChassisModel(slots);
  for (let slot = 1; slot <= taken; slot++) {
    const isTree = tree && slot === taken;
    model.attach([{ ...PLAIN, tag: isTree ? 'chassis' : `m${slot}`, slot, function: 0, tree: isTree }]);
  }
  return model;
}

const NONE = new Map<number, string>();

describe('what carries a mount', () => {
  it.each([
    ['a function in an empty chassis', 4, 0, false, 'function'],
    ['a function while more than one slot is free', 4, 2, false, 'function'],
    ['the tree in the last slot', 4, 3, false, 'tree'],
    ['a function in the last slot where the tree is there already', 4, 3, true, 'function'],
    ['the tree where no slot is free', 4, 4, true, 'tree'],
    ['a function, which the planner refuses, where there is no room for a tree', 4, 4, false, 'function'],
    ['a function in the only slot', 1, 0, false, 'function'],
  ] as const)('is by itself %s', (_, slots, taken, tree, expected) => {
    expect(chooseVia(chassis(slots, taken, { tree }), request(), NONE)).toBe(expected);
  });

  it('counts slots that the VM cannot use as taken', () => {
    expect(
      chooseVia(
        chassis(3, 0),
        request(),
        new Map([
          [1, 'a disk'],
          [2, 'a disk'],
        ]),
      ),
    ).toBe('tree');
  });

  it.each([{ slot: 1 }, { function: 1 }, { permanent: true }, { port: 'vfio-user' as const }])(
    'is a function where the attach asks for %j',
    (options) => {
      expect(chooseVia(chassis(2, 1), request(options), NONE)).toBe('function');
      expect(() => chooseVia(chassis(2, 1), request({ ...options, via: 'tree' }), NONE)).toThrow(
        expect.objectContaining(refusal('BAD_REQUEST', /of its own.*tree/)) as Error,
      );
    },
  );

  it('is the tree where changes on the host are to be told, and never a function or a queue then', () => {
    const mounts = [{ tag: 'x', watch: true }];
    expect(chooseVia(chassis(2, 0), request({ mounts }), NONE)).toBe('tree');
    for (const options of [{ via: 'function' as const }, { via: 'queue' as const }, { slot: 2 }]) {
      expect(() => chooseVia(chassis(2, 0), request({ mounts, ...options }), NONE)).toThrow(
        expect.objectContaining({ code: 'BAD_REQUEST' }) as Error,
      );
    }
  });

  it('is the tree where there is a target, and never a function then', () => {
    const mounts = [{ tag: 'x', target: '/work' }];
    expect(chooseVia(chassis(4, 0), request({ mounts }), NONE)).toBe('tree');
    for (const options of [{ via: 'function' as const }, { slot: 2 }]) {
      expect(() => chooseVia(chassis(4, 0), request({ mounts, ...options }), NONE)).toThrow(
        expect.objectContaining(refusal('BAD_REQUEST')) as Error,
      );
    }
  });

  it('is the function that is kept for the tag', () => {
    const model = chassis(2, 1);
    model.change({ ...PLAIN, tag: 'm1', slot: 1, function: 0, kept: true });
    expect(chooseVia(model, request({ mounts: [{ tag: 'm1' }] }), NONE)).toBe('function');
  });

  it('is a queue only where that is asked for, over either port', () => {
    expect(chooseVia(chassis(2, 0), request({ via: 'queue' }), NONE)).toBe('queue');
    expect(chooseVia(chassis(2, 0), request({ via: 'queue', port: 'vfio-user' }), NONE)).toBe('queue');
  });

  it.each([
    [{ slot: 1 }, /--slot/],
    [{ function: 1 }, /--function/],
    [{ permanent: true }, /--permanent/],
    [{ mounts: [{ tag: 'x', target: '/work' }] }, /--target/],
  ] as const)('is no queue where the attach asks for %j', (options, message) => {
    expect(() => chooseVia(chassis(2, 0), request({ ...options, via: 'queue' }), NONE)).toThrow(
      expect.objectContaining(refusal('BAD_REQUEST', message, /--via tree/)) as Error,
    );
  });
});

describe('planBeside', () => {
  it('says what fits beside what is there', () => {
    expect(planBeside(chassis(4, 1), { mounts: 16, via: 'auto' }, NONE)).toMatchObject({
      via: 'function',
      left: 0,
    });
    expect(planBeside(chassis(4, 1), { mounts: 24, via: 'function' }, NONE)).toMatchObject({ left: 0 });
    expect(planBeside(chassis(4, 1), { mounts: 17, via: 'auto' }, NONE).via).toBe('tree');
  });

  it('counts what the tree has', () => {
    const model = chassis(2, 2, { tree: true });
    const { left } = planBeside(model, { mounts: 1, via: 'tree' }, NONE);
    model.children.set('a', { tag: 'a', source: { type: 'memory' }, readOnly: false, target: undefined });
    expect(planBeside(model, { mounts: 1, via: 'tree' }, NONE).left).toBe(left - 1);
  });

  it('refuses a tree that has no slot', () => {
    expect(() => planBeside(chassis(2, 2), { mounts: 1, via: 'auto' }, NONE)).toThrow(
      expect.objectContaining(refusal('NO_SLOT_FREE')) as Error,
    );
  });

  it('counts what the queues have, and refuses them without a slot for their function', () => {
    const model = chassis(2, 1);
    expect(planBeside(model, { mounts: 64, via: 'queue' }, NONE)).toMatchObject({ via: 'queue', left: 0 });
    model.attach([{ ...PLAIN, tag: 'q', slot: 2, function: 0, mux: true }]);
    model.seats.set('a', { tag: 'a', source: { type: 'memory' }, readOnly: false, queue: 0 });
    expect(planBeside(model, { mounts: 63, via: 'queue' }, NONE).left).toBe(0);
    for (const [full, mounts] of [
      [model, 64],
      [chassis(2, 2), 1],
    ] as const) {
      expect(() => planBeside(full, { mounts, via: 'queue' }, NONE)).toThrow(
        expect.objectContaining(refusal('NO_SLOT_FREE')) as Error,
      );
    }
  });

  it('plans queues where drivers use them', () => {
    const model = new ChassisModel(3, IN_PROCESS_RULES);
    expect(planBeside(model, { mounts: 3, via: 'queue' }, NONE).via).toBe('queue');
  });
});
