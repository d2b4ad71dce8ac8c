/**
 * Linux drops set-user-id and set-group-id bits when a file is written or cut, but not for a process with CAP_FSETID, as a
 * privileged daemon is: a guest's unprivileged user could then change a set-user-id program that its group may write
 * (CVE-2023-1386). So a privileged export drops them itself; for others the kernel does.
 */
import { fchmod, StatxMask } from '../../../../host/index.js';
import { SET_ID_BITS, withoutSetId } from '../set-id-bits.js';
import type { ExportContext } from './export-context.js';

/** To be called before a file's content changes; `change` is how modes are changed behind such a descriptor. 0 or a negative errno. */
export function dropSetId(
  context: ExportContext,
  fd: number,
  change: (fd: number, mode: number) => number = fchmod,
): number {
  if (!context.limits.privileged) return 0;
  const { statx } = context;
  const error = statx.load(fd, StatxMask.STATX_MODE);
  if (error < 0 || (statx.mode & SET_ID_BITS) === 0) return error;
  const mode = statx.mode & 0o7777;
  const kept = withoutSetId(mode);
  return kept === mode ? 0 : change(fd, kept);
}
