import { describe, expect, it } from 'vitest';
import { MAX_SLOTS, type Plan, type Via } from '../../../manager/control/api.js';
import { planCapacity, TREE_MOUNTS_MAX } from '../../../manager/chassis/capacity.js';
import {
  CLOUD_HYPERVISOR_RULES,
  extensionsFor,
  IN_PROCESS_RULES,
  maxSlots,
  PLACEMENT_RULES,
  QEMU_RULES,
  type PlacementRules,
} from '../../../manager/chassis/placement-rules.js';
import { refusal } from '../refusal.js';

describe('the rules', () => {
  it('allow what the API does', () => {
    expect(maxSlots(QEMU_RULES)).toBe(MAX_SLOTS);
    for (const [vmm, rules] of Object.entries(PLACEMENT_RULES)) expect(rules.vmm).toBe(vmm);
  });

  it.each([
    [1, 0],
    [64, 0],
    [65, 1],
    [96, 1],
    [97, 2],
    [224, 5],
  ])('put %i slots of QEMU on the root complex and %i switches', (slots, switches) => {
    expect(extensionsFor(QEMU_RULES, slots)).toBe(switches);
  });
});

describe('planCapacity', () => {
  it.each<[string, PlacementRules, number, Via, Partial<Plan>]>([
    ['one mount', QEMU_RULES, 1, 'auto', { via: 'function', slots: 1, room: 8, left: 7, oneByOne: 1 }],
    ['a full card', QEMU_RULES, 8, 'function', { slots: 1, left: 0 }],
    ['a ninth', QEMU_RULES, 9, 'function', { slots: 2, room: 16, left: 7, oneByOne: 2 }],
    ['64 root ports', QEMU_RULES, 512, 'function', { slots: 64, extensions: 0, left: 0 }],
    ['a switch', QEMU_RULES, 513, 'function', { slots: 65, extensions: 1 }],
    ['all that there is', QEMU_RULES, 1792, 'auto', { via: 'function', slots: 224, extensions: 5 }],
    ['one more', QEMU_RULES, 1793, 'auto', { via: 'tree', slots: 1, left: TREE_MOUNTS_MAX - 1793 }],
    ['a tree of three', QEMU_RULES, 3, 'tree', { via: 'tree', slots: 1, oneByOne: TREE_MOUNTS_MAX }],
    ['one function a slot', CLOUD_HYPERVISOR_RULES, 31, 'auto', { slots: 31, extensions: 0, left: 0 }],
    ['a segment', CLOUD_HYPERVISOR_RULES, 32, 'auto', { slots: 32, extensions: 1, extensionKind: 'segment' }],
    ['the queues of a chassis', QEMU_RULES, 64, 'queue', { via: 'queue', slots: 1, room: 64, left: 0 }],
    ['queues', IN_PROCESS_RULES, 65, 'queue', { via: 'queue', slots: 1, room: 128, left: 63 }],
    ['a chassis that grows', IN_PROCESS_RULES, 31 * 256 + 1, 'auto', { slots: 32, extensions: 1 }],
  ])('plans %s', (_, rules, mounts, via, expected) => {
    expect(planCapacity(rules, { mounts, via })).toMatchObject(expected);
  });

  it('plans within the slots that there are', () => {
    expect(planCapacity(QEMU_RULES, { mounts: 3, via: 'auto', slots: 4 })).toMatchObject({
      slots: 4,
      room: 32,
      left: 29,
    });
    expect(planCapacity(QEMU_RULES, { mounts: 33, via: 'auto', slots: 4 }).via).toBe('tree');
  });

  it.each<[string, PlacementRules, number, Via, number | undefined, RegExp, RegExp]>([
    ['functions', QEMU_RULES, 1793, 'function', undefined, /room for 1792/, /--via tree[^,]*, .*mounts$/],
    ['slots', QEMU_RULES, 33, 'function', 4, /its 4 slots of 8/, /--via tree.*--slots 5/],
    ['queues', QEMU_RULES, 65, 'queue', undefined, /the 64 queues/, /--via tree/],
    ['tree mounts', QEMU_RULES, TREE_MOUNTS_MAX + 1, 'tree', undefined, /65536/, /several chassis/],
  ])('refuses more %s than there are, with the way out', (_, rules, mounts, via, slots, message, wayOut) => {
    expect(() => planCapacity(rules, { mounts, via, slots })).toThrow(
      expect.objectContaining(refusal('NO_SLOT_FREE', message, wayOut)) as Error,
    );
  });

  it('refuses queues where no function has them for mounts', () => {
    expect(() => planCapacity(CLOUD_HYPERVISOR_RULES, { mounts: 2, via: 'queue' })).toThrow(
      expect.objectContaining(refusal('BAD_REQUEST', /first queue/, /--via tree/)) as Error,
    );
  });
});
