/** What the daemon asks of the process that makes mounts for it, by messages of `HandOverChannel`. One at a time. */
import { Type } from '@sinclair/typebox';

export const MountMakerMessage = { CLONE: 1, CLONED: 2 } as const;

/** The socket's descriptor in that process. */
export const MOUNT_MAKER_FD = 3;

export const CloneOrder = Type.Object({ path: Type.String() });
/** The descriptor's number in the parcel, or a negative errno. */
export const Cloned = Type.Object({
  fd: Type.Optional(Type.Integer()),
  error: Type.Optional(Type.Integer()),
});
