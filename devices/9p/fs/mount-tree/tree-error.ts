/** Why something cannot be done to a child of a mount tree; `message` is for the operator. */
export type TreeErrorCode =
  /** The name (or the target) cannot be one. */
  | 'ILLEGAL'
  | 'NAME_IN_USE'
  /** No child has this name, or not any more. */
  | 'NO_SUCH_CHILD'
  /** There is no target that the guest could mount it at. */
  | 'NO_TARGET'
  /** The guest could not mount it; the message says why, in the guest's words. */
  | 'FAILED'
  /** The guest uses it; the message says who, in the guest's words. */
  | 'BUSY'
  /** It is being released already. */
  | 'RELEASING'
  /** The guest has not answered in time. */
  | 'TIMEOUT';

export class TreeError extends Error {
  readonly code: TreeErrorCode;
  /** The child's name. */
  readonly childName: string;

  constructor(code: TreeErrorCode, childName: string, reason: string) {
    super(`${childName}: ${reason}`);
    this.name = 'TreeError';
    this.code = code;
    this.childName = childName;
  }
}
