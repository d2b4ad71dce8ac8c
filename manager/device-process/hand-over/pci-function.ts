/** A virtio-pci function of one process, for another to go on with. */
import { Type, type Static } from '@sinclair/typebox';
import { GivenDescriptors, SavedDescriptors } from '../../../devices/state-descriptors.js';
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import type { VirtioPciFunction } from '../../../devices/virtio/transport/virtio-pci.js';
import { closeFd } from '../../../host/index.js';
import type { LogMethod } from '../../logging/log.js';
import { VfioUserState } from '../../ports/vfio-user/port-state.js';
import type { IncomingParcel, OutgoingParcel } from './parcel.js';
import { standStill } from './stand-still.js';

const Numbered = Type.Integer({ minimum: 0 });
/** The function's blob, and the descriptors that its device names in there. */
export const PciFunctionState = Type.Object({ blob: Numbered, fds: Type.Array(Numbered) });
export type PciFunctionState = Static<typeof PciFunctionState>;

export const VfioUserFunctionState = Type.Object({ server: VfioUserState, function: PciFunctionState });

/** Resolves once requests under way are done, or held. A string says that they were not, in that time: then `resumeFunction` is to come. */
export async function pauseFunction(
  fn: VirtioPciFunction,
  device: VirtioDevice,
  timeoutMs: number,
): Promise<string | undefined> {
  fn.stopTaking();
  const still = { device, isBusy: () => fn.busy, isResetting: () => fn.resetting };
  if (!(await standStill(still, timeoutMs))) return 'requests under way did not end in time';
  fn.standStill();
  return undefined;
}

/** The vCPU that took memory away stands still for so long at most. */
const QUIESCE_MS = 2000;

/** Nothing that is under way touches guest memory any more once this resolves, unless it takes too long; what waits for something begins anew. */
export async function quiesceFunction(
  fn: VirtioPciFunction,
  device: VirtioDevice,
  log: LogMethod,
): Promise<void> {
  fn.stopTaking();
  const still = {
    device: device.hold === undefined ? {} : { hold: () => fn.hold() },
    isBusy: () => fn.underWay,
    isResetting: () => fn.resetting,
  };
  if (!(await standStill(still, QUIESCE_MS)))
    log('memory was taken away from requests that do not end: they may write to it yet');
  fn.release();
  fn.goOn();
}

/** Goes on after a pause, or for the first time. */
export function resumeFunction(fn: VirtioPciFunction, device: VirtioDevice): void {
  device.unhold?.();
  fn.goOn();
}

/** @throws Error where its state cannot be told just now */
export function saveFunction(fn: VirtioPciFunction, parcel: OutgoingParcel): PciFunctionState {
  const descriptors = new SavedDescriptors();
  const { blob, problem } = fn.saveState({ leavesProcess: true, descriptors });
  if (blob === undefined) throw new Error(problem);
  return { blob: parcel.addBytes(blob), fds: descriptors.fds.map((fd) => parcel.addFd(fd)) };
}

/** Answers why it cannot go on from there. @throws ParcelError */
export async function restoreFunction(
  fn: VirtioPciFunction,
  state: PciFunctionState,
  parcel: IncomingParcel,
): Promise<string | undefined> {
  const blob = parcel.bytes(state.blob);
  const descriptors = new GivenDescriptors(parcel.takeFds(state.fds));
  try {
    return (await fn.prepareState(blob, descriptors)) ?? fn.restoreState(blob);
  } finally {
    for (const fd of descriptors.left) closeFd(fd);
  }
}
