/** The acceptance suite over each way in which the guest's users may be others on the host. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FileSystem } from '../../../../../devices/9p/fs/file-system.js';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { IdentityFs } from '../../../../../devices/9p/fs/identity/identity-fs.js';
import { MappedFs } from '../../../../../devices/9p/fs/identity/mapped-fs.js';
import { fileSystemSuite, type Capabilities } from '../file-system-suite.js';

const isRoot = process.geteuid?.() === 0;

const capabilities: Capabilities = {
  timeUnitNanoseconds: 1,
  rawNames: true,
  deepPaths: true,
  largeFiles: true,
  chown: false,
  specialFiles: true,
  namelessNodes: true,
  xattrs: true,
  locks: true,
};

function suiteOver(name: string, own: Partial<Capabilities>, wrap: (inner: FileSystem) => FileSystem): void {
  fileSystemSuite(name, { ...capabilities, ...own }, async () => {
    const path = mkdtempSync(join(tmpdir(), 'identity-'));
    return {
      fs: wrap(await HostDirectory.open(path)),
      cleanup: () => {
        execFileSync('rm', ['-rf', path]);
      },
    };
  });
}

if (isRoot) {
  const ids = [{ guest: 0, host: 100_000, count: 65_536 }];
  suiteOver(
    'IdentityFs with ids mapped',
    { chown: true },
    (inner) => new IdentityFs(inner, { uids: ids, gids: ids }),
  );
}
suiteOver('MappedFs', { chown: true, deviceNodes: true }, (inner) => new MappedFs(inner));
