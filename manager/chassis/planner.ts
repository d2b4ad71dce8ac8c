/**
 * Decides where an attach goes, or says why it cannot and what would help. Pure: it reads the model and changes nothing.
 */
import { ChassisError } from '../control/api.js';
import { isMount, type ChassisModel, type MountRecord, type Placement } from './chassis.js';
import { functionsIn } from './hotplug.js';
import { maxSlots, type PlacementRules } from './placement-rules.js';

/** An attach, as far as placing it goes. */
export interface PlacementRequest {
  /** Tags of the mounts, 1 to 8; or the name of a disk or a card. */
  readonly tags: readonly string[];
  readonly slot?: number;
  readonly function?: number;
  /** Nothing else may be in the slot, now or later. */
  readonly alone?: boolean;
}

/** What stands in the way, by slot number. */
export type UnusableSlots = ReadonlyMap<number, string>;

/** Virtio's limit is 65,535 bytes, but vhost-user carries 256 bytes of config space, two of which are the tag's length. */
const TAG_MAX_BYTES = 254;

/**
 * Places mounts side by side in one slot, in order. `unusable` says of slots that the VM cannot take a mount there, and why.
 * @throws ChassisError TAG_INVALID, TAG_IN_USE, SLOT_UNKNOWN, SLOT_TAKEN, NO_SLOT_FREE or BAD_REQUEST
 */
export function plan<S>(
  model: ChassisModel<S>,
  request: PlacementRequest,
  unusable: UnusableSlots = new Map(),
): Placement[] {
  checkTags(model, request.tags);
  checkFunctions(model.rules, request);
  const placement =
    request.slot === undefined
      ? placeAnywhere(model, request, unusable)
      : placeInSlot(model, request, request.slot, unusable);
  return request.tags.map((_, i) => ({ slot: placement.slot, function: placement.function + i }));
}

/** An attach, as far as it can name functions that are kept. */
export interface ReuseRequest {
  readonly mounts: readonly { readonly tag: string }[];
  readonly slot?: number;
  readonly function?: number;
}

/**
 * The kept functions that an attach names by its tags, in order; undefined where it names none. A guest learns a device's tag once, so
 * a kept function can only carry another mount of its own tag.
 * @throws ChassisError TAG_IN_USE where only some are kept, SLOT_TAKEN where they are elsewhere
 */
export function keptFunctions<S>(
  model: ChassisModel<S>,
  request: ReuseRequest,
): MountRecord<S>[] | undefined {
  const kept = request.mounts.map(({ tag }) => model.mount(tag)).filter((mount) => mount?.kept === true);
  if (kept.length === 0) return undefined;
  const names = kept.map((mount) => quoted(mount?.tag ?? '')).join(', ');
  if (kept.length < request.mounts.length || new Set(kept).size < kept.length) {
    throw new ChassisError(
      'TAG_IN_USE',
      `${names} would go to a kept function, other mounts of this attach would not`,
      'attach them separately',
    );
  }
  const mounts = kept as MountRecord<S>[];
  const { slot = mounts[0].slot, function: first = mounts[0].function } = request;
  mounts.forEach((mount, i) => {
    const { state } = model.slot(mount.slot);
    if (state !== 'plugged' && state !== 'parked') {
      throw new ChassisError('SLOT_TAKEN', `slot ${mount.slot} with ${quoted(mount.tag)} is ${state}`);
    }
    if (mount.slot === slot && (request.function === undefined || mount.function === first + i)) return;
    throw new ChassisError(
      'SLOT_TAKEN',
      `the function that is kept for ${quoted(mount.tag)} is function ${mount.function} of slot ${mount.slot}`,
      'attach without --slot and --function, or with another tag',
    );
  });
  return mounts;
}

