/** Byte-range locks between guests, and between guests and processes of the host; and waiting for them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { lockWaiters } from '../../../../../devices/9p/fs/host-directory/lock-waiters.js';
import {
  LockStatus,
  LockType,
  OpenFlag,
  type FsNode,
  type Lock,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import { Errno } from '../../../../../devices/errno.js';
import { AT_FDCWD, closeFd, ofdGetLock, ofdSetLock, openat, OpenFlags } from '../../../../../host/index.js';
import { failure, ok } from '../suite/driver.js';
import { Exported, openDescriptors } from './exported.js';

const { P9_LOCK_TYPE_RDLCK, P9_LOCK_TYPE_UNLCK, P9_LOCK_TYPE_WRLCK } = LockType;
const { P9_LOCK_BLOCKED, P9_LOCK_SUCCESS } = LockStatus;

let exported: Exported;
let node: FsNode;
let file: OpenFile;
/** Another process of the host, as far as locks can tell. */
let hostFd: number;

beforeEach(async () => {
  exported = await Exported.make();
  writeFileSync(exported.at('f'), 'content');
  node = await ok<FsNode>(exported.root.walk('f'));
  file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
  hostFd = openat(AT_FDCWD, Buffer.from(`${exported.at('f')}\0`), OpenFlags.O_RDWR, 0);
});

afterEach(async () => {
  await file.close();
  node.release();
  closeFd(hostFd);
  exported.remove();
  expect(lockWaiters.size).toBe(0);
});

function lock(
  type: number,
  { start = 0, length = 0, process = 1, client = 'guest', wait = false } = {},
): Lock {
  return { type, startBytes: start, lengthBytes: length, processId: process, clientId: client, wait };
}

/** What is in the way of a lock of the host's: its type, start and length. */
function inTheWay(type: number, start = 0, length = 0): number[] {
  const conflict = { type: 0, start: 0, length: 0 };
  expect(ofdGetLock(hostFd, type, start, length, conflict)).toBe(0);
  return [conflict.type, conflict.start, conflict.length];
}

