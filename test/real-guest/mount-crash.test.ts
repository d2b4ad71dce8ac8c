/**
 * The process that serves a guest's mounts is killed over and over while programs are at work there, on a mount of its own, in a tree, and on a queue:
 * git, tar, SQLite, ones that hold a lock and have a file open that has no name any more. None of them sees anything but a pause. One kill in three comes to a daemon that has just been killed itself,
 * and found the process. CHASSIS_CRASHES asks for more kills than there is time for.
 */
import { closeSync, openSync } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { LockType, ofdSetLock } from '../../host/index.js';
import type { Chassis } from '../../manager/control/api.js';
import { ChassisClient } from '../../manager/control/client.js';
import { shellQuote } from '../../manager/control/shell-quote.js';
import { findBubblewrap } from '../../testbed/bubblewrap.js';
import { DEBIAN_ROOT } from '../../testbed/guest-programs.js';
import { CHASSIS } from '../support/daemon.js';
import { describeRealGuest, Lab, tagSeen } from './lab.js';
import { inDebian } from './support/debian-in-guest.js';
import { checksumsBelow, FileWork } from './support/file-work.js';

const CRASHES = Number(process.env.CHASSIS_CRASHES ?? 5);
if (!(CRASHES >= 1)) throw new Error('CHASSIS_CRASHES: it is how often to crash');
/** Longer than what the daemon takes for the life of a process that dies over and over. */
const LIFE_MS = 1300;
const PATIENTLY = { timeout: 120_000, interval: 20 };
const TIMEOUT_MS = 180_000 + 15_000 * CRASHES;

/** Of mounts that share a device. */
const CARRIED_CRASHES = Number(process.env.CHASSIS_CRASHES ?? 3);
/** A lock, and a file without a name that is written and read back, until there is a file `stop`. */
const QUEUE_WORK = `import fcntl, os, sys
os.chdir(sys.argv[1])
unnamed = os.open("unnamed", os.O_RDWR | os.O_CREAT)
os.unlink("unnamed")
locked = os.open("locked", os.O_RDWR | os.O_CREAT)
fcntl.lockf(locked, fcntl.LOCK_EX)
log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
written = b""
while not os.path.exists("stop"):
    record = b"%063d\\n" % len(written)
    os.pwrite(unnamed, record, len(written))
    written += record
    assert os.pread(unnamed, len(written) + 1, 0) == written
    os.mkdir("folder")
    os.rmdir("folder")
    assert os.write(log, record) == len(record)
assert open("log", "rb").read() == written
print("whole")
`;

