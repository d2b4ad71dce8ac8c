/** A guest's everyday work with files (git, tar, SQLite and more: file-work.py), for a test to disturb. */
import { createHash } from 'node:crypto';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LinuxGuest } from '../../../testbed/guest.js';
import { DEBIAN_ROOT, guestPrograms } from '../../../testbed/guest-programs.js';
import type { ExtraFile } from '../../../testbed/initramfs.js';
import type { LoadResult } from '../../soak/steady-load.js';
import { inDebian, prepareDebian } from './debian-in-guest.js';

const SCRIPT = fileURLToPath(new URL('file-work.py', import.meta.url));
const SCRIPT_IN_GUEST = '/file-work.py';
const STOP_FILE = '/tmp/file-work.stop';
const ROUNDS_FILE = '/tmp/file-work.rounds';
/** Where the folder is seen by Debian's programs. */
const FOLDER = '/mnt/file-work';
/** Longer than any disturbance. */
const TIMEOUT_MS = 3_600_000;

/** Once a guest. */
export class FileWork {
  private readonly guest: LinuxGuest;
  private readonly running: Promise<string>;

  private constructor(guest: LinuxGuest, running: Promise<string>) {
    this.guest = guest;
    this.running = running;
    // Whoever stops it hears of its failure.
    this.running.catch(() => undefined);
  }

  /** What the guest is to be booted with. */
  static async files(): Promise<ExtraFile[]> {
    return [...(await guestPrograms()), { path: DEBIAN_ROOT + SCRIPT_IN_GUEST, hostPath: SCRIPT }];
  }

  /** @param folder in the guest: it is the work's own until `stop` */
  static async begin(guest: LinuxGuest, folder: string): Promise<FileWork> {
    await prepareDebian(guest);
    const place = DEBIAN_ROOT + FOLDER;
    await guest.ok(`mkdir -p ${place} && mount -o bind ${folder} ${place}`);
    const options = { timeoutMs: TIMEOUT_MS };
    return new FileWork(guest, inDebian(guest, `python3.11 ${SCRIPT_IN_GUEST} ${FOLDER}`, options));
  }

  /** Rounds that are over. @throws GuestCommandError where something went wrong */
  async rounds(): Promise<number> {
    const asked = inDebian(this.guest, `cat ${ROUNDS_FILE} 2>/dev/null || echo 0`);
    const failed = this.running.then(() => asked);
    return Number(await Promise.race([asked, failed]));
  }

  /**
   * Ends it once the round is over. The checksums are of everything below the folder, as the guest reads it.
   * @throws GuestCommandError where something went wrong
   */
  async stop(): Promise<LoadResult> {
    await inDebian(this.guest, `touch ${STOP_FILE}`);
    const printed = await this.running;
    await this.guest.ok(`umount ${DEBIAN_ROOT}${FOLDER}`);
    const { rounds, checksums } = JSON.parse(printed) as {
      rounds: number;
      checksums: Record<string, string>;
    };
    return { rounds, checksums: new Map(Object.entries(checksums)) };
  }
}

/** The SHA-256 of every file below a folder of the host, and of what each link says. */
export async function checksumsBelow(folder: string): Promise<Map<string, string>> {
  const sums = new Map<string, string>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = entry.isSymbolicLink() ? Buffer.from(await readlink(path)) : await readFile(path);
    sums.set(relative(folder, path), createHash('sha256').update(bytes).digest('hex'));
  }
  return sums;
}
