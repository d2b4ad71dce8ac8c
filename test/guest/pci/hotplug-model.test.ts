import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Card } from '../../../devices/pci/topology/card.js';
import type { Occupant, Slot } from '../../../devices/pci/topology/slot.js';
import { Switch } from '../../../devices/pci/topology/switch.js';
import { InterruptController } from '../../../guest/pci/interrupts.js';
import { TestFunction, VENDOR_ID } from '../../devices/pci/topology/test-function.js';
import { PcieMachine, boot, rootPorts, turn, type Booted } from './pcie-machine.js';

const RUNS = Number(process.env.CHASSIS_FUZZ_RUNS ?? 60);
const ROOT_PORTS = 3;
/** Longer than a blink, and than a link or command may take. */
const LONG_MS = 10_000;

/** One command of the operator, the guest's user or fate. Numbers pick among what there is. */
type Step =
  | { readonly do: 'insertCard'; readonly slot: number; readonly functions: number }
  | { readonly do: 'insertSwitch'; readonly slot: number; readonly slots: number }
  | {
      readonly do: 'request' | 'withdraw' | 'remove' | 'button' | 'fault' | 'break' | 'mend';
      readonly slot: number;
    }
  | { readonly do: 'use' | 'release'; readonly function: number }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'turns'; readonly count: number }
  | { readonly do: 'settle' | 'crash' | 'reboot' };

/** Counts the messages that drivers hold, which is what they leak if they leave one behind. */
class CountingInterrupts extends InterruptController {
  held = 0;

  override allocateMessage(handler: () => void): number {
    this.held++;
    return super.allocateMessage(handler);
  }

  override freeMessage(data: number): void {
    this.held--;
    super.freeMessage(data);
  }
}

/** The machine, the guest on it, and what the operator knows. */
class World {
  readonly machine = new PcieMachine(rootPorts(ROOT_PORTS));
  readonly functions: TestFunction[] = [];
  /** Slots that the operator wants back: what is out of them has to have been asked for. */
  readonly wanted = new Set<Slot>();
  readonly expelled: string[] = [];
  /** Slots whose button was pressed by hand, or whose power or link failed: they may be dark though they are occupied. */
  readonly disturbed = new Set<Slot>();
  guest!: Booted;
  interrupts!: CountingInterrupts;
  #nextSlot = 100;

  async boot(): Promise<void> {
    this.guest = await boot(this.machine, {
      interrupts: () => (this.interrupts = new CountingInterrupts(this.machine.bus, () => {})),
    });
  }

  get slots(): Slot[] {
    return [...this.machine.complex.slots()];
  }

  slot(index: number): Slot {
    const { slots } = this;
    return slots[index % slots.length];
  }

  insert(slot: Slot, occupant: Occupant): void {
    if (slot.occupant !== undefined) return;
    slot.insert(occupant);
    this.disturbed.delete(slot);
    slot.listen({
      ejected: (from, what) => {
        if (!this.wanted.delete(from))
          this.expelled.push(`slot ${from.physicalSlotNumber} gave up its occupant unasked`);
        if (what.seat !== undefined) this.expelled.push('what was ejected has a seat');
      },
    });
  }

  card(functions: number): Card {
    const made = Array.from({ length: functions }, (_, number) => ({
      number,
      function: new TestFunction(this.functions.length + number),
    }));
    this.functions.push(...made.map((each) => each.function));
    return new Card(made);
  }

