/**
 * How the guest's helper makes watchers in the guest wake: it sets a file's modification time to one that no file has. The guest's kernel
 * tells its watchers of that, and asks the server, which leaves the file alone: nothing is changed on the host, and nobody there notices. So
 * a poke needs no permission, works on read-only children, and races with nobody. The time that the guest sees stays the true one, because
 * its kernel asks anew after each change.
 */
import { SetAttr, type AttributeChanges } from '../file-system.js';

/** The time of a poke, in seconds since 1970: a moment of 1973. */
export const POKE_SECONDS = 97_531_864;

const { P9_ATTR_ATIME, P9_ATTR_MTIME, P9_ATTR_CTIME, P9_ATTR_ATIME_SET, P9_ATTR_MTIME_SET } = SetAttr;
const TIMES = P9_ATTR_ATIME | P9_ATTR_MTIME | P9_ATTR_CTIME | P9_ATTR_ATIME_SET | P9_ATTR_MTIME_SET;

export function isPoke({ valid, mtimeSeconds, mtimeNanoseconds }: AttributeChanges): boolean {
  return (
    (valid & P9_ATTR_MTIME_SET) !== 0 &&
    (valid & ~TIMES) === 0 &&
    mtimeSeconds === POKE_SECONDS &&
    mtimeNanoseconds === 0
  );
}
