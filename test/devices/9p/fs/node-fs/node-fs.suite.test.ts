/** The acceptance suite over memfs volumes, unions of them and Node's own module: by callbacks and by promises. */
import { execFileSync } from 'node:child_process';
import * as nodeFs from 'node:fs';
import * as nodeFsPromises from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFsFromVolume, Volume } from 'memfs';
import { memoryVolume } from '../../../../../devices/9p/fs/node-fs/memory-volume.js';
import { NodeFs } from '../../../../../devices/9p/fs/node-fs/node-fs.js';
import { union } from './union.js';
import { fileSystemSuite, type Capabilities } from '../file-system-suite.js';

const QUOTA = { maxTotalBytes: 2 ** 26, maxFiles: 10_000 };

const memfsCapabilities: Capabilities = {
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

fileSystemSuite(
  'NodeFs over a memfs volume that keeps owners and permissions, within a quota',
  memfsCapabilities,
  async () => ({
    fs: new NodeFs(memoryVolume(new Volume()), { ownership: 'kept', ...QUOTA }),
    cleanup: () => undefined,
  }),
);

fileSystemSuite('NodeFs over memfs below a root of its own', memfsCapabilities, async () => {
  const volume = Volume.fromJSON({ '/outside': "not the guest's", '/export': null, '/export/secret': '' });
  volume.unlinkSync('/export/secret');
  return {
    fs: new NodeFs(createFsFromVolume(volume), {
      root: '/export/',
      ownership: 'kept',
      ...QUOTA,
    }),
    cleanup: () => undefined,
  };
});

fileSystemSuite('NodeFs over the promises of a memfs volume', memfsCapabilities, async () => ({
  fs: new NodeFs(new Volume().promises, { ownership: 'kept', ...QUOTA }),
  cleanup: () => undefined,
}));

fileSystemSuite('NodeFs over a union', { ...memfsCapabilities, fixedLinkTimes: true }, async () => ({
  fs: new NodeFs(union(new Volume()), { ownership: 'kept', ...QUOTA }),
  cleanup: () => undefined,
}));

const nodeCapabilities: Capabilities = {
  timeUnitNanoseconds: 1_000,
  rawNames: false,
  deepPaths: false,
  largeFiles: true,
  chown: process.geteuid?.() === 0,
  specialFiles: false,
  namelessNodes: false,
  xattrs: false,
  locks: false,
};

for (const [name, fs] of [
  ['node:fs', nodeFs],
  ['node:fs/promises', nodeFsPromises],
] as const) {
  fileSystemSuite(`NodeFs over ${name}`, nodeCapabilities, async () => {
    const root = nodeFs.mkdtempSync(join(tmpdir(), 'node-fs-'));
    return {
      fs: new NodeFs(fs, { root }),
      cleanup: () => {
        // Node's own cannot remove paths beyond PATH_MAX.
        execFileSync('rm', ['-rf', root]);
      },
    };
  });
}
