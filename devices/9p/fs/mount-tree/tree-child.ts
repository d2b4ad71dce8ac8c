import type { ByteString } from '../file-system.js';
import type { Child } from './child.js';
import type { Mounting } from './mounting.js';

/** All there is to a child of a tree. */
export interface TreeChild {
  /** Never used twice, and growing: the order in which children are listed. Another tree's, where this one goes on for it. */
  id: number;
  /** The name as the guest sees it. */
  readonly name: ByteString;
  /** An absolute path in the guest, if it is to be mounted. */
  readonly target: ByteString | undefined;
  readonly child: Child;
  readonly mounting: Mounting;
  removed: boolean;
}
