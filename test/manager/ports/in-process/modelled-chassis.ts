/** A chassis and its guest, and a model that says how each thing that is done to them ends. */
import { expect } from 'vitest';
import { Guest, type Mount } from '../../../../guest/index.js';
import { Chassis, ChassisError } from '../../../../manager/index.js';
import { CountingFileSystem } from './counting-file-system.js';

const ROOT_SLOTS = 3;
const QUEUES = 3;
/** Long enough for a guest that lets go at once; one that blinks for a minute does not make it. */
const TIMEOUT_MS = 200;
const SHORT_TIMEOUT_MS = 2;

/** What an operator, a guest's user or fate does. Numbers pick among what there is. */
export type Step =
  | { readonly do: 'attach'; readonly tag: number; readonly slot: number; readonly fn: number }
  | { readonly do: 'attachToQueue'; readonly tag: number }
  | { readonly do: 'attachCard'; readonly tags: readonly number[] }
  | { readonly do: 'detach'; readonly tag: number; readonly force: boolean; readonly slot: boolean }
  | { readonly do: 'extend'; readonly ports: number }
  | { readonly do: 'retract'; readonly slot: number }
  | { readonly do: 'mount' | 'unmount'; readonly tag: number }
  | { readonly do: 'reboot' | 'crash'; readonly slow: boolean }
  | {
      readonly do: 'race';
      readonly tag: number;
      readonly force: boolean;
      readonly against: 'mount' | 'crash';
    };

/** A mount as the model knows it. */
interface Expected {
  readonly slot: number;
  readonly fn: number;
  readonly queue: number | undefined;
  readonly fs: CountingFileSystem;
}

const tagOf = (number: number) => `t${number}`;

/** Waits without keeping the process: a guest that has crashed leaves its timers behind. */
const timers = {
  after: (ms: number, action: () => void) => {
    const timer = setTimeout(action, ms).unref();
    return () => clearTimeout(timer);
  },
};

export class World {
  readonly log: string[] = [];
  readonly chassis = new Chassis({
    slots: ROOT_SLOTS,
    queuesPerDevice: QUEUES,
    ramSizeBytes: 8 << 20,
    log: (line) => this.log.push(line),
  });
  guest!: Guest;
  /** The guest's slots blink for a minute before it lets go: whoever asks for one times out. */
  isSlow = false;
  /** What is attached, by tag. */
  readonly attached = new Map<string, Expected>();
  /** The slots of extension chassis, by the slot that they are in; slots with a multiplexing device; all else is empty. */
  readonly extensions = new Map<number, readonly number[]>();
  readonly muxes = new Set<number>();
  readonly plugged = new Set<number>();
  readonly mounted = new Map<string, Mount>();
  readonly gone: CountingFileSystem[] = [];

  async boot(slow: boolean): Promise<void> {
    this.isSlow = slow;
    this.mounted.clear();
    this.guest = await Guest.boot(this.chassis, { hotplug: { blinkMs: slow ? 60_000 : 0, timers } });
  }

  get slots(): number[] {
    const own = Array.from({ length: ROOT_SLOTS }, (_, i) => i + 1);
    return [...own, ...[...this.extensions.values()].flat()].sort((a, b) => a - b);
  }

  isEmpty(slot: number): boolean {
    return !this.extensions.has(slot) && !this.muxes.has(slot) && this.inSlot(slot).length === 0;
  }

  inSlot(slot: number): [string, Expected][] {
    return [...this.attached].filter(([, each]) => each.slot === slot);
  }

  isMounted(tags: readonly string[]): boolean {
    return tags.some((tag) => this.mounted.has(tag));
  }

  /** Mostly a tag that is attached. */
  pick(number: number): string {
    return [...this.attached.keys(), 'absent'].at(number % (this.attached.size + 1)) ?? '';
  }

  freeQueue(): { slot: number; queue: number } | undefined {
    for (const slot of this.muxes) {
      const taken = new Set(this.inSlot(slot).map(([, { queue }]) => queue));
      for (let queue = 0; queue < QUEUES; queue++) if (!taken.has(queue)) return { slot, queue };
    }
    return undefined;
  }

