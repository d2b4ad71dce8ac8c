/** Where an attach to a chassis in this process goes, or why it cannot and what would help. */
import { checkTag } from '../../chassis/planner.js';
import { ChassisError } from '../../control/api.js';
import { InProcessNinePMux } from '../../composition.js';
import type { CardContents, SlotContents } from './slot-contents.js';

/** Numbers that a card's functions may have where the guest knows ARI. */
const FUNCTIONS = 256;

export interface PlaceRequest {
  readonly slot?: number | undefined;
  readonly function?: number | undefined;
}

/** @throws ChassisError TAG_INVALID or TAG_IN_USE */
export function assertTagsFree(contents: SlotContents, tags: readonly string[]): void {
  const seen = new Set<string>();
  for (const tag of tags) {
    checkTag(tag);
    const other = contents.mount(tag);
    if (other === undefined && !seen.has(tag)) {
      seen.add(tag);
      continue;
    }
    const where = other ? `in use: slot ${other.slot}, function ${other.function}` : 'given twice';
    throw new ChassisError('TAG_IN_USE', `tag ${JSON.stringify(tag)} is ${where}`, 'choose another tag');
  }
}

/**
 * Numbers for `count` functions of one slot: from the one asked for, or the lowest free one, on.
 * @throws ChassisError SLOT_UNKNOWN, SLOT_TAKEN, NO_SLOT_FREE or BAD_REQUEST
 */
export function placeFunctions(
  contents: SlotContents,
  slots: readonly number[],
  count: number,
  request: PlaceRequest,
): { readonly slot: number; readonly functions: readonly number[] } {
  const slot = request.slot ?? firstEmptySlot(contents, slots);
  const card = joinableCard(contents, slots, slot);
  const first = request.function ?? firstFreeRun(card, count);
  const functions = Array.from({ length: count }, (_, i) => first + i);
  const valid = Number.isInteger(first) && first >= 0 && count > 0 && first + count <= FUNCTIONS;
  if (!valid) {
    throw new ChassisError(
      'BAD_REQUEST',
      `${count} mounts do not fit functions 0 to ${FUNCTIONS - 1} of a slot from function ${first} on`,
    );
  }
  const taken = functions.find((fn) => card?.devices.has(fn));
  if (taken !== undefined) throw slotTaken(contents, slots, `function ${taken} of slot ${slot} is taken`);
  return { slot, functions };
}

/** A multiplexing device that a guest may have, with a queue to spare; in the slot asked for, if one is. */
export function findQueue(
  contents: SlotContents,
  slot: number | undefined,
): { readonly card: CardContents; readonly mux: InProcessNinePMux; readonly queue: number } | undefined {
  for (const card of contents.cards()) {
    if (card.state !== 'plugged' || (slot !== undefined && card.slot !== slot)) continue;
    const mux = card.devices.get(0);
    if (!(mux instanceof InProcessNinePMux)) continue;
    const queue = mux.freeQueue;
    if (queue !== undefined) return { card, mux, queue };
  }
  return undefined;
}

/** @throws ChassisError NO_SLOT_FREE */
export function firstEmptySlot(contents: SlotContents, slots: readonly number[]): number {
  const slot = slots.find((number) => contents.isEmpty(number));
  if (slot !== undefined) return slot;
  throw new ChassisError(
    'NO_SLOT_FREE',
    `all ${slots.length} slots are taken`,
    'extend the chassis, attach several mounts as one card or to the queues of one device, or detach something',
  );
}

/** @throws ChassisError SLOT_UNKNOWN */
export function assertSlot(slots: readonly number[], slot: number): void {
  if (slots.includes(slot)) return;
  throw new ChassisError('SLOT_UNKNOWN', `there is no slot ${slot}`, `there are ${slots.length} slots`);
}

/** A guest looks at a slot once, when function 0 arrives: what comes later it would never see. */
function joinableCard(
  contents: SlotContents,
  slots: readonly number[],
  slot: number,
): CardContents | undefined {
  assertSlot(slots, slot);
  const card = contents.card(slot);
  if (contents.isEmpty(slot) || card?.state === 'parked') return card;
  const what = card === undefined ? 'holds an extension chassis' : `is ${card.state}`;
  throw slotTaken(contents, slots, `slot ${slot} ${what}: nothing can be added to it`);
}

function slotTaken(contents: SlotContents, slots: readonly number[], message: string): ChassisError {
  const free = slots.filter((slot) => contents.isEmpty(slot)).slice(0, 8);
  const suggestion = free.length > 0 ? `use another slot (free: ${free.join(', ')})` : 'extend the chassis';
  return new ChassisError('SLOT_TAKEN', message, suggestion);
}

function firstFreeRun(card: CardContents | undefined, count: number): number {
  let first = 0;
  for (let fn = 0; fn < FUNCTIONS && fn < first + count; fn++) if (card?.devices.has(fn)) first = fn + 1;
  return first;
}
