/** What a chassis is made as, and stays as long as it is there. */
import type { Chassis, CreateChassisRequest } from '../../../manager/control/api.js';
import type { Difference, PlanItem } from './plan-item.js';

/** Absent is what the daemon takes by itself; of a chassis that is there, whatever it has will do. */
export type Frame = Pick<CreateChassisRequest, 'slots' | 'vmm' | 'apiSocket'>;

const KEYS = ['slots', 'vmm', 'apiSocket'] as const satisfies (keyof Frame)[];

/** What makes one like it. */
export function frameOf({ slots, apiSocket }: Chassis): Frame {
  return apiSocket === undefined ? { slots } : { slots, vmm: 'cloud-hypervisor', apiSocket };
}

/** What is said of it, and nothing else. */
export function frameSaid({ slots, vmm, apiSocket }: Frame): Frame {
  return {
    ...(slots !== undefined && { slots }),
    ...(vmm !== undefined && { vmm }),
    ...(apiSocket !== undefined && { apiSocket }),
  };
}

export function frameAdded(wanted: Frame): Difference[] {
  return KEYS.flatMap((what) => (wanted[what] === undefined ? [] : [{ what, to: wanted[what] }]));
}

/** No part of it can be changed in place, and all that is plugged in would go with it: that is for the operator to do. */
export function frameVerdict(wanted: Frame, there: Chassis): Pick<PlanItem, 'differences' | 'blocked'> {
  const has = { vmm: 'qemu' as const, ...frameOf(there) };
  const differences = KEYS.filter((what) => wanted[what] !== undefined && wanted[what] !== has[what]).map(
    (what) => ({ what, ...(has[what] !== undefined && { from: has[what] }), to: wanted[what] }),
  );
  if (differences.length === 0) return { differences };
  const [{ what, from }] = differences;
  const { name } = there;
  const reason = `${name} ${REASONS[what](from)}, which cannot be changed while it is there`;
  const way = from === undefined ? `leave ${what} out` : `write ${what}: ${from}`;
  const suggestion = `${way}, or remove it and apply again: chassis remove ${name}`;
  return { differences, blocked: { reason, suggestion } };
}

const REASONS: Record<keyof Frame, (from: string | number | undefined) => string> = {
  slots: (from) => `has ${from} slots`,
  vmm: (from) => `is for ${from}`,
  apiSocket: (from) => (from === undefined ? 'is driven at no API socket' : `is driven at ${from}`),
};