/** Descriptors of this process that the file could be written through. */
function writers(): number {
  let count = 0;
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`) !== exported.at('f')) continue;
      const flags = /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '0';
      if ((parseInt(flags, 8) & 3) !== 0) count++;
    } catch {
      // The descriptor that the directory was listed through.
    }
  }
  return count;
}

describe('a lock of the guest’s', () => {
  it('is seen by processes of the host, range and type, until it is released', async () => {
    await file.lock(lock(P9_LOCK_TYPE_WRLCK, { start: 10, length: 5 }));
    await file.lock(lock(P9_LOCK_TYPE_RDLCK, { start: 100, length: 0 }));
    expect(inTheWay(LockType.P9_LOCK_TYPE_WRLCK)).toEqual([P9_LOCK_TYPE_WRLCK, 10, 5]);
    expect(inTheWay(LockType.P9_LOCK_TYPE_WRLCK, 200, 1)).toEqual([P9_LOCK_TYPE_RDLCK, 100, 0]);
    expect(inTheWay(LockType.P9_LOCK_TYPE_RDLCK, 200, 1)[0]).toBe(P9_LOCK_TYPE_UNLCK);
    expect(ofdSetLock(hostFd, P9_LOCK_TYPE_WRLCK, 12, 1)).toBe(-Errno.EAGAIN);
    await file.lock(lock(P9_LOCK_TYPE_UNLCK, { start: 12, length: 1 }));
    expect(ofdSetLock(hostFd, P9_LOCK_TYPE_WRLCK, 12, 1)).toBe(0);
    await file.lock(lock(P9_LOCK_TYPE_UNLCK));
    expect(inTheWay(LockType.P9_LOCK_TYPE_WRLCK)[0]).toBe(P9_LOCK_TYPE_UNLCK);
  });

  it('goes with the last file that its owner locked through', async () => {
    const second = await ok<OpenFile>(node.open(OpenFlag.O_RDONLY));
    await file.lock(lock(P9_LOCK_TYPE_WRLCK, { start: 0, length: 1 }));
    await second.lock(lock(P9_LOCK_TYPE_WRLCK, { start: 1, length: 1 }));
    await second.close();
    expect(inTheWay(P9_LOCK_TYPE_WRLCK)[0]).toBe(P9_LOCK_TYPE_WRLCK);
    const third = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    await third.lock(lock(P9_LOCK_TYPE_WRLCK, { start: 2, length: 1, process: 2 }));
    await file.close();
    expect(inTheWay(P9_LOCK_TYPE_WRLCK)).toEqual([P9_LOCK_TYPE_WRLCK, 2, 1]);
    await third.close();
    expect(inTheWay(P9_LOCK_TYPE_WRLCK)[0]).toBe(P9_LOCK_TYPE_UNLCK);
    file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
  });

  it('and a lock of the host’s exclude each other both ways, and the guest can ask what is in its way', async () => {
    expect(ofdSetLock(hostFd, P9_LOCK_TYPE_WRLCK, 5, 10)).toBe(0);
    expect(await file.lock(lock(P9_LOCK_TYPE_RDLCK))).toBe(P9_LOCK_BLOCKED);
    const asked = lock(P9_LOCK_TYPE_RDLCK, { start: 8, length: 1 });
    expect(await file.getlock(asked)).toBe(0);
    expect(asked).toMatchObject({
      type: P9_LOCK_TYPE_WRLCK,
      startBytes: 5,
      lengthBytes: 10,
      processId: 0,
      clientId: '',
    });
    expect(await file.lock(lock(P9_LOCK_TYPE_WRLCK, { start: 15 }))).toBe(P9_LOCK_SUCCESS);
  });

  it('excludes those of another guest with another export of the directory, whose clients may have its names', async () => {
    const other = await HostDirectory.open(exported.path);
    const root = await ok<FsNode>(other.attach());
    const otherNode = await ok<FsNode>(root.walk('f'));
    const otherFile = await ok<OpenFile>(otherNode.open(OpenFlag.O_RDWR));
    expect(await file.lock(lock(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_SUCCESS);
    expect(await otherFile.lock(lock(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_BLOCKED);
    await otherFile.close();
    for (const held of [otherNode, root]) held.release();
    other.close();
    expect(inTheWay(P9_LOCK_TYPE_WRLCK)[0]).toBe(P9_LOCK_TYPE_WRLCK);
  });

  it('takes one descriptor for its owner, however many locks there are, and gives it back', async () => {
    const before = openDescriptors();
    for (let i = 0; i < 100; i++) await file.lock(lock(P9_LOCK_TYPE_WRLCK, { start: 2 * i, length: 1 }));
    expect(openDescriptors()).toBe(before + 1);
    await file.lock(lock(P9_LOCK_TYPE_RDLCK, { start: 1000, process: 2 }));
    await file.lock(lock(P9_LOCK_TYPE_RDLCK, { start: 1000, client: 'other' }));
    expect(openDescriptors()).toBe(before + 3);
    for (const owner of [{}, { process: 2 }, { client: 'other' }])
      await file.lock(lock(P9_LOCK_TYPE_UNLCK, owner));
    expect(openDescriptors()).toBe(before);
  });

  it('who may not write opens nothing for writing, and holds an exclusive lock as a shared one', async () => {
    const before = writers();
    const reader = await ok<OpenFile>(node.open(OpenFlag.O_RDONLY));
    expect(await reader.lock({ ...lock(P9_LOCK_TYPE_WRLCK, { process: 9 }), readOnly: true })).toBe(
      P9_LOCK_SUCCESS,
    );
    expect(writers()).toBe(before);
    expect(inTheWay(P9_LOCK_TYPE_WRLCK)[0]).toBe(P9_LOCK_TYPE_RDLCK);
    expect(await file.lock(lock(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_BLOCKED);
    await reader.close();
  });

  it('that cannot be had costs no descriptor', async () => {
    expect(ofdSetLock(hostFd, P9_LOCK_TYPE_WRLCK, 0, 0)).toBe(0);
    const before = openDescriptors();
    for (let process = 0; process < 10; process++)
      expect(await file.lock(lock(P9_LOCK_TYPE_WRLCK, { process }))).toBe(P9_LOCK_BLOCKED);
    expect(openDescriptors()).toBe(before);
  });
});

/** Another process of the host, which locks the file as fcntl(2) has it, says what came of that, and ends with its stdin. */
const LOCKER = `
  const koffi = require('koffi');
  const fcntl = koffi.load(null).func('fcntl', 'int', ['int', 'int', 'void *']);
  const fd = require('node:fs').openSync(process.argv[1], 'r+');
  const flock = Buffer.alloc(32);
  flock.writeInt16LE(1, 0);
  const F_SETLK = 6;
  process.stdout.write(fcntl(fd, F_SETLK, flock) === 0 ? 'locked' : 'refused');
  process.stdin.resume().on('end', () => process.exit());
`;

describe('another process of the host', () => {
  async function locker(): Promise<{ said: string; end: () => Promise<void> }> {
    const child = spawn(process.execPath, ['-e', LOCKER, exported.at('f')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    const gone = once(child, 'exit');
    return {
      said: said.toString(),
      end: async () => {
        child.stdin.end();
        await gone;
      },
    };
  }

  it('is refused what the guest has locked, and keeps the guest waiting for what it has', async () => {
    await file.lock(lock(P9_LOCK_TYPE_WRLCK));
    const refused = await locker();
    expect(refused.said).toBe('refused');
    await refused.end();
    await file.lock(lock(P9_LOCK_TYPE_UNLCK));
    const other = await locker();
    expect(other.said).toBe('locked');
    expect(await file.lock(lock(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_BLOCKED);
    const asked = lock(P9_LOCK_TYPE_WRLCK, { start: 5, length: 1 });
    await file.getlock(asked);
    // The host's process ids are none of the guest's business.
    expect(asked).toMatchObject({ type: P9_LOCK_TYPE_WRLCK, startBytes: 0, lengthBytes: 0, processId: 0 });
    const wait = file.lock(lock(P9_LOCK_TYPE_WRLCK, { wait: true }));
    await other.end();
    expect(await wait).toBe(P9_LOCK_SUCCESS);
  });
});

describe('owners of locks without end', () => {
  it('are refused with ENOLCK once the export’s open files are used up', async () => {
    const small = await Exported.make({ maxOpenFiles: 20 });
    writeFileSync(small.at('f'), '');
    const smallNode = await ok<FsNode>(small.root.walk('f'));
    const smallFile = await ok<OpenFile>(smallNode.open(OpenFlag.O_RDWR));
    for (let process = 0; process < 19; process++)
      expect(await smallFile.lock(lock(P9_LOCK_TYPE_RDLCK, { process }))).toBe(P9_LOCK_SUCCESS);
    expect(await failure(smallFile.lock(lock(P9_LOCK_TYPE_RDLCK, { process: 99 })))).toBe('ENOLCK');
    expect(await smallFile.lock(lock(P9_LOCK_TYPE_WRLCK, { process: 3 }))).toBe(P9_LOCK_BLOCKED);
    await smallFile.lock(lock(P9_LOCK_TYPE_UNLCK, { process: 5 }));
    expect(await smallFile.lock(lock(P9_LOCK_TYPE_RDLCK, { process: 99 }))).toBe(P9_LOCK_SUCCESS);
    await smallFile.close();
    smallNode.release();
    small.remove();
  });
});

describe('a lock that is waited for', () => {
  it('is had as soon as another process of the guest gives it up, first come first served', async () => {
    await file.lock(lock(P9_LOCK_TYPE_WRLCK));
    const order: number[] = [];
    const waits = [2, 3, 4].map(async (process) => {
      expect(await file.lock(lock(P9_LOCK_TYPE_WRLCK, { process, wait: true }))).toBe(P9_LOCK_SUCCESS);
      order.push(process);
      await file.lock(lock(P9_LOCK_TYPE_UNLCK, { process }));
    });
    expect(lockWaiters.size).toBe(3);
    await file.lock(lock(P9_LOCK_TYPE_UNLCK));
    await Promise.all(waits);
    expect(order).toEqual([2, 3, 4]);
  });

  it('is had when a process of the host gives it up, by unlocking or by closing the file', async () => {
    expect(ofdSetLock(hostFd, P9_LOCK_TYPE_WRLCK, 0, 0)).toBe(0);
    const first = file.lock(lock(P9_LOCK_TYPE_WRLCK, { wait: true }));
    expect(lockWaiters.size).toBe(1);
    expect(ofdSetLock(hostFd, P9_LOCK_TYPE_UNLCK, 0, 0)).toBe(0);
    expect(await first).toBe(P9_LOCK_SUCCESS);
    await file.lock(lock(P9_LOCK_TYPE_UNLCK));
    expect(ofdSetLock(hostFd, P9_LOCK_TYPE_WRLCK, 0, 0)).toBe(0);
    const second = file.lock(lock(P9_LOCK_TYPE_RDLCK, { wait: true }));
    closeFd(hostFd);
    expect(await second).toBe(P9_LOCK_SUCCESS);
    hostFd = openat(AT_FDCWD, Buffer.from(`${exported.at('f')}\0`), OpenFlags.O_RDWR, 0);
  });

  it('is had when the other’s file is closed', async () => {
    const other = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    await other.lock(lock(P9_LOCK_TYPE_WRLCK, { process: 2 }));
    const wait = file.lock(lock(P9_LOCK_TYPE_WRLCK, { wait: true }));
    await other.close();
    expect(await wait).toBe(P9_LOCK_SUCCESS);
  });

  it('and is interrupted ends with EINTR, is not held, and holds up nobody', async () => {
    await file.lock(lock(P9_LOCK_TYPE_WRLCK));
    const wanted = lock(P9_LOCK_TYPE_WRLCK, { process: 2, wait: true });
    const other = lock(P9_LOCK_TYPE_WRLCK, { process: 3, wait: true });
    const waits = [file.lock(wanted), file.lock(other)];
    file.interrupt(wanted);
    expect(await waits[0]).toBe(-Errno.EINTR);
    file.interrupt(wanted);
    await file.lock(lock(P9_LOCK_TYPE_UNLCK));
    expect(await waits[1]).toBe(P9_LOCK_SUCCESS);
    await file.lock(lock(P9_LOCK_TYPE_UNLCK, { process: 3 }));
    expect(inTheWay(P9_LOCK_TYPE_WRLCK)[0]).toBe(P9_LOCK_TYPE_UNLCK);
  });

  it('and can be had at once is had at once', () => {
    expect(file.lock(lock(P9_LOCK_TYPE_WRLCK, { wait: true }))).toBe(P9_LOCK_SUCCESS);
  });
});
