/** What a request is refused with. */
import { Type, type Static } from '@sinclair/typebox';

/**
 * Error codes, each with one HTTP status and one exit code of the CLI (`exitCodes` in cli/). Scripts rely on them.
 */
export const ErrorCode = {
  BAD_REQUEST: 400,
  /** Only `chassis apply` says these: the manifest is wrong; or it would take from a guest what it uses, or from somebody else what is theirs. */
  MANIFEST_INVALID: 400,
  PLAN_BLOCKED: 409,
  /** A step in a guest failed, says `chassis apply` as well. */
  PROVISION_FAILED: 502,
  /** Nothing answers on the control socket, says the client; or the daemon stops, in the middle of what was asked of it. */
  NO_DAEMON: 503,
  NO_CHASSIS: 404,
  NO_MOUNT: 404,
  NO_DISK: 404,
  NO_CARD: 404,
  /** The command has ended, or has not begun. */
  NO_COMMAND: 404,
  /** Nothing was changed where changes were to be committed or dropped. */
  NO_CHANGE: 404,
  CHASSIS_EXISTS: 409,
  CHASSIS_IN_USE: 409,
  TAG_IN_USE: 409,
  SLOT_TAKEN: 409,
  SLOT_UNKNOWN: 404,
  NO_SLOT_FREE: 409,
  SLOT_SHARED: 409,
  MOUNT_BUSY: 409,
  MOUNT_PERMANENT: 409,
  SOURCE_MISSING: 404,
  SOURCE_NOT_DIRECTORY: 400,
  /** It cannot be a disk: neither a regular file nor a block device. */
  SOURCE_NOT_DISK: 400,
  SOURCE_UNREADABLE: 403,
  /** Somebody else writes to it. */
  SOURCE_IN_USE: 409,
  /** Changes of a guest would be lost, or mistaken for others. */
  CHANGES_PENDING: 409,
  /** A diff, commit or discard met something that it could not do. */
  REVIEW_STOPPED: 409,
  /** A disk's size that cannot be, or that what it is kept in cannot get. */
  SIZE_INVALID: 400,
  /** Another card of the chassis has that address. */
  MAC_IN_USE: 409,
  /** What a card was to be plugged into cannot be had: a TAP device, passt, or a switch. */
  NETWORK_UNAVAILABLE: 409,
  TAG_INVALID: 400,
  /** Only `chassis export` and `serve --web` say this: somebody else listens there. */
  ADDRESS_IN_USE: 409,
  VMM_UNSUITABLE: 409,
  VMM_REFUSED: 502,
  VMM_GONE: 502,
  /** The guest's helper could not do what it was asked. */
  GUEST_REFUSED: 502,
  GUEST_TIMEOUT: 504,
  /** The guest does not run commands for its host: whether it does is its choice. */
  COMMANDS_OFF: 409,
  /** What ran the command went away in the middle of it. */
  COMMAND_LOST: 502,
  /** A device process cannot be replaced, or not now; it goes on as if nobody had asked. */
  UPGRADE_REFUSED: 409,
  /** Something of the chassis cannot be saved, or not now. */
  SAVE_REFUSED: 409,
  /** Something that a saved chassis counts on is not here, or is another one: nothing was restored. */
  RESTORE_REFUSED: 409,
  /** A file is no saved chassis, or one that cannot be read. */
  SAVED_STATE_INVALID: 400,
  DEVICE_PROCESS_LOST: 503,
  STATE_UNWRITABLE: 500,
  /** No process may be started without a sandbox, and there can be none. */
  SANDBOX_UNAVAILABLE: 503,
  /** What an earlier daemon noted of the chassis cannot be used. */
  JOURNAL_UNREADABLE: 500,
  INTERNAL: 500,
} as const;
export type ErrorCode = keyof typeof ErrorCode;

/** An error's body. `suggestion` says what to do about it. */
export const ErrorBody = Type.Object({
  code: Type.String(),
  message: Type.String(),
  suggestion: Type.Optional(Type.String()),
});
export type ErrorBody = Static<typeof ErrorBody>;

/** A mistake of the operator or a limit met: shown without a stack trace. */
export class ChassisError extends Error {
  override readonly name = 'ChassisError';
  readonly code: ErrorCode;
  readonly suggestion: string | undefined;

  constructor(code: ErrorCode, message: string, suggestion?: string) {
    super(message);
    this.code = code;
    this.suggestion = suggestion;
  }
}
