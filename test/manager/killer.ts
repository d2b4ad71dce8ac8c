import type { Journal } from '../../manager/journal.js';

const NEVER = new Promise<never>(() => undefined);

/**
 * Kills a daemon of this process at one of the steps that it takes outside itself: what it asks of device processes, switches and VMs, and what
 * it notes. It hears of nothing from then on, and nothing hears of it.
 */
export class Killer {
  /** Steps since `arm`. */
  steps = 0;
  isDead = false;
  /** Resolves once it is. */
  readonly died: Promise<void>;
  private killAt = Infinity;
  private isDone = false;
  private die: () => void = () => undefined;

  constructor() {
    this.died = new Promise((resolve) => (this.die = resolve));
  }

  /** From now on, the step of that number is the last: `isDone` says whether it is taken. */
  arm(killAt: number, isDone: boolean): void {
    this.steps = 0;
    this.killAt = killAt;
    this.isDone = isDone;
  }

  /** Each call of a method that answers by a promise is a step. */
  wrap<T extends object>(target: T): T {
    return new Proxy(target, {
      get: (_, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function' || name === 'leave') return value;
        return (...given: unknown[]) => this.step(() => value.apply(target, given) as unknown);
      },
    });
  }

  wrapJournal(journal: Journal): Journal {
    const write = journal.write.bind(journal);
    journal.write = (...given) => {
      void this.step(() => write(...given));
    };
    return journal;
  }

  private step(take: () => unknown): unknown {
    if (this.isDead) return NEVER;
    const isLast = ++this.steps === this.killAt;
    if (isLast && !this.isDone) return this.kill();
    const result = take();
    if (isLast) return this.kill();
    if (!(result instanceof Promise)) return result;
    return result.then(
      (value: unknown) => (this.isDead ? NEVER : value),
      (error: unknown) => (this.isDead ? NEVER : Promise.reject(error as Error)),
    );
  }

  kill(): Promise<never> {
    this.isDead = true;
    this.die();
    return NEVER;
  }
}
