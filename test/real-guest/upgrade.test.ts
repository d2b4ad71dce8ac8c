/** A Linux guest at work on a disk and on a mount while its device process is replaced: it sees no error, and all checksums are right. */
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import type { Upgraded } from '../../manager/control/api.js';
import { describePerPort, Lab } from './lab.js';

const UPGRADES = Number(process.env.CHASSIS_UPGRADES ?? 5);
const DISK_BYTES = 16 << 20;

/** In the guest, until it is stopped: writes, reads back past the page cache, compares; and a line a round, or what was wrong. */
const DISK_WORK = `
n=0
while [ ! -e /tmp/stop ]; do
  n=$((n + 1))
  dd if=/dev/urandom of=/tmp/disk.want bs=64k count=4 2>/dev/null
  dd if=/tmp/disk.want of=/dev/vda bs=64k seek=$((n % 32 * 4)) conv=notrunc,fsync 2>>/tmp/errors || echo "disk: write $n" >>/tmp/errors
  echo 1 >/proc/sys/vm/drop_caches
  dd if=/dev/vda of=/tmp/disk.got bs=64k skip=$((n % 32 * 4)) count=4 2>/dev/null || echo "disk: read $n" >>/tmp/errors
  cmp /tmp/disk.want /tmp/disk.got >>/tmp/errors 2>&1
  echo $n >/tmp/disk.rounds
done
touch /tmp/disk.done`;

/** The same with files, of which one is open all the time and has no name. */
const FILE_WORK = `
cd /mnt/work
exec 3<>unnamed
rm unnamed
n=0
while [ ! -e /tmp/stop ]; do
  n=$((n + 1))
  echo "line $n" >&3 || echo "unnamed: write $n" >>/tmp/errors
  dd if=/dev/urandom of=/tmp/file.want bs=16k count=4 2>/dev/null
  cp /tmp/file.want new.$n 2>>/tmp/errors && mv new.$n file 2>>/tmp/errors
  cmp /tmp/file.want file >>/tmp/errors 2>&1
  mkdir d.$n && touch d.$n/a && ls d.$n >/dev/null && rm -r d.$n || echo "directory $n" >>/tmp/errors
  echo $n >/tmp/file.rounds
done
touch /tmp/file.done`;

describePerPort('a guest at work', (port) => {
  let lab: Lab;
  afterEach(() => lab.stop());

  it(`sees no error while its device process is replaced ${UPGRADES} times`, async () => {
    lab = await Lab.start(port);
    const path = join(lab.folder, 'disk.img');
    await writeFile(path, '');
    await truncate(path, DISK_BYTES);
    await lab.boot('6.1');
    await lab.daemon.json('disk', 'add', path, '--name', 'data', '--port', port);
    await lab.mount(await lab.directory('work'), 'work');
    await lab.guest.waitFor('[ -b /dev/vda ]');
    for (const work of [DISK_WORK, FILE_WORK]) await lab.sh(`(${work}) >/dev/null 2>&1 &`);
    const rounds = async () =>
      (await lab.sh('cat /tmp/disk.rounds /tmp/file.rounds 2>/dev/null || true')).split('\n').map(Number);
    let before = [0, 0];
    for (let i = 0; i < UPGRADES; i++) {
      await expect
        .poll(rounds, { timeout: 60_000 })
        .toSatisfy((now: number[]) => now.length === 2 && now.every((count, at) => count > before[at] + 1));
      const { pid, formerPid } = await lab.daemon.json<Upgraded>('upgrade');
      expect(pid).not.toBe(formerPid);
      before = await rounds();
    }
    await expect
      .poll(rounds, { timeout: 60_000 })
      .toSatisfy((now: number[]) => now.every((count, at) => count > before[at] + 1));
    await lab.sh('touch /tmp/stop');
    await lab.guest.waitFor('[ -e /tmp/disk.done ] && [ -e /tmp/file.done ]');
    expect(await lab.sh('grep -v records /tmp/errors || true')).toBe('');
    await lab.sh('umount /mnt/work');
    await lab.detach('work');
    expect((await lab.show()).deviceProcess.state).toBe('running');
  }, 300_000);
});
