/**
 * A pause of a device that its guest does not know of: nothing is taken from rings, and what was taken is given back. Kicks stay in their
 * eventfds, since another process may be the one to hear of them.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { DeviceRun } from './device-run.js';

const LOOK_MS = 1;

/** Resolves once requests under way are done. A string says what was not, in that time: then `resumeRun` is to come. */
export async function pauseRun(run: DeviceRun, timeoutMs: number): Promise<string | undefined> {
  const end = performance.now() + timeoutMs;
  for (const vring of run.vrings) vring.ignoreKick();
  if (run.session) run.session.taking = false;
  while (run.settled !== undefined || run.requestsUnderWay) {
    if (performance.now() > end) return whatIsUnderWay(run);
    // Most requests end within a turn of the event loop.
    await (performance.now() > end - timeoutMs + LOOK_MS ? delay(LOOK_MS) : new Promise(setImmediate));
  }
  for (const { ring } of run.vrings) ring?.flush();
  if (run.session) run.session.paused = true;
  return undefined;
}

/** Goes on after a pause, or for the first time. */
export function resumeRun(run: DeviceRun): void {
  const { session } = run;
  for (const vring of run.vrings) vring.watchKick();
  if (session === undefined) return run.updateAll();
  session.paused = false;
  session.taking = true;
  run.updateAll();
  session.kickAll();
  run.run();
}

function whatIsUnderWay(run: DeviceRun): string {
  if (run.settled !== undefined) return 'the device did not finish its reset in time';
  const busy = run.vrings.filter(({ ring }) => ring !== undefined && ring.inFlight > 0);
  const counts = busy.map(({ index, ring }) => `${ring?.inFlight} of queue ${index}`);
  return `requests under way did not end in time: ${counts.join(', ')}`;
}
