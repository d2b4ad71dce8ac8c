/** One apply: what is there, what is to be done about it, and doing it. */
import { ChassisError } from '../../manager/control/api.js';
import { execute, type ApplyClient, type Done, type ExecuteOptions } from './execute.js';
import type { Desired } from './plan/desired.js';
import { planApply, type PlanOptions } from './plan/plan.js';
import type { ApplyPlan, PlanItem } from './plan/plan-item.js';

export interface ApplyOptions extends PlanOptions, ExecuteOptions {
  readonly dryRun: boolean;
  /** Hears of the plan before anything is done. */
  readonly onPlan: (plan: ApplyPlan) => void;
}

export interface Applied {
  readonly plan: ApplyPlan;
  /** Empty where it was a dry run, or there was nothing to do. */
  readonly done: readonly Done[];
}

/** @throws ChassisError PLAN_BLOCKED before anything is done; or as a step failed, once what was done is undone */
export async function applyOnce(
  client: ApplyClient,
  desired: Desired,
  options: ApplyOptions,
): Promise<Applied> {
  const actual = await client.list();
  const plan = planApply(desired, actual, options);
  options.onPlan(plan);
  if (options.dryRun) return { plan, done: [] };
  refuseBlocked(plan);
  return { plan, done: await execute(client, plan.steps, actual, options) };
}

function refuseBlocked({ items }: ApplyPlan): void {
  const blocked = items.filter((item) => item.blocked !== undefined);
  if (blocked.length === 0) return;
  const error = new ChassisError(
    'PLAN_BLOCKED',
    [...blocked.map(blockedText), 'nothing was changed'].join('\n'),
    blocked[0].blocked?.suggestion,
  );
  throw Object.assign(error, { details: { blocked } });
}

function blockedText({ at, kind, name, blocked }: PlanItem): string {
  const place = at ? `${at.file}:${at.line}:${at.column}: ` : '';
  return `${place}${kind} ${name}: ${blocked?.reason}`;
}
