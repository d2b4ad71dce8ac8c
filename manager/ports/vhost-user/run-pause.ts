/**
 * A pause of a device that its guest does not know of: nothing is taken from rings, and what was taken is given back. Kicks stay in their
 * eventfds, since another process may be the one to hear of them. And a shorter one, while memory is taken away.
 */
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import type { DeviceSession } from '../../../devices/virtio/device-session.js';
import { standStill } from '../../device-process/hand-over/stand-still.js';
import type { DeviceRun } from './device-run.js';

/** Resolves once requests under way are done, or held. A string says what was not, in that time: then `resumeRun` is to come. */
export async function pauseRun(
  run: DeviceRun,
  device: VirtioDevice,
  timeoutMs: number,
): Promise<string | undefined> {
  for (const vring of run.vrings) vring.ignoreKick();
  if (run.session) run.session.taking = false;
  const isResetting = () => run.settled !== undefined;
  const isBusy = () => isResetting() || run.requestsUnderWay;
  if (!(await standStill({ device, isBusy, isResetting }, timeoutMs))) return whatIsUnderWay(run);
  for (const { ring } of run.vrings) ring?.flush();
  if (run.session) run.session.paused = true;
  return undefined;
}

/** Goes on after a pause, or for the first time. */
export function resumeRun(run: DeviceRun, device: VirtioDevice): void {
  const { session } = run;
  for (const vring of run.vrings) vring.watchKick();
  if (session) session.paused = false;
  if (session) session.taking = true;
  device.unhold?.();
  run.updateAll();
  session?.kickAll();
  run.run();
}

/**
 * Memory was taken away: resolves once nothing that is under way touches it any more, or has had the time for that; undefined where nothing is. What
 * takes longer has that memory still: see `MemoryTable`.
 */
export function quiesceRun(run: DeviceRun, device: VirtioDevice): Promise<void> | undefined {
  const { session } = run;
  if (session === undefined || !run.requestsUnderWay) return undefined;
  const leftMs = run.drain.leftMs();
  return leftMs > 0 ? quiesce(run, session, device, leftMs) : undefined;
}

async function quiesce(
  run: DeviceRun,
  session: DeviceSession,
  device: VirtioDevice,
  timeoutMs: number,
): Promise<void> {
  session.taking = false;
  const isResetting = () => run.settled !== undefined;
  const isBusy = () => isResetting() || run.requestsUnderWay;
  await standStill({ device, isBusy, isResetting }, timeoutMs);
  // Where the device was reset meanwhile, it holds nothing, and another driver may be at work.
  if (run.session !== session) return;
  device.unhold?.();
  session.taking = true;
  session.kickAll();
  session.run();
}

function whatIsUnderWay(run: DeviceRun): string {
  if (run.settled !== undefined) return 'the device did not finish its reset in time';
  const busy = run.vrings.filter(({ ring }) => ring !== undefined && ring.inFlight > 0);
  const counts = busy.map(({ index, ring }) => `${ring?.inFlight} of queue ${index}`);
  return `requests under way did not end in time: ${counts.join(', ')}`;
}