  leave(tags: readonly string[]): void {
    for (const tag of tags) {
      const { fs } = this.attached.get(tag)!;
      this.attached.delete(tag);
      this.gone.push(fs);
    }
  }
}

/** How a call on the chassis ended: 'ok', or the error's code. */
function outcome(call: Promise<unknown>): Promise<string> {
  return call.then(() => 'ok', codeOf);
}

function codeOf(error: unknown): string {
  if (error instanceof ChassisError) return error.code;
  throw error;
}

async function attach(world: World, tag: string, slot: number | undefined, fn: number): Promise<void> {
  const { chassis } = world;
  const fs = new CountingFileSystem();
  const place = slot ?? world.slots.find((each) => world.isEmpty(each));
  const joins = place !== undefined && !world.plugged.has(place) && !world.extensions.has(place);
  const isFree = place !== undefined && !world.inSlot(place).some(([, each]) => each.fn === fn);
  const expected = world.attached.has(tag)
    ? 'TAG_IN_USE'
    : place === undefined
      ? 'NO_SLOT_FREE'
      : joins && isFree
        ? 'ok'
        : 'SLOT_TAKEN';
  expect(await outcome(chassis.attach(fs, { tag, slot, function: fn }))).toBe(expected);
  if (expected !== 'ok' || place === undefined) return void expect(fs.closed).toBe(0);
  world.attached.set(tag, { slot: place, fn, queue: undefined, fs });
  if (fn === 0) world.plugged.add(place);
}

async function attachToQueue(world: World, tag: string): Promise<void> {
  const fs = new CountingFileSystem();
  const empty = world.slots.find((each) => world.isEmpty(each));
  const place = world.freeQueue() ?? (empty === undefined ? undefined : { slot: empty, queue: 0 });
  const expected = world.attached.has(tag) ? 'TAG_IN_USE' : place === undefined ? 'NO_SLOT_FREE' : 'ok';
  expect(await outcome(world.chassis.attach(fs, { tag, via: 'queue' }))).toBe(expected);
  if (expected !== 'ok' || place === undefined) return;
  world.attached.set(tag, { ...place, fn: 0, fs });
  world.muxes.add(place.slot);
  world.plugged.add(place.slot);
}

async function attachCard(world: World, tags: readonly string[]): Promise<void> {
  const mounts = tags.map((tag) => ({ tag, source: new CountingFileSystem() }));
  const slot = world.slots.find((each) => world.isEmpty(each));
  const inUse = tags.some((tag) => world.attached.has(tag)) || new Set(tags).size < tags.length;
  const expected = inUse ? 'TAG_IN_USE' : slot === undefined ? 'NO_SLOT_FREE' : 'ok';
  expect(await outcome(world.chassis.attachCard(mounts))).toBe(expected);
  if (expected !== 'ok' || slot === undefined) return;
  for (const [fn, { tag, source }] of mounts.entries()) {
    world.attached.set(tag, { slot, fn, queue: undefined, fs: source });
  }
  world.plugged.add(slot);
}

interface DetachStep {
  readonly force: boolean;
  readonly slot: boolean;
}

/** How a detach should end, and what leaves by it. */
function expectedDetach(
  world: World,
  tag: string,
  step: DetachStep,
): { code: string; leaving: string[]; unplugs: boolean } {
  const at = world.attached.get(tag);
  if (at === undefined) return { code: 'NO_MOUNT', leaving: [], unplugs: false };
  if (!world.plugged.has(at.slot)) return { code: 'ok', leaving: [tag], unplugs: false };
  const isAlone = at.queue !== undefined && !step.slot;
  const leaving = isAlone ? [tag] : world.inSlot(at.slot).map(([each]) => each);
  if (!step.slot && leaving.length > 1) return { code: 'SLOT_SHARED', leaving: [], unplugs: false };
  if (!step.force && world.isMounted(leaving)) return { code: 'MOUNT_BUSY', leaving: [], unplugs: false };
  if (!step.force && !isAlone && world.isSlow) return { code: 'GUEST_TIMEOUT', leaving: [], unplugs: false };
  return { code: 'ok', leaving, unplugs: !isAlone };
}

