import type { ApplyPlan } from '../plan/plan-item.js';

/** It is tried again less and less often, unless something changes. */
const RETRY_MAX_MS = 300_000;

/** The plan that failed last, and when it is tried again. */
export class Failures {
  private readonly firstMs: number;
  private steps = '';
  private dueAt = 0;
  private waitMs: number;

  constructor(firstMs: number) {
    this.firstMs = firstMs;
    this.waitMs = firstMs;
  }

  isDue({ steps }: ApplyPlan): boolean {
    return JSON.stringify(steps) !== this.steps || performance.now() >= this.dueAt;
  }

  note({ steps }: ApplyPlan): void {
    const failed = JSON.stringify(steps);
    this.waitMs = failed === this.steps ? Math.min(2 * this.waitMs, RETRY_MAX_MS) : this.firstMs;
    this.steps = failed;
    this.dueAt = performance.now() + this.waitMs;
  }

  forget(): void {
    this.steps = '';
    this.dueAt = 0;
  }
}
