/**
 * Restoring a function from a blob, whole or not at all: everything is checked before anything is changed. Which leaves two ways to set
 * it: `applyState`, in one go, and `replayState`.
 */
import type { GivenDescriptors } from '../../state-descriptors.js';
import { describeError } from '../device-session.js';
import { decodeState } from './codec.js';
import { configRegister, msixControl } from './config-registers.js';
import { driverFeaturesOf } from './driver-problem.js';
import { DriverInterfaceCode, type FunctionState } from './function-state.js';
import type { FunctionParts } from './function-parts.js';
import { problemOfState } from './problem.js';
import { isRunning, setRegisters, setStart } from './queue-registers.js';
import type { DriverProgress } from '../transport/driver-progress.js';

/** The state in a blob, which the device has taken over already; or why it is refused, and then nothing has changed. */
export function acceptState(parts: FunctionParts, blob: Uint8Array): FunctionState | string {
  if (!parts.state.idle) return 'the function is in use';
  const saved = decodeState(blob);
  if (typeof saved === 'string') return saved;
  return problemOfState(saved, parts) ?? problemOfDevice(parts, saved.device) ?? saved;
}

/** Lets the device look for what its own part of the blob names. */
export async function prepareFunction(
  { device, state }: FunctionParts,
  blob: Uint8Array,
  descriptors: GivenDescriptors | undefined,
): Promise<string | undefined> {
  if (!state.idle) return 'the function is in use';
  const saved = decodeState(blob);
  if (typeof saved === 'string') return saved;
  try {
    return await device.prepareState?.(saved.device, descriptors);
  } catch (error) {
    return `the device could not prepare for its state: ${describeError(error)}`;
  }
}

/** Sets everything where it is kept. The function is as after a reset. Of the rings that run, `goesOn` says which do so for the first time: false. */
export function applyState(
  parts: FunctionParts,
  saved: FunctionState,
  goesOn: (queueIndex: number) => boolean = () => true,
): void {
  const { config, state, common, legacy, interrupts } = parts;
  for (let offset = 0; offset < saved.configSpace.length; offset += 4) {
    config.set(offset, 4, configRegister(saved, offset));
  }
  applyMsix(parts, saved);
  parts.commandChanged();
  common.deviceFeatureSelect = saved.deviceFeatureSelect;
  common.driverFeatureSelect = saved.driverFeatureSelect;
  common.queueSelect = saved.queueSelect;
  legacy.queueSelect = saved.legacyQueueSelect;
  state.driverFeatures.set(driverFeaturesOf(saved));
  state.configVector = saved.configVector;
  state.config.resume(saved.configGeneration, saved.deviceConfig);
  for (const [index, queue] of saved.queues.entries()) setRegisters(state.queues[index], queue);
  applyStarts(parts, saved, goesOn);
  // A device that fails as it starts adds to it.
  interrupts.isr = saved.isrStatus;
  state.resume(progressOf(saved));
}

/** Where the rings that run go on. */
export function applyStarts(
  { state }: FunctionParts,
  saved: FunctionState,
  goesOn: (queueIndex: number) => boolean = () => true,
): void {
  for (const [index, queue] of saved.queues.entries()) {
    if (isRunning(saved, queue) && goesOn(index)) setStart(state.queues[index], queue);
  }
}

/** Marks vectors that fired while they were masked, for which all of them have to be masked now. */
export function applyPending({ msix }: FunctionParts, { msixPending }: FunctionState): void {
  for (let vector = 0; vector < 8 * msixPending.length; vector++) {
    if ((msixPending[vector >> 3] & (1 << (vector & 7))) !== 0) msix?.deliver(vector, () => {});
  }
}

export function progressOf({ interface: used, status, started, faulted }: FunctionState): DriverProgress {
  const { NONE, MODERN } = DriverInterfaceCode;
  return {
    interface: used === NONE ? undefined : used === MODERN ? 'modern' : 'legacy',
    status,
    started: started !== 0,
    faulted: faulted !== 0,
  };
}

function applyMsix(parts: FunctionParts, saved: FunctionState): void {
  const { msix, capabilities } = parts;
  if (msix === undefined) return;
  const { msixTable } = saved;
  for (let offset = 0; offset < msixTable.length; offset++) msix.writeTable(offset, 1, msixTable[offset]);
  msix.setControl(true, true);
  applyPending(parts, saved);
  const { enabled, functionMasked } = msixControl(saved, capabilities);
  msix.setControl(enabled, functionMasked);
}

/** The device takes over its own part; or answers why not, and nothing has changed. */
export function problemOfDevice({ device }: FunctionParts, bytes: Uint8Array): string | undefined {
  if (device.restoreState === undefined) {
    return bytes.length > 0 ? 'the device takes over no state of its own' : undefined;
  }
  try {
    return device.restoreState(bytes);
  } catch (error) {
    return `the device could not take over its state: ${describeError(error)}`;
  }
}
