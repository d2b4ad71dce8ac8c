import type { ErrorCode } from '../../manager/control/api.js';

/** Exit codes of every command. Scripts rely on them; the README lists them. */
export const ExitCode = {
  OK: 0,
  /** A bug, or an error of the system that has no code of its own. */
  UNEXPECTED: 1,
  /** The command line or a value on it is wrong. */
  USAGE: 2,
  /** No daemon answers. */
  NO_DAEMON: 3,
  /** What was named does not exist. */
  NOT_FOUND: 4,
  /** What was asked for is in use, taken, or would take something else along. */
  CONFLICT: 5,
  /** The VMM is unsuitable, refused, or went away; or the guest refused. */
  VMM: 6,
  /** The guest or the VMM did not answer in time. */
  TIMEOUT: 7,
  /** What runs is not what the manifest says: of `apply --dry-run` alone. */
  DRIFT: 8,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export const exitCodes: Record<ErrorCode, ExitCode> = {
  BAD_REQUEST: ExitCode.USAGE,
  MANIFEST_INVALID: ExitCode.USAGE,
  PLAN_BLOCKED: ExitCode.CONFLICT,
  PROVISION_FAILED: ExitCode.VMM,
  NO_DAEMON: ExitCode.NO_DAEMON,
  NO_CHASSIS: ExitCode.NOT_FOUND,
  NO_MOUNT: ExitCode.NOT_FOUND,
  NO_DISK: ExitCode.NOT_FOUND,
  NO_CARD: ExitCode.NOT_FOUND,
  NO_COMMAND: ExitCode.NOT_FOUND,
  NO_CHANGE: ExitCode.NOT_FOUND,
  CHASSIS_EXISTS: ExitCode.CONFLICT,
  CHASSIS_IN_USE: ExitCode.CONFLICT,
  TAG_IN_USE: ExitCode.CONFLICT,
  SLOT_TAKEN: ExitCode.CONFLICT,
  SLOT_UNKNOWN: ExitCode.NOT_FOUND,
  NO_SLOT_FREE: ExitCode.CONFLICT,
  SLOT_SHARED: ExitCode.CONFLICT,
  MOUNT_BUSY: ExitCode.CONFLICT,
  MOUNT_PERMANENT: ExitCode.CONFLICT,
  SOURCE_MISSING: ExitCode.NOT_FOUND,
  SOURCE_NOT_DIRECTORY: ExitCode.USAGE,
  SOURCE_NOT_DISK: ExitCode.USAGE,
  SOURCE_UNREADABLE: ExitCode.USAGE,
  SOURCE_IN_USE: ExitCode.CONFLICT,
  CHANGES_PENDING: ExitCode.CONFLICT,
  REVIEW_STOPPED: ExitCode.CONFLICT,
  SIZE_INVALID: ExitCode.USAGE,
  MAC_IN_USE: ExitCode.CONFLICT,
  NETWORK_UNAVAILABLE: ExitCode.CONFLICT,
  TAG_INVALID: ExitCode.USAGE,
  ADDRESS_IN_USE: ExitCode.CONFLICT,
  VMM_UNSUITABLE: ExitCode.VMM,
  VMM_REFUSED: ExitCode.VMM,
  VMM_GONE: ExitCode.VMM,
  GUEST_REFUSED: ExitCode.VMM,
  GUEST_TIMEOUT: ExitCode.TIMEOUT,
  COMMANDS_OFF: ExitCode.VMM,
  COMMAND_LOST: ExitCode.VMM,
  UPGRADE_REFUSED: ExitCode.CONFLICT,
  SAVE_REFUSED: ExitCode.CONFLICT,
  RESTORE_REFUSED: ExitCode.CONFLICT,
  SAVED_STATE_INVALID: ExitCode.USAGE,
  DEVICE_PROCESS_LOST: ExitCode.UNEXPECTED,
  STATE_UNWRITABLE: ExitCode.UNEXPECTED,
  SANDBOX_UNAVAILABLE: ExitCode.UNEXPECTED,
  JOURNAL_UNREADABLE: ExitCode.UNEXPECTED,
  INTERNAL: ExitCode.UNEXPECTED,
};
