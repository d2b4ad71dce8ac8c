/**
 * The same state, brought about by the register writes of a driver, in the order of the specification (virtio 1.3, section 3.1.1 and, for
 * legacy registers, 3.1.2): reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK, queues, DRIVER_OK. It goes through every check that a guest's
 * writes do, and says of each field which register it is behind. What no register says is set between the writes:
 *
 * - pending MSI-X vectors (the PBA is read-only), while all vectors are masked;
 * - `config_generation`, and what it is the generation of;
 * - where each ring goes on and which chains its device had, before DRIVER_OK: through `QueueConfig`, as vhost-user's SET_VRING_BASE does.
 *   A driver can only have a ring start afresh;
 * - a fault: DEVICE_NEEDS_RESET is the device's to set, so instead of DRIVER_OK the status is set as it was;
 * - ISR status, before DRIVER_OK, because a device that fails as it starts adds to it.
 *
 * The function masters the bus with the last write, so that its device is let at memory only once all is in place.
 */
import type { PciFunction } from '../../pci/function.js';
import type { DriverInterface } from '../transport/driver-progress.js';
import type { FunctionState } from './function-state.js';
import type { FunctionParts } from './function-parts.js';
import { legacyWrites } from './legacy-writes.js';
import { modernWrites } from './modern-writes.js';
import { pciFinalWrites, pciSetUpWrites } from './pci-writes.js';
import { writeAll, type DriverWrites } from './register-write.js';
import { applyPending, applyStarts, progressOf } from './restore.js';

/** Sets everything by writes to `fn`, whose parts these are. It is as after a reset. */
export function replayState(fn: PciFunction, parts: FunctionParts, saved: FunctionState): void {
  const { state, interrupts } = parts;
  const progress = progressOf(saved);
  const { used, others } = interfacesOf(parts, saved, progress.interface);
  writeAll(fn, pciSetUpWrites(saved, parts));
  applyPending(parts, saved);
  // A driver that came before, of other registers, may have left its selectors.
  for (const { selectors, reset } of others) writeAll(fn, [...selectors, reset]);
  if (used !== undefined) writeAll(fn, [used.reset, ...used.setUp]);
  state.config.resume(saved.configGeneration, saved.deviceConfig);
  applyStarts(parts, saved);
  interrupts.isr = saved.isrStatus;
  if (progress.faulted) state.resume(progress);
  else writeAll(fn, used?.start ?? []);
  writeAll(fn, used?.selectors ?? []);
  writeAll(fn, pciFinalWrites(saved, parts));
}

/** The registers that the driver uses, and others that the function has. */
function interfacesOf(
  { layout }: FunctionParts,
  saved: FunctionState,
  driver: DriverInterface | undefined,
): { readonly used: DriverWrites | undefined; readonly others: readonly DriverWrites[] } {
  const writes = { modern: modernWrites(saved), legacy: legacyWrites(saved) };
  const others = [
    ...(layout.hasModern && driver !== 'modern' ? [writes.modern] : []),
    ...(layout.hasLegacy && driver !== 'legacy' ? [writes.legacy] : []),
  ];
  return { used: driver && writes[driver], others };
}
