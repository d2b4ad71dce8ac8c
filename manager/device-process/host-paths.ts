/**
 * Where a confined device process finds what the daemon has opened for it: it sees nothing of the host's files by their paths. While a request
 * is served, what came with it is found by its path; what is needed for longer is opened meanwhile.
 */
import { closeFd } from '../../host/index.js';

interface Granted {
  readonly fd: number;
  /** Requests under way that brought it. */
  uses: number;
}

const granted = new Map<string, Granted>();

/** The process was started confined: see `bubblewrapped`. */
export function isConfined(): boolean {
  return process.env[CONFINED] !== undefined;
}
export const CONFINED = 'CHASSIS_CONFINED';

/** Where to open what the daemon calls `path`: the path itself, where it was not opened for us. */
export function hostPath(path: string): string {
  const fd = granted.get(path)?.fd;
  return fd === undefined ? path : `/proc/self/fd/${fd}`;
}

/** Takes over what came with a request; answers how to let it go. What was there before under the same path is the same, or older. */
export function grantPaths(paths: ReadonlyMap<string, number>): () => void {
  for (const [path, fd] of paths) {
    const before = granted.get(path);
    if (before) closeFd(before.fd);
    granted.set(path, { fd, uses: (before?.uses ?? 0) + 1 });
  }
  return () => {
    for (const path of paths.keys()) release(path);
  };
}

function release(path: string): void {
  const entry = granted.get(path);
  if (entry === undefined || --entry.uses > 0) return;
  granted.delete(path);
  closeFd(entry.fd);
}

/** The key of a TAP device, which has no path. */
export function tapKey(name: string): string {
  return `tap:${name}`;
}

/** The key of the first connection of a function. */
export function peerKey(fn: string): string {
  return `peer:${fn}`;
}

/** A descriptor that is the caller's from now on; undefined where the daemon has opened none. */
export function takeGranted(key: string): number | undefined {
  const entry = granted.get(key);
  if (entry === undefined) return undefined;
  granted.delete(key);
  return entry.fd;
}
