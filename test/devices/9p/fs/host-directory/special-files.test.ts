/** THREATS row 3, opening device nodes and FIFOs of the host: CVE-2023-2861, CVE-2020-35517. */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileMode, OpenFlag, SetAttr, type FsNode } from '../../../../../devices/9p/fs/file-system.js';
import { attributesOf, changes, count, failure, names, ok, self } from '../suite/driver.js';
import { Exported, isRoot } from './exported.js';

let exported: Exported;

beforeEach(async () => {
  exported = await Exported.make();
});

afterEach(() => {
  exported.remove();
});

const ACCESS_MODES = [OpenFlag.O_RDONLY, OpenFlag.O_WRONLY, OpenFlag.O_RDWR];

/** True where some process has the FIFO open for reading. */
function hasReader(path: string): boolean {
  try {
    closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
}

describe('a FIFO', () => {
  beforeEach(() => {
    execFileSync('mkfifo', [exported.at('fifo')]);
  });

  it('is shown, but neither opened nor waited for', async () => {
    const fifo = await ok<FsNode>(exported.root.walk('fifo'));
    expect((await attributesOf(fifo)).mode & FileMode.S_IFMT).toBe(FileMode.S_IFIFO);
    for (const access of ACCESS_MODES) expect(await failure(fifo.open(access))).toBe('ENXIO');
    const create = exported.root.create('fifo', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o644, self);
    expect(await failure(create)).toBe('ENXIO');
    expect(await failure(fifo.setattr(changes(SetAttr.P9_ATTR_SIZE, {})))).toBe('EINVAL');
    expect(hasReader(exported.at('fifo'))).toBe(false);
    fifo.release();
  });

  it('is given attributes, renamed and removed like any file', async () => {
    const fifo = await ok<FsNode>(exported.root.walk('fifo'));
    await count(fifo.setattr(changes(SetAttr.P9_ATTR_MODE | SetAttr.P9_ATTR_MTIME, { mode: 0o600 })));
    expect((await attributesOf(fifo)).mode).toBe(FileMode.S_IFIFO | 0o600);
    await count(exported.root.rename('fifo', exported.root, 'renamed'));
    await count(fifo.remove());
    expect(await names(exported.root)).toEqual([]);
    fifo.release();
  });
});

describe('a socket', () => {
  it('is shown, but not opened', async () => {
    const server = createServer().listen(exported.at('socket'));
    const socket = await ok<FsNode>(exported.root.walk('socket'));
    expect((await attributesOf(socket)).mode & FileMode.S_IFMT).toBe(FileMode.S_IFSOCK);
    for (const access of ACCESS_MODES) expect(await failure(socket.open(access))).toBe('ENXIO');
    socket.release();
    await new Promise((resolve) => server.close(resolve));
  });
});

describe('device nodes', () => {
  it('cannot be made by default, not even as root', async () => {
    for (const type of [FileMode.S_IFCHR, FileMode.S_IFBLK]) {
      expect(await failure(exported.root.mknod('device', type | 0o666, 0x103, self))).toBe('EPERM');
      // Overlay file systems take a character device 0:0 for a removed file.
      expect(await failure(exported.root.mknod('whiteout', type, 0, self))).toBe('EPERM');
    }
    expect(await names(exported.root)).toEqual([]);
  });

  it('hidden behind other bits of the mode are still device nodes, or nothing', async () => {
    const devices = [FileMode.S_IFCHR | 0o200_0000, FileMode.S_IFBLK | 0x7f00_0000];
    for (const mode of devices)
      expect(await failure(exported.root.mknod('d', mode, 0x103, self))).toBe('EPERM');
    for (const type of [FileMode.S_IFDIR, FileMode.S_IFLNK, FileMode.S_IFMT]) {
      expect(await failure(exported.root.mknod('d', type | 0o666, 0, self))).toBe('EINVAL');
    }
    expect(await names(exported.root)).toEqual([]);
  });

  it.runIf(isRoot)('of the host are shown, but not opened', async () => {
    execFileSync('mknod', [exported.at('null'), 'c', '1', '3']);
    const device = await ok<FsNode>(exported.root.walk('null'));
    expect(await attributesOf(device)).toMatchObject({ rdev: 0x103 });
    for (const access of ACCESS_MODES) expect(await failure(device.open(access))).toBe('EACCES');
    device.release();
  });

  it.runIf(isRoot)('are made where the operator allows it, and still not opened', async () => {
    const allowing = await Exported.make({ allowDeviceNodes: true });
    const device = await ok<FsNode>(allowing.root.mknod('null', FileMode.S_IFCHR | 0o640, 0x103, self));
    expect(await attributesOf(device)).toMatchObject({ mode: FileMode.S_IFCHR | 0o640, rdev: 0x103 });
    expect(await failure(device.open(OpenFlag.O_RDONLY))).toBe('EACCES');
    device.release();
    allowing.remove();
  });
});
