import type { FunctionParts } from './function-parts.js';

/** Whether the device has anything under way that it is yet to complete: a request, or a reset. */
export function isBusy({ state }: FunctionParts): boolean {
  const { session } = state;
  if (session === undefined) return !state.idle;
  if (state.progress.faulted) return false;
  return state.queues.some(({ index }) => {
    const ring = session.ring(index);
    if (ring === undefined) return false;
    ring.flush();
    const saved = ring.save();
    return typeof saved === 'string' || saved.chains.some(({ completed }) => !completed);
  });
}
