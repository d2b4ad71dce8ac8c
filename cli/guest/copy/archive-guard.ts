/**
 * What of an archive from a guest is unpacked on the host. Symbolic links are put aside until everything else is there: while files are
 * written, there is none that a path could lead through.
 */
import { ChassisError } from '../../../manager/control/api.js';

export interface ArchiveEntry {
  readonly path: string;
  readonly type: string;
  readonly linkpath?: string | undefined;
  readonly size: number;
}

export interface Limits {
  readonly maxBytes: number;
  readonly maxEntries: number;
}

const FILES = new Set(['File', 'OldFile', 'ContiguousFile', 'Directory', 'Link']);

export class ArchiveGuard {
  readonly #limits: Limits;
  /** Targets, by the paths of the links. */
  readonly links = new Map<string, string>();
  /** Devices, pipes and sockets, which are left out. */
  skipped = 0;
  entries = 0;
  bytes = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** True where the entry is to be unpacked now. @throws ChassisError GUEST_REFUSED for what no honest archive of a directory has, or what is too much */
  admits({ path, type, linkpath, size }: ArchiveEntry): boolean {
    const { maxBytes, maxEntries } = this.#limits;
    this.bytes += size;
    if (++this.entries > maxEntries) throw refused(`more than ${maxEntries} entries`);
    if (this.bytes > maxBytes)
      throw refused(`more than ${maxBytes} bytes`, 'raise the limit with --max-size');
    const plain = checked(path);
    if (type === 'SymbolicLink') {
      this.links.set(plain, linkpath ?? '');
      return false;
    }
    if (type === 'Link') checked(linkpath ?? '');
    if (FILES.has(type)) return true;
    this.skipped++;
    return false;
  }
}

/** The path without what does not matter. @throws ChassisError GUEST_REFUSED where it leads out */
function checked(path: string): string {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (path.startsWith('/') || names.includes('..') || path.includes('\0'))
    throw refused(`an entry that leads out of it: ${JSON.stringify(path.slice(0, 200))}`);
  return names.join('/');
}

function refused(what: string, suggestion?: string): ChassisError {
  return new ChassisError('GUEST_REFUSED', `the guest's archive has ${what}`, suggestion);
}
