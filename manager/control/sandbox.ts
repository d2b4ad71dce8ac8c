/** What confines a process that serves guests. */
import { Type, type Static } from '@sinclair/typebox';

/** As the kernel has it. */
export const InForce = Type.Object({
  /** Those of its own (namespaces(7)); without any, there is no sandbox. */
  namespaces: Type.Array(Type.String()),
  noNewPrivileges: Type.Boolean(),
  /** A filter of system calls. */
  seccomp: Type.Boolean(),
  /** As a mask of bits (capabilities(7)), in its user namespace. */
  capabilities: Type.String(),
  /** What is in its memory may be written to a file when it crashes. */
  coreDumps: Type.Boolean(),
  /** How many it may have; any number, where it is not there. */
  openFiles: Type.Optional(Type.Integer()),
  /** Why there is no sandbox. */
  reason: Type.Optional(Type.String()),
  /** Why there is no filter of system calls in it. */
  unfiltered: Type.Optional(Type.String()),
});
export type InForce = Static<typeof InForce>;
