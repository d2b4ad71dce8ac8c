/** A plan for people and programs: what becomes of each thing, and why. */
import type { Position } from '../manifest/problems.js';
import type { Step } from './operations.js';

export type Kind = 'chassis' | 'mount' | 'disk' | 'card';
export type Action = 'add' | 'change' | 'replace' | 'remove' | 'keep';

/** Named as in a manifest; values as the API has them, absent where there is none. */
export interface Difference {
  readonly what: string;
  readonly from?: unknown;
  readonly to?: unknown;
}

export interface PlanItem {
  readonly action: Action;
  readonly kind: Kind;
  readonly chassis: string;
  readonly name: string;
  /** Of what is changed or replaced. */
  readonly differences: readonly Difference[];
  readonly notes: readonly string[];
  /** Why it is not done, and what to do about it: then nothing of the plan is. */
  readonly blocked?: { readonly reason: string; readonly suggestion: string };
  readonly at?: Position;
}

export interface ApplyPlan {
  readonly manifest: string;
  readonly items: readonly PlanItem[];
  readonly steps: readonly Step[];
}

/** True where what runs is not what is wanted. */
export function hasDrift({ items }: ApplyPlan): boolean {
  return items.some(({ action, blocked }) => action !== 'keep' || blocked !== undefined);
}
