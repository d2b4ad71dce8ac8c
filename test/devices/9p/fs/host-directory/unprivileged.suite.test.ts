/** The acceptance suite as an unprivileged daemon runs it: new files are its own, and the kernel's permissions hold. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OpenFlag, SetAttr, type FsNode } from '../../../../../devices/9p/fs/file-system.js';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { fileSystemSuite } from '../file-system-suite.js';
import { attributesOf, changes, failure, ok, self } from '../suite/driver.js';
import { Exported, isRoot } from './exported.js';

const NOBODY = 65_534;

/** Runs everything as nobody where it can; elsewhere the process is unprivileged already. */
function asNobody(): void {
  process.setegid?.(NOBODY);
  process.seteuid?.(NOBODY);
  Object.assign(self, { uid: NOBODY, gid: NOBODY });
}

function asRoot(): void {
  process.seteuid?.(0);
  process.setegid?.(0);
}

describe.runIf(isRoot)('an unprivileged daemon', () => {
  beforeAll(asNobody);
  afterAll(asRoot);

  fileSystemSuite(
    'HostDirectory',
    {
      timeUnitNanoseconds: 1,
      rawNames: true,
      deepPaths: true,
      largeFiles: true,
      chown: false,
      specialFiles: true,
      namelessNodes: true,
      xattrs: true,
      locks: true,
    },
    async () => {
      const path = mkdtempSync(join(tmpdir(), 'unprivileged-'));
      const fs = await HostDirectory.open(path);
      return {
        fs,
        cleanup: () => {
          execFileSync('rm', ['-rf', path]);
        },
      };
    },
  );

  it('is held to what it may do itself', async () => {
    asRoot();
    const exported = await Exported.make();
    mkdirSync(exported.at('closed'), { mode: 0o700 });
    writeFileSync(exported.at('theirs'), 'x', { mode: 0o600 });
    chownSync(exported.path, NOBODY, NOBODY);
    chmodSync(join(exported.path, '..'), 0o755);
    asNobody();
    const mine = await HostDirectory.open(exported.path);
    const root = await ok<FsNode>(mine.attach());
    const theirs = await ok<FsNode>(root.walk('theirs'));
    const closed = await ok<FsNode>(root.walk('closed'));
    expect(await failure(theirs.open(OpenFlag.O_RDONLY))).toBe('EACCES');
    expect(await failure(theirs.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o777 })))).toBe('EPERM');
    expect(await failure(closed.walk('x'))).toBe('EACCES');
    expect(await failure(closed.open(OpenFlag.O_RDONLY))).toBe('EACCES');
    const made = await ok<FsNode>(root.mkdir('d', 0o755, { uid: 0, gid: 0 }));
    expect(await attributesOf(made)).toMatchObject({ uid: NOBODY, gid: NOBODY });
    for (const node of [theirs, closed, made, root]) node.release();
    mine.close();
    asRoot();
    exported.remove();
    asNobody();
  });
});
