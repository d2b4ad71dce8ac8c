/** The acceptance suite over overlays of memory and of directories of the host. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Volume } from 'memfs';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { memoryVolume } from '../../../../../devices/9p/fs/node-fs/memory-volume.js';
import { NodeFs } from '../../../../../devices/9p/fs/node-fs/node-fs.js';
import { OverlayFs } from '../../../../../devices/9p/fs/overlay/overlay-fs.js';
import { fileSystemSuite, type Capabilities } from '../file-system-suite.js';

const memory: Capabilities = {
  timeUnitNanoseconds: 1_000_000,
  rawNames: false,
  deepPaths: false,
  largeFiles: false,
  chown: true,
  specialFiles: false,
  namelessNodes: false,
  xattrs: false,
  locks: false,
};

const host: Capabilities = {
  timeUnitNanoseconds: 1,
  rawNames: true,
  deepPaths: true,
  largeFiles: true,
  chown: process.geteuid?.() === 0,
  specialFiles: true,
  namelessNodes: true,
  xattrs: true,
  locks: true,
};

function inMemory(): NodeFs {
  const limits = { maxTotalBytes: 2 ** 26, maxFiles: 20_000 };
  return new NodeFs(memoryVolume(new Volume()), { ownership: 'kept', ...limits });
}

function temporary(): { path: string; cleanup: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'overlay-'));
  return {
    path,
    cleanup: () => {
      // Node's own cannot remove paths beyond PATH_MAX.
      execFileSync('rm', ['-rf', path]);
    },
  };
}

fileSystemSuite('OverlayFs of memory over memory', memory, async () => ({
  fs: new OverlayFs(inMemory(), inMemory()),
  cleanup: () => undefined,
}));

fileSystemSuite('OverlayFs of memory over a directory of the host', memory, async () => {
  const { path, cleanup } = temporary();
  return { fs: new OverlayFs(await HostDirectory.open(path), inMemory()), cleanup };
});

fileSystemSuite('OverlayFs of a directory of the host over another', host, async () => {
  const { path, cleanup } = temporary();
  mkdirSync(join(path, 'lower'));
  mkdirSync(join(path, 'upper'));
  const lower = await HostDirectory.open(join(path, 'lower'));
  const upper = await HostDirectory.open(join(path, 'upper'));
  return { fs: new OverlayFs(lower, upper), cleanup };
});
