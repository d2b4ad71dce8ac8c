/**
 * The process that serves a guest's mounts is killed over and over while programs are at work on those that share a device: git, tar, SQLite, a lock and a
 * file without a name in a mount of the tree, which the guest's helper has mounted elsewhere, and a lock, a file without a name and folders in one on a
 * queue. None of them sees anything but a pause, and the helper goes on. One kill comes to a daemon that has just been killed itself, and found the process.
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, expect, it } from 'vitest';
import { shellQuote } from '../../manager/control/shell-quote.js';
import { DEBIAN_ROOT } from '../../testbed/guest-programs.js';
import { CHASSIS } from '../support/daemon.js';
import { describeRealGuest, Lab, tagSeen } from './lab.js';
import { inDebian } from './support/debian-in-guest.js';
import { checksumsBelow, FileWork } from './support/file-work.js';
import { begun, crash, isLocked } from './support/process-crash.js';

const CRASHES = Number(process.env.CHASSIS_CRASHES ?? 3);
/** Longer than what the daemon takes for the life of a process that dies over and over. */
const LIFE_MS = 1300;
const TIMEOUT_MS = 180_000 + 15_000 * CRASHES;
const TREE = '/run/chassis/chassis';
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

describeRealGuest(
  'a device process that is killed while programs are at work on mounts that share a device',
  () => {
    let lab: Lab;

    afterAll(() => lab?.stop());

    it(
      'is a pause for them in a tree and on a queue, and for the guest’s helper',
      async () => {
        lab = await Lab.start('vhost-user');
        await lab.boot('6.1', (args) => args, await FileWork.files());
        const [work, seat] = [await lab.directory('work'), await lab.directory('seat')];
        await lab.mount(seat, 'seat', '--via', 'queue');
        await startHelper();
        await lab.daemon.json('attach', work, '--tag', 'work', '--via', 'tree', '--target', '/work');
        const inTree = await FileWork.begin(lab.guest, '/work');
        const onQueue = beginOnQueue();
        const logs = [join(work, 'log'), join(seat, 'log')];
        await begun(logs);
        for (let i = 0; i < CRASHES; i++) {
          await delay(LIFE_MS);
          if (i % 3 === 2) await lab.daemon.restart();
          await crash(lab, logs);
        }
        expect([isLocked(join(work, 'locked')), isLocked(join(seat, 'locked'))]).toEqual([true, true]);
        const exec = ['exec', '--dir', lab.daemon.directory, '--', 'echo', 'on'];
        expect((await execa(process.execPath, [CHASSIS, ...exec])).stdout).toBe('on');
        await lab.sh('touch /mnt/seat/stop');
        expect((await onQueue).value).toBe('whole\n');
        const { rounds, checksums } = await inTree.stop();
        expect(rounds).toBeGreaterThan(0);
        expect(await checksumsBelow(work)).toEqual(checksums);
        expect(await lab.sh('dmesg | grep -iE "9p.*(error|fail)|blocked for more" || true')).toBe('');
        // The helper unmounts it, which is told so by the events that it has read all the while.
        await lab.detach('work');
        expect(await lab.sh('grep -c " /work " /proc/mounts || true')).toBe('0');
      },
      TIMEOUT_MS,
    );

    /** Mounts the tree, which comes with its first mount. */
    async function startHelper(): Promise<void> {
      await lab.daemon.json('attach', await lab.directory('first'), '--via', 'tree');
      const tree = (await lab.show()).mounts.find(({ tag }) => tag === 'chassis');
      await lab.guest.waitFor(tagSeen('chassis'));
      await lab.guest.waitFor(tree?.mountCommand ?? 'false');
      await lab.sh(`sh ${TREE}/ctl/helper.sh --exec >/tmp/helper.log 2>&1 &`);
    }

    /** What comes of it is looked at later. */
    async function beginOnQueue() {
      await lab.sh(`mkdir -p ${DEBIAN_ROOT}/mnt/seat && mount -o bind /mnt/seat ${DEBIAN_ROOT}/mnt/seat`);
      const script = `python3.11 -c ${shellQuote(QUEUE_WORK)} /mnt/seat`;
      const [value] = await Promise.allSettled([inDebian(lab.guest, script, { timeoutMs: TIMEOUT_MS })]);
      return value.status === 'fulfilled' ? value : { value: String(value.reason) };
    }
  },
);
