/** A temporary directory with an export in it and something outside that the guest must not reach. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  HostDirectory,
  type HostDirectoryOptions,
} from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import type { HostNode } from '../../../../../devices/9p/fs/host-directory/host-node.js';
import { isFailure } from '../../../../../devices/errno.js';

export const SECRET = 'not for guests';
export const isRoot = process.geteuid?.() === 0;

export class Exported {
  readonly path: string;
  readonly outside: string;
  readonly fs: HostDirectory;
  readonly root: HostNode;
  readonly #base: string;

  private constructor(base: string, fs: HostDirectory, root: HostNode) {
    this.#base = base;
    this.path = join(base, 'export');
    this.outside = join(base, 'outside');
    this.fs = fs;
    this.root = root;
  }

  static async make(options: HostDirectoryOptions = {}, below = tmpdir()): Promise<Exported> {
    const base = mkdtempSync(join(below, 'exported-'));
    mkdirSync(join(base, 'export'));
    mkdirSync(join(base, 'outside'));
    writeFileSync(join(base, 'outside', 'secret'), SECRET);
    const fs = await HostDirectory.open(join(base, 'export'), options);
    const root = fs.attach();
    if (isFailure(root)) throw new Error(`attach failed with ${root}`);
    return new Exported(base, fs, root);
  }

  /** The path of something in the export. */
  at(...names: string[]): string {
    return join(this.path, ...names);
  }

  /** What is outside, as text to compare. */
  describeOutside(): string {
    const { mode, uid, gid, mtimeMs, nlink } = statSync(join(this.outside, 'secret'));
    const content = readFileSync(join(this.outside, 'secret'), 'utf8');
    const above = readdirSync(this.#base).join();
    return JSON.stringify([readdirSync(this.outside), content, mode, uid, gid, mtimeMs, nlink, above]);
  }

  remove(): void {
    this.root.release();
    this.fs.close();
    execFileSync('rm', ['-rf', this.#base]);
  }
}

/** Descriptors that this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
