/** The acceptance suite over directories of the host. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { fileSystemSuite, type Capabilities } from '../file-system-suite.js';

const capabilities: Capabilities = {
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

function suiteOver(name: string, maxHandles?: number): void {
  fileSystemSuite(name, capabilities, async () => {
    const path = mkdtempSync(join(tmpdir(), 'host-directory-'));
    const fs = await HostDirectory.open(path, maxHandles === undefined ? {} : { maxHandles });
    return {
      fs,
      cleanup: () => {
        // Node's own cannot remove paths beyond PATH_MAX.
        execFileSync('rm', ['-rf', path]);
      },
    };
  });
}

suiteOver('HostDirectory');
suiteOver('HostDirectory with hardly any descriptors', 1);