async function applyDetach(world: World, slot: number, leaving: readonly string[], unplugs: boolean) {
  world.leave(leaving);
  if (unplugs) {
    world.plugged.delete(slot);
    world.muxes.delete(slot);
  }
  await turns(2);
  // What was pulled out from under the guest is unmounted there, as its user would.
  for (const tag of leaving) {
    await world.mounted.get(tag)?.unmount();
    world.mounted.delete(tag);
  }
}

export async function detach(world: World, tag: string, step: DetachStep): Promise<void> {
  const slot = world.attached.get(tag)?.slot ?? 0;
  const { code, leaving, unplugs } = expectedDetach(world, tag, step);
  const timeoutMs = code === 'GUEST_TIMEOUT' ? SHORT_TIMEOUT_MS : TIMEOUT_MS;
  const { force, slot: whole } = step;
  expect(await outcome(world.chassis.detach(tag, { force, slot: whole, timeoutMs }))).toBe(code);
  if (code === 'ok') await applyDetach(world, slot, leaving, unplugs);
  if (code === 'GUEST_TIMEOUT') await useAgain(world, tag);
}

/** What was not let go of in time is as it was: it can be mounted. */
async function useAgain(world: World, tag: string): Promise<void> {
  await turns(2);
  await mount(world, tag);
  await world.mounted.get(tag)?.unmount();
  world.mounted.delete(tag);
}

async function extend(world: World, ports: number): Promise<void> {
  const place = world.slots.find((each) => world.isEmpty(each));
  const call = world.chassis.extend({ ports });
  // Behind an extension there may be no bus numbers for another one, or none until the guest has dealt them out.
  const mayBeRefused = place === undefined || place > ROOT_SLOTS;
  const made = mayBeRefused ? await call.catch(codeOf) : await call;
  if (typeof made === 'string') return void expect(made).toBe('NO_SLOT_FREE');
  const { slot, slots } = made;
  expect([world.isEmpty(slot), slots.length, slots.some((each) => world.slots.includes(each))]).toEqual([
    true,
    ports,
    false,
  ]);
  world.extensions.set(slot, slots);
}

async function retract(world: World, slot: number): Promise<void> {
  const slots = world.extensions.get(slot);
  const isInUse = slots?.some((each) => !world.isEmpty(each)) ?? world.inSlot(slot).length > 0;
  const code = world.isEmpty(slot)
    ? 'SLOT_UNKNOWN'
    : isInUse
      ? 'CHASSIS_IN_USE'
      : world.isSlow
        ? 'GUEST_TIMEOUT'
        : 'ok';
  const timeoutMs = code === 'GUEST_TIMEOUT' ? SHORT_TIMEOUT_MS : TIMEOUT_MS;
  const ended = await outcome(world.chassis.retract(slot, { timeoutMs }));
  // A guest that has not looked at a new extension yet has nothing to let go of.
  const isNews = code === 'GUEST_TIMEOUT' && slots !== undefined && ended === 'ok';
  if (!isNews) expect(ended).toBe(code);
  if (ended !== 'ok') return;
  world.extensions.delete(slot);
  world.muxes.delete(slot);
  world.plugged.delete(slot);
}

async function mount(world: World, tag: string): Promise<void> {
  const at = world.attached.get(tag);
  const expected =
    at === undefined || !world.plugged.has(at.slot) ? 'ENOENT' : world.mounted.has(tag) ? 'EBUSY' : undefined;
  if (expected !== undefined) {
    await expect(world.guest.mount(tag)).rejects.toMatchObject({ code: expected });
    return;
  }
  const mounted = await mountSoon(world.guest, tag);
  world.mounted.set(tag, mounted);
  expect(await mounted.readdir('/')).toEqual([]);
}

/** A guest that was asked for a slot hears a little later that it may keep it after all. */
async function mountSoon(guest: Guest, tag: string): Promise<Mount> {
  for (let i = 0; i < 100; i++) {
    try {
      return await guest.mount(tag);
    } catch (error) {
      if ((error as { code?: string }).code !== 'EBUSY') throw error;
    }
    await turns(1);
  }
  return guest.mount(tag);
}