/** @throws ChassisError TAG_INVALID or TAG_IN_USE */
export function checkTags<S>(model: ChassisModel<S>, tags: readonly string[]): void {
  const seen = new Set<string>();
  for (const tag of tags) {
    checkTag(tag);
    if (seen.has(tag)) {
      throw new ChassisError(
        'TAG_IN_USE',
        `tag ${quoted(tag)} is given twice`,
        'give each mount a tag of its own',
      );
    }
    seen.add(tag);
    if (model.children.has(tag)) {
      throw new ChassisError(
        'TAG_IN_USE',
        `tag ${quoted(tag)} is in use, in the tree`,
        'choose another tag, or detach that mount first',
      );
    }
    const seat = model.seats.get(tag);
    if (seat) {
      throw new ChassisError(
        'TAG_IN_USE',
        `tag ${quoted(tag)} is in use, on queue ${seat.queue}`,
        'choose another tag, or detach that mount first',
      );
    }
    const other = model.device(tag);
    if (other) {
      throw new ChassisError(
        'TAG_IN_USE',
        `tag ${quoted(tag)} is in use: slot ${other.slot}, function ${other.function}`,
        `choose another ${isMount(other) ? 'tag, or detach that mount first' : `name: a ${other.disk ? 'disk' : 'network card'} has that one`}`,
      );
    }
  }
}

/** @throws ChassisError TAG_INVALID */
export function checkTag(tag: string): void {
  if (tag === '')
    throw new ChassisError('TAG_INVALID', 'the tag is empty', 'name the mount, for example: src');
  const lengthBytes = new TextEncoder().encode(tag).length;
  if (lengthBytes > TAG_MAX_BYTES) {
    throw new ChassisError(
      'TAG_INVALID',
      `the tag has ${lengthBytes} bytes in UTF-8; ${TAG_MAX_BYTES} are possible`,
      'choose a shorter tag',
    );
  }
  // Lone surrogates have no UTF-8, and control characters cannot be typed into the guest's mount command.
  if (/[\p{Cc}\p{Cs}]/u.test(tag)) {
    throw new ChassisError(
      'TAG_INVALID',
      `tag ${quoted(tag)} holds a control character or is no valid Unicode`,
      'use letters, digits and punctuation',
    );
  }
}

function checkFunctions({ functionsPerSlot, vmm }: PlacementRules, request: PlacementRequest): void {
  const count = request.tags.length;
  const first = request.function ?? 0;
  if (count >= 1 && first >= 0 && first + count <= functionsPerSlot) return;
  if (functionsPerSlot === 1) {
    throw new ChassisError(
      'BAD_REQUEST',
      `a slot of ${vmm} has one function, number 0`,
      'attach one mount at a time',
    );
  }
  throw new ChassisError(
    'BAD_REQUEST',
    `${count} mounts from function ${first} on do not fit functions 0 to ${functionsPerSlot - 1}`,
    `attach at most ${functionsPerSlot} mounts at once, or start at a lower function`,
  );
}

function placeAnywhere<S>(
  model: ChassisModel<S>,
  request: PlacementRequest,
  unusable: UnusableSlots,
): Placement {
  const slot = emptySlots(model, unusable)[0];
  if (slot !== undefined) return { slot, function: request.function ?? 0 };
  throw new ChassisError(
    'NO_SLOT_FREE',
    `all ${model.slotCount} slots are taken`,
    noSlotSuggestion(model, request),
  );
}

function noSlotSuggestion<S>(model: ChassisModel<S>, request: PlacementRequest): string {
  const roomy = model.slotNumbers.find(
    (slot) =>
      !request.alone &&
      !model.isWhole(slot) &&
      model.slot(slot).state === 'parked' &&
      freeRun(model, slot, request.tags.length) !== undefined,
  );
  if (roomy !== undefined) return `share a slot that no VM has yet: slot ${roomy} has functions free`;
  return `detach a mount, ${waysOut(model.rules, model.slotCount).join(', or ')}`;
}

