/** The acceptance suite over a child of a tree: what the tree puts around a file system loses nothing of it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Volume } from 'memfs';
import { isFailure, type Failure } from '../../../../../devices/errno.js';
import type { FileSystem, FsNode } from '../../../../../devices/9p/fs/file-system.js';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { MountTree } from '../../../../../devices/9p/fs/mount-tree/mount-tree.js';
import { memoryVolume } from '../../../../../devices/9p/fs/node-fs/memory-volume.js';
import { NodeFs } from '../../../../../devices/9p/fs/node-fs/node-fs.js';
import { fileSystemSuite, type Capabilities } from '../file-system-suite.js';

/** A tree's child as a file system of its own. Above its root is the tree's, which the suite is not to know. */
class ChildOfTree implements FileSystem {
  readonly #tree = new MountTree({
    log: (message, error) => {
      throw new Error(message, { cause: error });
    },
  });

  constructor(fs: FileSystem) {
    this.#tree.add('child', fs, { readOnly: false });
  }

  async attach(): Promise<FsNode | Failure> {
    const root = await this.#tree.attach().walk('child');
    if (isFailure(root)) return root;
    root.parent = () => {
      root.retain();
      return root;
    };
    return root;
  }

  close(): Promise<void> {
    return this.#tree.close();
  }
}

const hostCapabilities: Capabilities = {
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

fileSystemSuite('A directory of the host in a mount tree', hostCapabilities, async () => {
  const path = mkdtempSync(join(tmpdir(), 'mount-tree-'));
  return {
    fs: new ChildOfTree(await HostDirectory.open(path)),
    cleanup: () => {
      execFileSync('rm', ['-rf', path]);
    },
  };
});

const QUOTA = { maxTotalBytes: 2 ** 26, maxFiles: 10_000 };

const memoryCapabilities: Capabilities = {
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

fileSystemSuite('A memfs volume in a mount tree', memoryCapabilities, async () => ({
  fs: new ChildOfTree(new NodeFs(memoryVolume(new Volume()), { ownership: 'kept', ...QUOTA })),
  cleanup: () => undefined,
}));
