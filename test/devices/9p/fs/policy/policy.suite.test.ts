/** The acceptance suite under a policy that forbids nothing of it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { PolicyFs } from '../../../../../devices/9p/fs/policy/policy-fs.js';
import { fileSystemSuite } from '../file-system-suite.js';

fileSystemSuite(
  'PolicyFs with patterns and limits that are out of the way',
  {
    timeUnitNanoseconds: 1,
    rawNames: true,
    deepPaths: true,
    largeFiles: true,
    chown: process.geteuid?.() === 0,
    specialFiles: true,
    namelessNodes: true,
    xattrs: true,
    locks: true,
  },
  async () => {
    const path = mkdtempSync(join(tmpdir(), 'policy-'));
    const limits = { maxBytes: 2 ** 40, maxFiles: 2 ** 20, maxOpenFiles: 1000 };
    const policy = { allow: ['**'], deny: ['**/secret', 'never/**'], ...limits };
    return {
      fs: new PolicyFs(await HostDirectory.open(path), policy),
      cleanup: () => {
        execFileSync('rm', ['-rf', path]);
      },
    };
  },
);
