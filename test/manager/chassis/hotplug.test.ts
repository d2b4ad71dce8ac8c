import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  EMPTY_SLOT,
  functionsIn,
  step,
  type SlotEvent,
  type SlotState,
  type SlotStatus,
} from '../../../manager/chassis/hotplug.js';

/** What holds of every slot, whatever happened to it. */
function expectSound({ state, functions, present }: SlotStatus): void {
  expect(present & ~functions).toBe(0);
  expect(functions & ~0xff).toBe(0);
  const inVm = ['plugged', 'unplugging', 'recovering', 'lost'].includes(state);
  expect(present !== 0).toBe(inVm);
  expect(functions === 0).toBe(state === 'empty');
  if (state === 'plugging') expect(functions & 1).toBe(1);
}

/** All slots of functions 0 to 2 that are sound: small enough to try everything. */
function soundSlots(): SlotStatus[] {
  const slots: SlotStatus[] = [EMPTY_SLOT];
  for (let functions = 1; functions < 8; functions++) {
    slots.push({ state: 'parked', functions, present: 0 });
    if (functions & 1) slots.push({ state: 'plugging', functions, present: 0 });
    for (let present = 1; present < 8; present++) {
      if ((present & ~functions) !== 0) continue;
      for (const state of ['plugged', 'unplugging', 'recovering', 'lost'] as const)
        slots.push({ state, functions, present });
    }
  }
  return slots;
}

function allEvents(): SlotEvent[] {
  const plain = (
    [
      ...(['plug', 'plugged', 'plugFailed', 'unplug', 'unplugRejected', 'vmLost'] as const),
      ...(['deviceProcessLost', 'reconnected', 'cutOff'] as const),
    ] as const
  ).map((type) => ({ type }));
  const masked = (['attached', 'removed', 'found', 'foundDead', 'deleted'] as const).flatMap((type) =>
    [0, 1, 2, 3, 4, 5, 6, 7].map((functions) => ({ type, functions })),
  );
  return [...plain, ...masked];
}

const ALL: SlotState[] = ['empty', 'parked', 'plugging', 'plugged', 'unplugging', 'recovering', 'lost'];

/** In which states each event is legal for some slot. */
const LEGAL: Record<SlotEvent['type'], SlotState[]> = {
  attached: ['empty', 'parked'],
  removed: ['parked', 'plugged', 'unplugging', 'recovering', 'lost'],
  plug: ['parked'],
  plugged: ['plugging'],
  plugFailed: ['plugging'],
  found: ['parked'],
  foundDead: ['parked'],
  unplug: ['plugged', 'unplugging', 'recovering', 'lost'],
  deleted: ALL,
  unplugRejected: ['unplugging'],
  vmLost: ALL,
  deviceProcessLost: ALL,
  reconnected: ['recovering', 'lost'],
  cutOff: ['recovering'],
};

describe('step', () => {
  it('leads from every sound slot to a sound one, or refuses, for every event', () => {
    for (const slot of soundSlots()) {
      for (const event of allEvents()) {
        const after = step(slot, event);
        if (after) expectSound(after);
      }
    }
  });

  it('allows each event in its states only', () => {
    const seen: Record<string, Set<SlotState>> = {};
    for (const slot of soundSlots()) {
      for (const event of allEvents()) {
        if (step(slot, event)) (seen[event.type] ??= new Set()).add(slot.state);
      }
    }
    for (const [type, states] of Object.entries(LEGAL))
      expect([...(seen[type] ?? [])].sort(), type).toEqual([...states].sort());
  });

  it('never leaves a function behind whatever the order of events', () => {
    const events = fc.array(fc.constantFrom(...allEvents()), { maxLength: 60 });
    fc.assert(
      fc.property(events, (sequence) => {
        let slot = EMPTY_SLOT;
        for (const event of sequence) slot = step(slot, event) ?? slot;
        expectSound(slot);
        // The VM ends, and what is attached is taken away: that must always empty the slot.
        const parked = step(slot, { type: 'vmLost' });
        expect(parked?.present).toBe(0);
        const emptied =
          parked && parked.functions !== 0
            ? step(parked, { type: 'removed', functions: parked.functions })
            : parked;
        expect(emptied).toEqual(EMPTY_SLOT);
      }),
    );
  });

  it('refuses to plug a slot without function 0', () => {
    expect(step({ state: 'parked', functions: 0b110, present: 0 }, { type: 'plug' })).toBeUndefined();
  });

  it('refuses a function that is attached already', () => {
    expect(
      step({ state: 'parked', functions: 0b11, present: 0 }, { type: 'attached', functions: 0b10 }),
    ).toBeUndefined();
  });

  it('keeps the mounts, parked, when a guest lets go unasked', () => {
    const plugged: SlotStatus = { state: 'plugged', functions: 0b11, present: 0b11 };
    const half = step(plugged, { type: 'deleted', functions: 0b10 });
    expect(half).toEqual({ state: 'plugged', functions: 0b11, present: 0b01 });
    expect(step(half!, { type: 'deleted', functions: 0b01 })).toEqual({
      state: 'parked',
      functions: 0b11,
      present: 0,
    });
  });

  it('keeps functions that the VM never had when the others are unplugged', () => {
    const unplugging: SlotStatus = { state: 'unplugging', functions: 0b101, present: 0b001 };
    expect(step(unplugging, { type: 'deleted', functions: 0b001 })).toEqual({
      state: 'parked',
      functions: 0b100,
      present: 0,
    });
  });

  it('finishes an unplug when the VM ends', () => {
    expect(step({ state: 'unplugging', functions: 1, present: 1 }, { type: 'vmLost' })).toEqual(EMPTY_SLOT);
  });

  it('parks what was plugged when the VM ends', () => {
    expect(step({ state: 'plugged', functions: 1, present: 1 }, { type: 'vmLost' })?.state).toBe('parked');
    expect(step({ state: 'plugging', functions: 1, present: 0 }, { type: 'vmLost' })?.state).toBe('parked');
    expect(step({ state: 'lost', functions: 1, present: 1 }, { type: 'vmLost' })?.state).toBe('parked');
  });

  it('has a slot wait for its VM when the device process dies, which connects again or is cut off', () => {
    const recovering = step({ state: 'plugged', functions: 1, present: 1 }, { type: 'deviceProcessLost' })!;
    expect(recovering.state).toBe('recovering');
    expect(step(recovering, { type: 'reconnected' })?.state).toBe('plugged');
    expect(step(recovering, { type: 'cutOff' })?.state).toBe('lost');
  });

  it('lets a lost slot be unplugged', () => {
    const lost = step({ state: 'recovering', functions: 1, present: 1 }, { type: 'cutOff' });
    expect(step(lost!, { type: 'unplug' })?.state).toBe('unplugging');
  });
});

describe('functionsIn', () => {
  it('lists the functions of a mask in order', () => {
    expect(functionsIn(0b1010_0001)).toEqual([0, 5, 7]);
  });
});