describeRealGuest('a device process that is killed while programs are at work on its mounts', () => {
  const path = process.env.PATH;
  let bubblewrap: string | undefined;
  let lab: Lab;

  beforeAll(async () => {
    bubblewrap = await findBubblewrap();
    if (bubblewrap !== undefined) process.env.PATH = `${bubblewrap}${delimiter}${path}`;
  });
  afterAll(async () => {
    process.env.PATH = path;
    if (bubblewrap !== undefined) await rm(bubblewrap, { recursive: true, force: true });
  });
  afterEach(() => lab?.stop());

  async function begin(): Promise<ChassisClient> {
    lab = await Lab.start('vhost-user');
    await lab.boot('6.1', (args) => args, await FileWork.files());
    return new ChassisClient({ directory: lab.daemon.directory });
  }

  /** What the guest has said in a log of the host's. */
  const said = (log: string): Promise<number> => stat(log).then(({ size }) => size);

  /** Kills the process; resolves once what it served is served again, and the guest's programs go on. */
  async function crash(client: ChassisClient, logs: readonly string[]): Promise<void> {
    const show = (): Promise<Chassis> => client.get('lab');
    const { pid = 0 } = (await show()).deviceProcess;
    const before = await Promise.all(logs.map(said));
    process.kill(pid, 'SIGKILL');
    const servedBy = async () => {
      const { deviceProcess, mounts } = await show();
      const states = new Set(mounts.map(({ state }) => state));
      return [deviceProcess.pid !== pid && deviceProcess.state, ...states];
    };
    await expect.poll(servedBy, PATIENTLY).toEqual(['running', 'plugged']);
    for (const [i, log] of logs.entries())
      await expect.poll(() => said(log), PATIENTLY).toBeGreaterThan(before[i]);
  }

  it(
    'is a pause for git, tar and SQLite, and leaves them their locks and files without names',
    async () => {
      const client = await begin();
      const folder = await lab.directory('work');
      const log = join(folder, 'log');
      await lab.mount(folder, 'work');
      const files = await FileWork.begin(lab.guest, '/mnt/work');
      await expect.poll(() => said(log).catch(() => 0), PATIENTLY).toBeGreaterThan(0);
      for (let i = 0; i < CRASHES; i++) {
        await delay(LIFE_MS);
        if (i % 3 === 2) await lab.daemon.restart();
        await crash(client, [log]);
      }
      expect(isConfined((await lab.show()).deviceProcess)).toBe(process.geteuid?.() === 0);
      expect(isLocked(join(folder, 'locked'))).toBe(true);
      const { rounds, checksums } = await files.stop();
      expect(rounds).toBeGreaterThan(0);
      expect(await checksumsBelow(folder)).toEqual(checksums);
      expect(await complaints()).toBe('');
      await lab.sh('umount /mnt/work');
      await lab.detach('work');
      expect((await lab.show()).deviceProcess.state).toBe('running');
    },
    TIMEOUT_MS,
  );

  it(
    'is a pause for them in a tree, for its helper, and on a queue',
    async () => {
      const client = await begin();
      const [work, seat] = [await lab.directory('work'), await lab.directory('seat')];
      const logs = [join(work, 'log'), join(seat, 'log')];
      await lab.mount(seat, 'seat', '--via', 'queue');
      await lab.daemon.json('attach', await lab.directory('first'), '--via', 'tree');
      const { mounts } = await lab.show();
      const tree = mounts.find(({ tag }) => tag === 'chassis');
      await lab.guest.waitFor(tagSeen('chassis'));
      await lab.guest.waitFor(tree?.mountCommand ?? '');
      await lab.sh('sh /run/chassis/chassis/ctl/helper.sh --exec >/tmp/helper.log 2>&1 &');
      await lab.daemon.json('attach', work, '--tag', 'work', '--via', 'tree', '--target', '/work');
      const files = await FileWork.begin(lab.guest, '/work');
      await lab.sh(`mkdir -p ${DEBIAN_ROOT}/mnt/seat && mount -o bind /mnt/seat ${DEBIAN_ROOT}/mnt/seat`);
      const onQueue = inDebian(lab.guest, `python3.11 -c ${shellQuote(QUEUE_WORK)} /mnt/seat`, {
        timeoutMs: TIMEOUT_MS,
      });
      onQueue.catch(() => undefined);
      for (const log of logs) await expect.poll(() => said(log).catch(() => 0), PATIENTLY).toBeGreaterThan(0);
      for (let i = 0; i < CARRIED_CRASHES; i++) {
        await delay(LIFE_MS);
        if (i % 3 === 2) await lab.daemon.restart();
        await crash(client, logs);
      }
      expect([isLocked(join(work, 'locked')), isLocked(join(seat, 'locked'))]).toEqual([true, true]);
      const exec = ['exec', '--dir', lab.daemon.directory, '--', 'echo', 'on'];
      expect((await execa(process.execPath, [CHASSIS, ...exec])).stdout).toBe('on');
      await lab.sh('touch /mnt/seat/stop');
      expect(await onQueue).toBe('whole\n');
      const { rounds, checksums } = await files.stop();
      expect(rounds).toBeGreaterThan(0);
      expect(await checksumsBelow(work)).toEqual(checksums);
      expect(await complaints()).toBe('');
      // By the helper, which is asked over the events that it has read all the while.
      await lab.detach('work');
      expect(await lab.sh('grep -c " /work " /proc/mounts || true')).toBe('0');
    },
    TIMEOUT_MS,
  );

  function complaints(): Promise<string> {
    return lab.sh('dmesg | grep -iE "9p.*(error|fail)|blocked for more" || true');
  }
});

function isConfined({ sandbox }: Chassis['deviceProcess']): boolean {
  return sandbox?.namespaces.includes('mnt') === true;
}

/** Whether somebody else has the file locked. */
function isLocked(path: string): boolean {
  const fd = openSync(path, 'r+');
  try {
    return ofdSetLock(fd, LockType.F_WRLCK, 0, 0) !== 0;
  } finally {
    closeSync(fd);
  }
}
