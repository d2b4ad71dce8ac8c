/** What programs of a guest, programs of the host and a second guest see of each other: locks, long directories, FIFOs, holes. */
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { Errno, LockType, ofdGetLock, ofdSetLock } from '../../host/index.js';
import { describeRealGuest } from './lab.js';
import { PosixLab, SECOND } from './posix/posix-lab.js';

const PATIENCE_MS = 60_000;
const LOCKED = -Errno.EAGAIN;

describeRealGuest('a guest, its host, and another guest', () => {
  let lab: PosixLab;
  let fd: number;

  beforeAll(async () => {
    lab = await PosixLab.boot('6.12');
    await lab.mount('chassis', 'none');
    await lab.mount(SECOND, 'none');
  });
  afterAll(() => lab.stop());

  beforeEach(async () => {
    writeFileSync(path('file'), 'x'.repeat(1000));
    fd = openSync(path('file'), 'r+');
    return () => closeSync(fd);
  });

  function path(name: string): string {
    return join(lab.directory('chassis'), name);
  }

  /** Locks the whole file for a process of the host: 0, or why not. */
  function lockOnHost(type: number = LockType.F_WRLCK, start = 0, length = 0): number {
    return ofdSetLock(fd, type, start, length);
  }

  async function eventually(look: () => number, wanted: number): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (look() !== wanted && performance.now() < end) await sleep(20);
    expect(look()).toBe(wanted);
  }

  /** Python in the guest, with `file` opened from a mount; answers what it printed. */
  function python(mount: string, lines: string): Promise<string> {
    return lab.inDebian(script(mount, lines), PATIENCE_MS);
  }

  /** The same, and answers once it has printed its first line: how to wait for its end, and how to kill it. */
  async function background(mount: string, lines: string) {
    await lab.guest.ok('rm -f /debian/tmp/said /debian/tmp/pid');
    const text = `cat >/tmp/script <<'SCRIPT'\n${program(mount, lines)}\nSCRIPT
echo $$ >/tmp/pid; exec python3.11 -u /tmp/script >/tmp/said 2>&1`;
    const ended = lab.guest.sh(`PATH=/usr/bin:/bin chroot /debian /bin/sh <<'END'\n${text}\nEND`, {
      timeoutMs: PATIENCE_MS,
    });
    ended.catch(() => undefined);
    await lab.guest.waitFor('[ -s /debian/tmp/said ]', PATIENCE_MS);
    return {
      said: async () => {
        await ended;
        return (await lab.guest.ok('cat /debian/tmp/said')).stdout;
      },
      kill: async () => {
        await lab.guest.ok('kill -KILL $(cat /debian/tmp/pid)');
        await ended;
      },
    };
  }

  it('a lock of the guest keeps out the host, and goes with the process that had it', async () => {
    const holder = await background('chassis', 'lockf(file, LOCK_EX)\nprint("locked")\ntime.sleep(100)');
    expect(lockOnHost()).toBe(LOCKED);
    expect(lockOnHost(LockType.F_RDLCK)).toBe(LOCKED);
    await holder.kill();
    await eventually(() => lockOnHost(), 0);
  });

  it('a lock of the host keeps out the guest, whose F_GETLK tells where it is', async () => {
    expect(lockOnHost(LockType.F_WRLCK, 100, 50)).toBe(0);
    const said = await python(
      'chassis',
      `print(attempt(LOCK_EX, 10, 0), attempt(LOCK_EX, 10, 120), attempt(LOCK_SH, 1, 149), attempt(LOCK_EX, 10, 150))
asked = struct.pack("hhqqi4x", F_WRLCK, 0, 0, 0, 0)
print(struct.unpack("hhqqi4x", fcntl.fcntl(file, F_GETLK, asked))[:4])`,
    );
    expect(said).toBe('0 11 11 0\n(1, 0, 100, 50)\n');
  });

  it('a lock that the guest waits for is granted once the host gives it up', async () => {
    expect(lockOnHost()).toBe(0);
    const waiting = await background(
      'chassis',
      'print("waiting")\nlockf(file, LOCK_EX)\nprint("granted")\ntime.sleep(100)',
    );
    await sleep(300);
    expect((await lab.guest.ok('cat /debian/tmp/said')).stdout).toBe('waiting\n');
    lockOnHost(LockType.F_UNLCK);
    await lab.guest.waitFor('grep -q granted /debian/tmp/said', PATIENCE_MS);
    expect(lockOnHost()).toBe(LOCKED);
    await waiting.kill();
    await eventually(() => lockOnHost(), 0);
  });

  it.each([
    ['a signal', 'signal.setitimer(signal.ITIMER_REAL, 0.5)'],
    ['its death', 'threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()'],
  ])('a wait that is ended by %s leaves no lock', async (_how, line) => {
    expect(lockOnHost()).toBe(0);
    const waiting = await background(
      'chassis',
      `signal.signal(signal.SIGALRM, lambda *_: os._exit(7))\nprint("waiting")\n${line}\nlockf(file, LOCK_EX)\nprint("granted")`,
    );
    expect(await waiting.said()).toBe('waiting\n');
    lockOnHost(LockType.F_UNLCK);
    // Longer than the server waits between two attempts.
    await sleep(300);
    expect(lockOnHost()).toBe(0);
  });

  it('locks of two guests keep each other out, also those that are waited for', async () => {
    const holder = await background('chassis', 'lockf(file, LOCK_EX, 100)\nprint("locked")\ntime.sleep(100)');
    expect(
      await python(SECOND, 'print(attempt(LOCK_EX, 0), attempt(LOCK_SH, 0), attempt(LOCK_EX, 0, 100))'),
    ).toBe('11 11 0\n');
    const granted = python(SECOND, 'lockf(file, LOCK_EX)\nprint("granted")');
    await sleep(200);
    await holder.kill();
    expect(await granted).toBe('granted\n');
  });

  it('shared locks of two guests and the host go together', async () => {
    expect(lockOnHost(LockType.F_RDLCK)).toBe(0);
    const holder = await background('chassis', 'lockf(file, LOCK_SH)\nprint("locked")\ntime.sleep(100)');
    expect(await python(SECOND, 'print(attempt(LOCK_SH), attempt(LOCK_EX))')).toBe('0 11\n');
    const conflict = { type: 0, start: 0, length: 0 };
    expect(ofdGetLock(fd, LockType.F_WRLCK, 0, 0, conflict)).toBe(0);
    expect(conflict).toMatchObject({ type: LockType.F_RDLCK, start: 0, length: 0 });
    await holder.kill();
  });

  it('flock of the guest is seen by the host, too', async () => {
    const holder = await background('chassis', 'flock(file, LOCK_EX)\nprint("locked")\ntime.sleep(100)');
    expect(lockOnHost()).toBe(LOCKED);
    await holder.kill();
    await eventually(() => lockOnHost(), 0);
  });

  it('a directory of 100,000 entries is listed with each of them once while the host changes it', async () => {
    const count = 100_000;
    const folder = path('long');
    mkdirSync(folder);
    const name = (kind: string, i: number): string => join(folder, `${kind}-${i}`);
    for (let i = 0; i < count; i++) closeSync(openSync(name('stays', i), 'wx'));
    for (let i = 0; i < 2000; i++) closeSync(openSync(name('goes', i), 'wx'));
    let listed = false;
    const listing = python(
      'chassis',
      `names = os.listdir("/mnt/chassis/long")
stays = [name for name in names if name.startswith("stays-")]
print(len(stays), len(set(stays)), len(names) - len(set(names)))`,
    ).finally(() => (listed = true));
    for (let i = 0; !listed; i++) {
      if (i < 2000) rmSync(name('goes', i));
      closeSync(openSync(name('comes', i), 'wx'));
      await sleep(1);
    }
    expect(await listing).toBe(`${count} ${count} 0\n`);
    rmSync(folder, { recursive: true });
  });

  it("a FIFO of the host's is one of the guest's own to the guest", async () => {
    execFileSync('mkfifo', [path('fifo')]);
    const reader = openSync(path('fifo'), constants.O_RDONLY | constants.O_NONBLOCK);
    const said = await python(
      'chassis',
      `fifo = os.open("/mnt/chassis/fifo", os.O_RDWR | os.O_NONBLOCK)
os.write(fifo, b"among us")
print(os.read(fifo, 100))`,
    );
    expect(said).toBe("b'among us'\n");
    // Nobody on the host has it open to write: the pipe is at its end.
    expect(readSync(reader, Buffer.alloc(10))).toBe(0);
    closeSync(reader);
  });

  it('a hole past 4 GiB that the host made is as long for the guest, and what it writes behind it is there', async () => {
    truncateSync(path('file'), 6 * 2 ** 30 + 3);
    const said = await python(
      'chassis',
      `print(os.fstat(file.fileno()).st_size, os.pread(file.fileno(), 4, 5 << 30))
os.pwrite(file.fileno(), b"end", 6 << 30)`,
    );
    expect(said).toBe(`${6 * 2 ** 30 + 3} b'\\x00\\x00\\x00\\x00'\n`);
    const end = Buffer.alloc(3);
    readSync(fd, end, 0, 3, 6 * 2 ** 30);
    expect(end.toString()).toBe('end');
  });

  it('locks go with the machine that had them', async () => {
    await background('chassis', 'lockf(file, LOCK_EX)\nprint("locked")\ntime.sleep(100)');
    expect(lockOnHost()).toBe(LOCKED);
    process.kill(lab.guest.pid, 'SIGKILL');
    await lab.guest.exited;
    await eventually(() => lockOnHost(), 0);
  });
});

function script(mount: string, lines: string): string {
  return `cat >/tmp/script-$$ <<'SCRIPT'\n${program(mount, lines)}\nSCRIPT\npython3.11 /tmp/script-$$`;
}

function program(mount: string, lines: string): string {
  return `import fcntl, os, signal, struct, threading, time
from fcntl import F_GETLK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, flock, lockf
file = open("/mnt/${mount}/file", "rb+", buffering=0)
def attempt(kind, length=0, start=0):
    try:
        lockf(file, kind | LOCK_NB, length, start)
        return 0
    except OSError as problem:
        return problem.errno
${lines}`;
}
