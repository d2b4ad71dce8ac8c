import { execa } from 'execa';
import { chmod, copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { programInTree, type PackageRequest } from './debian.js';
import { badPackage, debianTree } from './debian-tree.js';
import type { OnProgress } from './progress.js';

const request: PackageRequest = {
  title: 'browser',
  suites: ['trixie', 'trixie-backports'],
  prefer: 'trixie',
  packages: ['chromium-headless-shell'],
  // For a screen, a desktop and a graphics card.
  provided: [
    ...['libllvm19', 'x11-utils', 'xdg-utils'],
    ...['debconf', 'dpkg', 'init-system-helpers', 'systemd', 'adduser', 'passwd', 'perl-base'],
  ],
};

const FOLDER = 'usr/lib/chromium';
const PROGRAM = `${FOLDER}/chromium-headless-shell`;
/** It looks for its files beside the program that it is, which is the loader: so that is there, too. */
const LOADER = `${FOLDER}/loader`;
const WRAPPER = 'browser';

/**
 * Debian's Chromium without a screen, as one program: in the cache, fetched where it is missing (90 MB).
 * @throws QemuUnavailableError, see `debianTree`
 */
export async function findBrowser(onProgress?: OnProgress, signal?: AbortSignal): Promise<string> {
  return join(await debianTree('browser-trixie-2', request, prepare, { onProgress, signal }), WRAPPER);
}

/** Makes the tree runnable where it is, and wherever it is moved to. @throws QemuUnavailableError BAD_PACKAGE where it does not run */
async function prepare(root: string, signal?: AbortSignal): Promise<void> {
  const [loader, ...rest] = programInTree(root, PROGRAM, ['pulseaudio']);
  await copyFile(loader, join(root, LOADER));
  const words = [join(root, LOADER), ...rest].map((word) => `"${word.replaceAll(root, '$here')}"`);
  const path = join(root, WRAPPER);
  const own = '--browser-subprocess-path="$0" --no-zygote';
  await writeFile(
    path,
    `#!/bin/sh\nhere=$(cd "$(dirname "$0")" && pwd)\nexec ${words.join(' ')} ${own} "$@"\n`,
  );
  await chmod(path, 0o755);
  const dump = ['--no-sandbox', '--disable-gpu', '--dump-dom', 'data:text/html,works'];
  const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
  const { stdout } = await execa(path, dump, run);
  signal?.throwIfAborted();
  if (!stdout?.includes('works')) throw badPackage(request.title, root);
}