  extension(slots: number): Switch {
    return new Switch(Array.from({ length: slots }, () => this.#nextSlot++));
  }

  pickFunction(index: number) {
    const present = [...this.guest.client.present].filter(({ vendorId }) => vendorId === VENDOR_ID);
    return present.length === 0 ? undefined : present[index % present.length];
  }

  /** Lets everything come to an end that can, however long it takes. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 2;) {
      await turn();
      quiet = this.guest.timers.count === 0 ? quiet + 1 : 0;
      this.guest.timers.pass(LONG_MS);
    }
  }

  /** Functions that the guest should have: those at the end of active links, if the guest gave their slots a driver's attention. */
  linked(): Set<TestFunction> {
    const found = new Set<TestFunction>();
    const visit = (slots: readonly Slot[]) => {
      for (const slot of slots) {
        if (!slot.isLinkActive) continue;
        if (slot.occupant instanceof Switch) visit(slot.occupant.slots);
        if (slot.occupant instanceof Card)
          for (const { pci } of slot.occupant.functions) found.add(pci as TestFunction);
      }
    };
    visit(this.machine.complex.rootPorts.map(({ slot }) => slot));
    return found;
  }
}

async function perform(world: World, step: Step): Promise<void> {
  const { guest } = world;
  switch (step.do) {
    case 'insertCard':
      return world.insert(world.slot(step.slot), world.card(step.functions));
    case 'insertSwitch':
      return world.insert(world.slot(step.slot), world.extension(step.slots));
    case 'request': {
      const slot = world.slot(step.slot);
      if (slot.occupant === undefined) return;
      world.wanted.add(slot);
      return slot.requestEjection();
    }
    case 'withdraw': {
      const slot = world.slot(step.slot);
      slot.withdrawEjection();
      if (!slot.isEjecting) world.wanted.delete(slot);
      return;
    }
    case 'remove': {
      const slot = world.slot(step.slot);
      slot.remove();
      world.wanted.delete(slot);
      return;
    }
    case 'button':
      world.disturbed.add(world.slot(step.slot));
      return world.slot(step.slot).pressAttentionButton();
    case 'fault':
      world.disturbed.add(world.slot(step.slot));
      return world.slot(step.slot).failPower();
    case 'break':
      world.disturbed.add(world.slot(step.slot));
      return world.slot(step.slot).breakLink();
    case 'mend':
      return world.slot(step.slot).mendLink();
    case 'use': {
      const fn = world.pickFunction(step.function);
      if (fn !== undefined && !guest.hotplug.isLeaving(fn)) guest.client.inUse.add(fn);
      return;
    }
    case 'release': {
      const fn = [...guest.client.inUse].at(step.function % Math.max(1, guest.client.inUse.size));
      if (fn === undefined) return;
      guest.client.inUse.delete(fn);
      return guest.hotplug.released(fn);
    }
    case 'pass':
      return guest.timers.pass(step.ms);
    case 'turns':
      for (let i = 0; i < step.count; i++) await Promise.resolve();
      return;
    case 'settle':
      return world.settle();
    case 'crash':
      world.machine.reset();
      return world.boot();
    case 'reboot':
      await Promise.all([guest.hotplug.stop(), world.settle()]);
      world.machine.reset();
      return world.boot();
  }
}

/** Holds at any moment, whatever is under way. */
function checkAlways(world: World): void {
  expect(world.expelled).toEqual([]);
  const linked = world.linked();
  const connected = world.functions.filter(({ port }) => port !== undefined);
  expect(new Set(connected)).toEqual(linked);
  for (const slot of world.slots) {
    if (slot.isEjecting) expect(world.wanted.has(slot)).toBe(true);
    if (slot.isLinkActive) expect([slot.occupant !== undefined, slot.isPowered]).toEqual([true, true]);
  }
}

/** Holds once everything under way has come to its end. */
function checkSettled(world: World): void {
  checkAlways(world);
  const { guest } = world;
  const present = [...guest.client.present].filter(({ vendorId }) => vendorId === VENDOR_ID);
  expect(present.map(({ deviceId }) => deviceId).sort((a, b) => a - b)).toEqual(
    [...world.linked()].map(({ deviceId }) => deviceId).sort((a, b) => a - b),
  );
  for (const fn of present) expect(fn.config.read(2, 2)).toBe(fn.deviceId);
  const reachable = world.slots.filter((slot) => isReachable(world, slot));
  for (const slot of reachable) {
    const lights = `${slot.isPowered ? 'power' : 'no power'}, ${slot.powerIndicator}`;
    // One that blinks waits for a function in use.
    const legal = slot.isLinkActive ? ['power, on', 'power, blink'] : ['no power, off'];
    expect(legal).toContain(lights);
    if (lights === 'power, blink') expect(guest.client.inUse.size).toBeGreaterThan(0);
    if (world.disturbed.has(slot)) continue;
    if (slot.occupant !== undefined) expect(slot.isLinkActive).toBe(true);
    if (guest.client.inUse.size === 0) expect(slot.isEjecting).toBe(false);
  }
  expect(guest.timers.count).toBe(0);
  expect(world.interrupts.held).toBe(reachable.length);
  expect(world.machine.line).toBe(false);
}

function isReachable(world: World, slot: Slot): boolean {
  const roots = world.machine.complex.rootPorts.map((port) => port.slot);
  const visit = (slots: readonly Slot[]): boolean =>
    slots.some(
      (each) =>
        each === slot || (each.isLinkActive && each.occupant instanceof Switch && visit(each.occupant.slots)),
    );
  return visit(roots);
}

const index = fc.nat(11);
const single: fc.Arbitrary<Step> = fc.oneof(
  {
    arbitrary: fc.record({
      do: fc.constant('insertCard' as const),
      slot: index,
      functions: fc.integer({ min: 1, max: 9 }),
    }),
    weight: 6,
  },
  {
    arbitrary: fc.record({
      do: fc.constant('insertSwitch' as const),
      slot: index,
      slots: fc.integer({ min: 1, max: 3 }),
    }),
    weight: 3,
  },
  {
    arbitrary: fc.record({ do: fc.constantFrom('request' as const, 'withdraw' as const), slot: index }),
    weight: 8,
  },
  {
    arbitrary: fc.record({
      do: fc.constantFrom(
        'remove' as const,
        'button' as const,
        'fault' as const,
        'break' as const,
        'mend' as const,
      ),
      slot: index,
    }),
    weight: 4,
  },
  {
    arbitrary: fc.record({ do: fc.constantFrom('use' as const, 'release' as const), function: index }),
    weight: 4,
  },
  {
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1000, 5000, 5001) }),
    weight: 4,
  },
  { arbitrary: fc.record({ do: fc.constant('turns' as const), count: fc.nat(30) }), weight: 6 },
  { arbitrary: fc.record({ do: fc.constant('settle' as const) }), weight: 5 },
  { arbitrary: fc.record({ do: fc.constantFrom('crash' as const, 'reboot' as const) }), weight: 1 },
);