/** What makes room, by the rules of the VMM. */
function waysOut(rules: PlacementRules, slots: number): string[] {
  const ways = [];
  if (rules.functionsPerSlot > 1) ways.push('attach several mounts at once (they share a slot)');
  if (slots >= maxSlots(rules)) return ways;
  if (rules.growsWhileRunning) ways.push(`add a ${rules.extension.kind} to the chassis`);
  else ways.push('create the chassis with more slots (a VM gets them when it boots)');
  return ways;
}

function placeInSlot<S>(
  model: ChassisModel<S>,
  request: PlacementRequest,
  slot: number,
  unusable: UnusableSlots,
): Placement {
  if (!Number.isInteger(slot) || slot < 1 || slot > model.slotCount) {
    throw new ChassisError(
      'SLOT_UNKNOWN',
      `there is no slot ${slot}`,
      `slots are numbered 1 to ${model.slotCount}`,
    );
  }
  const obstacle = unusable.get(slot);
  if (obstacle !== undefined) throw taken(model, unusable, obstacle);
  const here = request.function === undefined ? undefined : model.deviceAt(slot, request.function);
  if (here && isMount(here) && here.kept) throw keptFor(here);
  checkJoinable(model, slot, unusable, request.alone ?? false);
  const fn = request.function ?? freeRun(model, slot, request.tags.length);
  if (fn === undefined) {
    throw taken(model, unusable, `slot ${slot} has no ${request.tags.length} functions free side by side`);
  }
  for (let i = fn; i < fn + request.tags.length; i++) {
    const other = model.deviceAt(slot, i);
    if (other) {
      throw taken(model, unusable, `function ${i} of slot ${slot} is taken by tag ${quoted(other.tag)}`);
    }
  }
  return { slot, function: fn };
}

/** A guest looks at a slot once, when function 0 arrives: what comes later it would never see, and the VMM refuses it. */
function checkJoinable<S>(
  model: ChassisModel<S>,
  slot: number,
  unusable: UnusableSlots,
  alone: boolean,
): void {
  const { state } = model.slot(slot);
  if (state === 'empty') return;
  const tags = model.devicesIn(slot).map((device) => quoted(device.tag));
  if (alone || model.isWhole(slot)) {
    throw taken(
      model,
      unusable,
      `slot ${slot} has ${tags.join(', ')}, and a disk has a slot of its own, as a network card has`,
    );
  }
  if (state === 'parked') return;
  throw taken(
    model,
    unusable,
    `slot ${slot} is ${state} with ${tags.join(', ')}: nothing can be added to a slot that the VM has`,
  );
}

/** The guest knows the function by its tag, which cannot change while it has it. */
function keptFor<S>({ tag, slot, function: fn }: MountRecord<S>): ChassisError {
  return new ChassisError(
    'SLOT_TAKEN',
    `function ${fn} of slot ${slot} is kept for the tag ${quoted(tag)}`,
    `attach with --tag ${tag}, or eject it first: chassis detach ${tag} --slot`,
  );
}

function taken<S>(model: ChassisModel<S>, unusable: UnusableSlots, message: string): ChassisError {
  const free = emptySlots(model, unusable);
  const elsewhere =
    free.length > 0 ? `use another slot (free: ${free.slice(0, 8).join(', ')})` : 'no other slot is free';
  return new ChassisError(
    'SLOT_TAKEN',
    message,
    `${elsewhere}, or detach what is there and attach all together`,
  );
}

/** Slots in which a card can be plugged, ascending. */
export function emptySlots<S>(model: ChassisModel<S>, unusable: UnusableSlots): number[] {
  return model.slotNumbers.filter((slot) => model.slot(slot).state === 'empty' && !unusable.has(slot));
}

/** The first function of the lowest `count` free ones side by side. */
function freeRun<S>(model: ChassisModel<S>, slot: number, count: number): number | undefined {
  const free = functionsIn(~model.slot(slot).functions);
  return free.find((fn) => free.filter((other) => other >= fn && other < fn + count).length === count);
}

function quoted(tag: string): string {
  return JSON.stringify(tag);
}