/** A detach, and a mount of the same tag or a crash of the guest, at once: any of both may win, but not both. */
async function race(world: World, tag: string, step: Step & { do: 'race' }): Promise<void> {
  const at = world.attached.get(tag);
  if (at === undefined || world.mounted.has(tag)) return;
  const whole = { force: step.force, slot: true };
  const { leaving } = expectedDetach(world, tag, { ...whole, force: true });
  const isAlone = at.queue !== undefined || !world.plugged.has(at.slot);
  const request = { force: step.force, slot: at.queue === undefined, timeoutMs: 20 };
  const gone = isAlone ? [tag] : leaving;
  const detached = outcome(world.chassis.detach(tag, request));
  if (step.against === 'crash') {
    world.chassis.bus.powerOff();
    await world.boot(world.isSlow);
    const ended = await detached;
    expect(['ok', 'GUEST_TIMEOUT', 'MOUNT_BUSY']).toContain(ended);
    if (ended === 'ok') await applyDetach(world, at.slot, gone, !isAlone);
    return;
  }
  const mounting = world.guest.mount(tag).then(
    (mounted) => world.mounted.set(tag, mounted) && 'mounted',
    (error: { code: string }) => error.code,
  );
  const [ended, mounted] = await Promise.all([detached, mounting]);
  expect(['ok', 'GUEST_TIMEOUT', 'MOUNT_BUSY']).toContain(ended);
  expect(['mounted', 'ENOENT', 'EBUSY', 'ENODEV', 'EIO']).toContain(mounted);
  if (!step.force) expect([ended, mounted]).not.toEqual(['ok', 'mounted']);
  if (ended === 'ok') await applyDetach(world, at.slot, gone, !isAlone);
}

/** Does it, and holds how it ended against the model. */
export async function perform(world: World, step: Step): Promise<void> {
  switch (step.do) {
    case 'attach': {
      const slot = step.slot === 0 ? undefined : world.slots[(step.slot - 1) % world.slots.length];
      return attach(world, tagOf(step.tag), slot, step.fn);
    }
    case 'attachToQueue':
      return attachToQueue(world, tagOf(step.tag));
    case 'attachCard':
      return attachCard(world, step.tags.map(tagOf));
    case 'detach':
      return detach(world, world.pick(step.tag), step);
    case 'extend':
      return extend(world, step.ports);
    case 'retract':
      return retract(world, world.slots[step.slot % world.slots.length]);
    case 'mount':
      return mount(world, world.pick(step.tag));
    case 'unmount': {
      const name = [...world.mounted.keys()].at(step.tag % Math.max(1, world.mounted.size)) ?? '';
      await world.mounted.get(name)?.unmount();
      world.mounted.delete(name);
      return;
    }
    case 'reboot':
      await world.guest.shutdown();
      return world.boot(step.slow);
    case 'crash':
      world.chassis.bus.powerOff();
      return world.boot(step.slow);
    case 'race':
      return race(world, world.pick(step.tag), step);
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Holds what chassis and guest show against the model, once both have come to rest. */
export async function check(world: World): Promise<void> {
  const { chassis, guest, attached, plugged } = world;
  const present = [...attached].filter(([, { slot }]) => plugged.has(slot)).map(([tag]) => tag);
  for (let i = 0; i < 100 && String(guest.tags().sort()) !== String(present.sort()); i++) await turns(1);
  expect(guest.tags().sort()).toEqual(present.sort());
  expect(
    chassis.mounts().map(({ tag, slot, function: fn, queue, state }) => ({ tag, slot, fn, queue, state })),
  ).toEqual(
    [...attached]
      .map(([tag, { slot, fn, queue }]) => {
        return { tag, slot, fn, queue, state: plugged.has(slot) ? 'plugged' : 'parked' };
      })
      .sort((a, b) => a.slot - b.slot || a.fn - b.fn || (a.queue ?? 0) - (b.queue ?? 0)),
  );
  expect(chassis.slots().map(({ slot, holds }) => [slot, holds])).toEqual(
    world.slots.map((slot) => [
      slot,
      world.extensions.has(slot) ? 'extension' : world.isEmpty(slot) ? 'nothing' : 'card',
    ]),
  );
  for (const [tag, { fs }] of attached) {
    expect([tag, fs.closed, fs.live > 0]).toEqual([tag, 0, world.mounted.has(tag)]);
  }
  expect(world.gone.filter(({ closed, live }) => closed !== 1 || live !== 0)).toEqual([]);
  expect(world.log).toEqual([]);
}