/** A request that is taken back about when the guest lets go, which chance alone rarely hits upon. */
const lateWithdrawal = fc
  .tuple(index, fc.nat(30), fc.boolean())
  .map(([slot, count, isAskedAgain]): Step[] => [
    { do: 'settle' },
    { do: 'request', slot },
    { do: 'turns', count: 30 },
    { do: 'pass', ms: 5000 },
    { do: 'turns', count },
    { do: 'withdraw', slot },
    ...(isAskedAgain ? [{ do: 'turns', count: 1 } as const, { do: 'request', slot } as const] : []),
  ]);

const sequence = fc
  .array(
    fc.oneof(
      { arbitrary: single.map((step) => [step]), weight: 15 },
      { arbitrary: lateWithdrawal, weight: 1 },
    ),
    {
      maxLength: 40,
    },
  )
  .map((parts) => parts.flat());

describe('any sequence of plugging, pulling, asking, using, failing and rebooting', () => {
  it('leaves machine and guest in a legal state that agree with each other, and nothing behind', async () => {
    await fc.assert(
      fc.asyncProperty(sequence, async (steps) => {
        const world = new World();
        await world.boot();
        for (const each of steps) {
          await perform(world, each);
          if (each.do === 'settle') checkSettled(world);
          else checkAlways(world);
        }
        await world.settle();
        checkSettled(world);
        // Whatever was withdrawn, refused or held meanwhile, the operator gets every slot back that nobody uses.
        while (world.guest.client.inUse.size > 0) await perform(world, { do: 'release', function: 0 });
        await world.settle();
        for (const slot of world.machine.complex.rootPorts.map((port) => port.slot)) {
          if (slot.occupant === undefined) continue;
          slot.withdrawEjection();
          world.wanted.add(slot);
          slot.requestEjection();
        }
        await world.settle();
        expect(world.machine.complex.rootPorts.map(({ slot }) => slot.occupant)).toEqual([
          undefined,
          undefined,
          undefined,
        ]);
        expect(world.functions.filter(({ port }) => port !== undefined)).toEqual([]);
        checkSettled(world);
      }),
      { numRuns: RUNS },
    );
  });
});
