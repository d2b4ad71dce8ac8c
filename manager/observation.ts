/** Looks at all chassis, whatever one of them does. */
import type { Chassis } from './control/api.js';
import type { Observed } from './control/service.js';

interface Observable {
  readonly name: string;
  describe(): Promise<Chassis>;
}

/** In the order given. One that does not tell of itself in time is named, and what it says later is lost. */
export async function observe(all: readonly Observable[], timeoutMs: number): Promise<Observed> {
  const seen = await Promise.all(all.map((each) => within(each.describe(), timeoutMs)));
  return {
    chassis: seen.filter((chassis) => chassis !== undefined),
    silent: all.filter((_, index) => seen[index] === undefined).map(({ name }) => name),
  };
}

/** Undefined where it takes longer. */
async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => (timer = setTimeout(resolve, timeoutMs, undefined)));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
