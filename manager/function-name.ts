import type { Placement } from './chassis/chassis.js';

/** What the two processes call a function. */
export function functionName(mount: Placement): string {
  return `slot${mount.slot}-fn${mount.function}`;
}
