import { readdir, readFile, readlink } from 'node:fs/promises';

/** How many there are of each kind. */
export type Tally = Record<string, number>;

/** What a process holds of the machine, as /proc shows it. */
export interface Census {
  /** Open file descriptors, by what they are of. */
  readonly descriptors: Tally;
  /** Memory mappings, by what they map. */
  readonly mappings: Tally;
  /** Memory of the process's own, in KiB (RssAnon): not the guest's, which is shared and which the guest fills at will. */
  readonly privateKiB: number;
}

export async function censusOf(pid: number): Promise<Census> {
  const [descriptors, mappings, status] = await Promise.all([
    descriptorTargets(pid),
    readFile(`/proc/${pid}/maps`, 'utf8'),
    readFile(`/proc/${pid}/status`, 'utf8'),
  ]);
  return {
    descriptors: tally(descriptors.map(descriptorKind)),
    mappings: tally(mappings.trimEnd().split('\n').map(mappingKind)),
    privateKiB: Number(/^RssAnon:\s*(\d+) kB$/m.exec(status)?.[1]),
  };
}

/** Sockets in the file system whose path begins so. They outlive neither their process nor their listener. */
export async function unixSocketsBelow(prefix: string): Promise<string[]> {
  const lines = (await readFile('/proc/net/unix', 'utf8')).split('\n');
  return lines
    .map((line) => line.split(' ').at(-1) ?? '')
    .filter((path) => path.startsWith(prefix))
    .sort();
}

/** What a descriptor is of: `socket:[123]` is a socket whichever it is, and one file as good as another. */
export function descriptorKind(target: string): string {
  if (target.startsWith('/memfd:')) return 'memfd';
  if (target.startsWith('/dev/')) return target;
  if (target.startsWith('/')) return 'file';
  return target.replace(/:\[\d+\]$/, '');
}

/** From a line of /proc/PID/maps: `address perms offset dev inode [name]`. Heaps and stacks come and go as allocators please. */
export function mappingKind(line: string): string {
  const name = /^\S+ \S+ \S+ \S+ \S+ *(.*)$/.exec(line)?.[1] ?? '';
  if (name === '' || name.startsWith('[')) return 'anonymous';
  return name.startsWith('/memfd:') ? 'memfd' : 'file';
}

async function descriptorTargets(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const targets = await Promise.all(
    // One may be closed between the listing and the look.
    (await readdir(folder)).map((name) => readlink(`${folder}/${name}`).catch(() => undefined)),
  );
  return targets.filter((target) => target !== undefined);
}

function tally(kinds: readonly string[]): Tally {
  const counts: Tally = {};
  for (const kind of [...kinds].sort()) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}
