/** How deep names nest in a node:fs-compatible object. */

/** Objects keep, or make for each call, a list of the directories above a file: a chain of n of them would cost n². */
export const MAX_DEPTH = 256;

/** How many names a path is long. */
export function depthOf(path: string): number {
  let depth = 0;
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) depth++;
  return depth;
}
