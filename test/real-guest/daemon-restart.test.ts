import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Card, Chassis, Mount } from '../../manager/control/api.js';
import { describeRealGuest, Lab, tagSeen } from './lab.js';
import { deviceOf } from './support/disk-lab.js';

const KILLS = 5;
const PATIENTLY = { timeout: 30_000 };

/** Runs a command in a namespace of the guest's; `$card` is the one with that address, which is in there. */
const inNamespace = (name: string, command: string) =>
  `nsenter -t $(cat /run/${name}) -n sh -c 'card=$(ls /sys/class/net | grep -v lo | head -1); ${command}'`;

describeRealGuest('a Linux guest at work, while its daemon is killed and started anew', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await Lab.start('vhost-user', 8);
    await lab.boot('6.1');
    await lab.mount(await lab.directory('work'), 'work');
    const other = ['attach', await lab.directory('other'), '--port', 'vfio-user'];
    await lab.mountInGuest((await lab.daemon.json<{ mounts: Mount[] }>(...other)).mounts[0]);
    const image = join(lab.folder, 'disk.img');
    await writeFile(image, Buffer.alloc(16 << 20));
    await lab.daemon.json('disk', 'add', image, '--name', 'disk');
    await lab.guest.waitFor(deviceOf('disk'));
    await plugIn('left', 1);
    await plugIn('right', 2);
  });
  afterAll(() => lab?.stop());

  /** A card on the switch, in a network namespace of the guest's. */
  async function plugIn(name: string, host: number): Promise<void> {
    const { card } = await lab.daemon.json<{ card: Card }>('net', 'add', name, '--switch', 'lan');
    const find = `grep -l ${card.mac} /sys/class/net/*/address`;
    await lab.guest.waitFor(find);
    await lab.sh(`card=$(basename $(dirname $(${find})))
      setsid unshare -n sh -c 'exec sleep 100000' >/dev/null 2>&1 &
      echo $! >/run/${name}
      sleep 0.5
      ip link set $card netns $!
      nsenter -t $! -n sh -c "ip addr add 10.9.0.${host}/24 dev $card; ip link set $card up"`);
  }

  /** Work that notes each error, until the guest is told to stop. */
  const WORK = `
    rm -f /run/stop /run/errors /run/rounds
    note() { echo "$*" >>/run/errors; }
    files() {
      n=0
      until [ -e /run/stop ]; do
        n=$((n + 1))
        dd if=/dev/urandom of=/run/$2 bs=64k count=4 2>/dev/null
        cp /run/$2 $1/new && mv $1/new $1/file$((n % 8)) || note "$1: write $n"
        echo 3 >/proc/sys/vm/drop_caches
        cmp /run/$2 $1/file$((n % 8)) || note "$1: read $n"
        ls -l $1 >/dev/null || note "$1: list $n"
      done
      echo "$2 $n" >>/run/rounds
    }
    blocks() {
      n=0
      until [ -e /run/stop ]; do
        n=$((n + 1))
        dd if=/dev/urandom of=/run/block bs=64k count=4 2>/dev/null
        dd if=/run/block of=$1 bs=64k seek=$((n % 60 * 4)) conv=fsync 2>/dev/null || note "disk: write $n"
        echo 3 >/proc/sys/vm/drop_caches
        dd if=$1 bs=64k skip=$((n % 60 * 4)) count=4 2>/dev/null | cmp - /run/block || note "disk: read $n"
      done
      echo "block $n" >>/run/rounds
    }
    (files /mnt/work a; touch /run/done.a) >/dev/null 2>>/run/errors &
    (files /mnt/other b; touch /run/done.b) >/dev/null 2>>/run/errors &
    (blocks /dev/$(${deviceOf('disk')}); touch /run/done.c) >/dev/null 2>>/run/errors &
    nsenter -t $(cat /run/left) -n ping -i 0.2 -w 600 10.9.0.2 >/run/ping 2>&1 &
    echo $! >/run/ping.pid`;

  it(`does all its work through ${KILLS} kills without an error, and lets everything go afterwards`, async () => {
    await lab.sh(inNamespace('left', 'ping -c 3 -W 5 10.9.0.2'));
    await lab.sh(WORK);
    const before = await lab.show();
    for (let kill = 1; kill <= KILLS; kill++) {
      // One of them in the middle of an attach.
      const attaching = kill === 3 ? lab.daemon.cli('attach', 'mem:', '--tag', 'late') : undefined;
      await lab.sh('sleep 1');
      await lab.daemon.restart();
      await attaching;
      await expect.poll(async () => (await lab.show()).vmm, PATIENTLY).toBeDefined();
      const { mounts, disks, cards, deviceProcess } = await lab.show();
      expect(deviceProcess).toEqual(before.deviceProcess);
      const states = [...mounts, ...disks, ...cards].map(({ state }) => state);
      expect(new Set(states)).toEqual(new Set(['plugged']));
      expect(cards.map(({ carrier }) => carrier)).toEqual([true, true]);
    }
    await lab.sh('kill -INT $(cat /run/ping.pid); touch /run/stop');
    await lab.guest.waitFor('[ -e /run/done.a ] && [ -e /run/done.b ] && [ -e /run/done.c ]', 60_000);
    expect(await lab.sh('cat /run/errors || true')).toBe('');
    expect(await lab.sh('cat /run/rounds')).toMatch(/^[abc-l]+ [1-9]/m);
    expect(await lab.sh('cat /run/ping')).toMatch(/ 0% packet loss/);
    expect(await lab.sh("dmesg | grep -iE 'i/o error|9p.*err|hung task' || true")).toBe('');
    expect((await readFile(join(lab.folder, 'work', 'file1'))).length).toBe(256 << 10);

    await lab.sh('umount /mnt/work /mnt/other');
    await lab.detach('work');
    await lab.detach('other');
    await lab.daemon.json('disk', 'remove', 'disk');
    await lab.daemon.json('net', 'remove', 'left');
    await lab.daemon.json('net', 'remove', 'right');
    await lab.guest.waitFor(`! { ${tagSeen('work')}; } && ! { ${deviceOf('disk')}; }`);
    const { disks, cards } = await lab.daemon.json<Chassis>('show');
    expect([disks, cards]).toEqual([[], []]);
  });
});
