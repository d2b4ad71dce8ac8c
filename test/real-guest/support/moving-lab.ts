/** A guest that moves from QEMU to QEMU on this machine, and from chassis to chassis, with a disk and a card; and another one that it talks to. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Card, QemuArgs } from '../../../manager/control/api.js';
import { ChassisClient } from '../../../manager/control/client.js';
import { QmpClient } from '../../../manager/vmm/qmp.js';
import { LinuxGuest, type GuestOptions } from '../../../testbed/guest.js';
import { capturedFrames } from '../../support/captured-frames.js';
import { TestDaemon } from '../../support/daemon.js';
import { requireRealQemu } from '../lab.js';
import { interfaceOf } from './switch-lab.js';

const KERNEL = '6.1';
const DISK_BYTES = 16 << 20;
const MIGRATION_MS = 60_000;
const ENDS = ['completed', 'failed', 'cancelled'];
/** It does not end: the guest would have to stand still for a millisecond at most. */
const HELD_BACK = { 'max-bandwidth': 64 << 20, 'downtime-limit': 1 };
/** As fast as it goes, and ending where the guest stands still for 5 s at most. */
const AT_ONCE = { 'max-bandwidth': 2 ** 40, 'downtime-limit': 5000 };
export const MOVER = '10.9.3.1';
export const PEER = '10.9.3.2';
const DATA_BYTES = 4 << 20;
const ETHERTYPE_ARP = 0x0806;

/** What QEMU says of a migration. */
interface Migration {
  readonly status?: string;
  readonly ram?: { readonly 'dirty-sync-count': number };
}

/** In the guest, until /tmp/stop is there: writes, reads back past the page cache, compares, and counts rounds; or says what was wrong. */
const DISK_WORK = `
n=0
while [ ! -e /tmp/stop ]; do
  n=$((n + 1))
  dd if=/dev/urandom of=/tmp/want bs=64k count=4 2>/dev/null
  dd if=/tmp/want of=/dev/vda bs=64k seek=$((n % 32 * 4)) conv=notrunc,fsync 2>/tmp/said || cat /tmp/said >>/tmp/errors
  echo 1 >/proc/sys/vm/drop_caches
  dd if=/dev/vda of=/tmp/got bs=64k skip=$((n % 32 * 4)) count=4 2>/tmp/said || cat /tmp/said >>/tmp/errors
  cmp /tmp/want /tmp/got >>/tmp/errors 2>&1
  echo $n >/tmp/disk.rounds
done`;

/** In the guest: takes the peer's data over and over, by TCP, and notes each whole one's digest. */
const NET_WORK = `
while [ ! -e /tmp/stop ]; do
  wget -qO /tmp/data http://${PEER}/data && sha256sum </tmp/data >>/tmp/digests || echo "wget" >>/tmp/errors
done`;

/** A guest, the monitor of the QEMU that it is in, its chassis, and whose that is. */
interface Place {
  readonly guest: LinuxGuest;
  readonly qmp: QmpClient;
  readonly chassis: string;
  readonly daemon: TestDaemon;
}

export class MovingLab {
  daemon: TestDaemon;
  readonly folder: string;
  readonly image: string;
  readonly digest: string;
  private monitors = 0;
  private readonly guests: LinuxGuest[] = [];
  private readonly clients: QmpClient[] = [];
  private readonly daemons: TestDaemon[] = [];
  guest!: LinuxGuest;
  peer!: LinuxGuest;
  private peerQmp!: QmpClient;
  /** The monitor of the QEMU that the guest is in. */
  qmp!: QmpClient;
  chassis = 'a';

  private constructor(daemon: TestDaemon, folder: string) {
    this.daemon = daemon;
    this.daemons.push(daemon);
    this.folder = folder;
    this.image = join(folder, 'disk.img');
    this.digest = createHash('sha256').update(Buffer.alloc(DATA_BYTES, 'moving')).digest('hex');
  }

  /** Both guests run, and know each other. */
  static async boot(): Promise<MovingLab> {
    const lab = new MovingLab(await TestDaemon.start(), await mkdtemp(join(tmpdir(), 'chassis-moving-')));
    try {
      await writeFile(lab.image, '');
      await truncate(lab.image, DISK_BYTES);
      for (const chassis of ['a', 'peer']) {
        await lab.daemon.json('create', chassis, '--slots', '3');
        await lab.daemon.json('net', 'add', 'lan0', '--switch', 'lan', '--chassis', chassis);
      }
      await lab.daemon.json('disk', 'add', lab.image, '--name', 'data', '--chassis', 'a');
      const [mover, peer] = await Promise.all(['a', 'peer'].map((chassis) => lab.start(chassis)));
      [lab.guest, lab.qmp, lab.peer] = [mover.guest, await QmpClient.connect(mover.monitor), peer.guest];
      lab.peerQmp = await QmpClient.connect(peer.monitor);
      lab.clients.push(lab.qmp, lab.peerQmp);
      await Promise.all([lab.join(lab.guest, 'a', MOVER), lab.join(lab.peer, 'peer', PEER)]);
      await lab.peer.ok(
        `mkdir /srv; yes moving | tr -d '\\n' | head -c ${DATA_BYTES} >/srv/data; httpd -h /srv`,
      );
      return lab;
    } catch (error) {
      await lab.stop();
      throw error;
    }
  }

  /** Starts the work that goes on while the guest moves. */
  async work(): Promise<void> {
    await this.guest.ok(
      `touch /tmp/errors /tmp/digests; (${DISK_WORK}) >/dev/null 2>&1 & (${NET_WORK}) >/dev/null 2>&1 &`,
    );
    await this.progress();
  }

  /** Resolves once both have made progress since this call. */
  async progress(): Promise<void> {
    const counts = async () =>
      (await this.sh('cat /tmp/disk.rounds 2>/dev/null || echo 0; wc -l </tmp/digests'))
        .split('\n')
        .map(Number);
    const before = await counts();
    const deadline = performance.now() + MIGRATION_MS;
    while (!(await counts()).every((count, i) => count > before[i])) {
      if (performance.now() > deadline)
        throw new Error(`no progress: ${before.join()} ${await this.sh('cat /tmp/errors')}`);
      await sleep(200);
    }
  }

  /** What was wrong, and all digests that there are. */
  async findings(): Promise<{ errors: string; digests: string[] }> {
    const lines = (await this.sh('sort -u /tmp/digests')).split('\n');
    return { errors: await this.sh('cat /tmp/errors'), digests: lines.map((line) => line.split(' ')[0]) };
  }

  /** Watches a chassis's card, from now on. Answers how to end that, which answers whether the guest announced itself there. */
  async watchCard(chassis: string): Promise<() => Promise<boolean>> {
    const path = join(this.folder, `${chassis}.pcapng`);
    const capture = this.daemon.json('capture', 'lan0', '--chassis', chassis, '--out', path);
    // Where the test fails before it asks, the daemon's end is no second failure.
    capture.catch(() => undefined);
    while (!existsSync(path)) await Promise.race([sleep(50), capture]);
    return async () => {
      await new ChassisClient({ directory: this.daemon.directory }).endCapture(chassis, 'lan0');
      await capture;
      return capturedFrames(await readFile(path)).some(({ bytes }) => announces(bytes, MOVER));
    };
  }

  /** A QEMU on another chassis that the guest is to come to, or another guest. */
  async destination(
    chassis: string,
    mover = this.guest,
    daemon = this.daemon,
  ): Promise<{ guest: LinuxGuest; qmp: QmpClient }> {
    const { options, monitor } = await this.options(daemon, chassis, '-incoming', 'defer');
    const guest = await LinuxGuest.expect(options, mover);
    this.guests.push(guest);
    const qmp = await QmpClient.connect(monitor);
    this.clients.push(qmp);
    return { guest, qmp };
  }

  /** A chassis like the guest's, and a QEMU on it that waits at `uri`. */
  expectAt(uri: string, chassis: string): Promise<{ guest: LinuxGuest; qmp: QmpClient }> {
    return this.expect(uri, this.place, { chassis, daemon: this.daemon });
  }

  /** Another daemon, with a state directory of its own. */
  async startDaemon(): Promise<TestDaemon> {
    const daemon = await TestDaemon.start();
    this.daemons.push(daemon);
    return daemon;
  }

  /** Both guests move to another daemon, whose switch is another one, too: the peer, then the one that works, to a chassis of that name. */
  async moveBothTo(daemon: TestDaemon, chassis: string): Promise<void> {
    const peer = await this.move(
      { guest: this.peer, qmp: this.peerQmp, chassis: 'peer', daemon: this.daemon },
      { chassis: 'peer', daemon },
    );
    const mover = await this.move(this.place, { chassis, daemon });
    [this.peer, this.peerQmp] = [peer.guest, peer.qmp];
    [this.guest, this.qmp, this.chassis, this.daemon] = [mover.guest, mover.qmp, chassis, daemon];
  }

  private get place(): Place {
    const { guest, qmp, chassis, daemon } = this;
    return { guest, qmp, chassis, daemon };
  }

  private async move(
    from: Place,
    to: Pick<Place, 'chassis' | 'daemon'>,
  ): Promise<Pick<Place, 'guest' | 'qmp'>> {
    const uri = `unix:${join(this.folder, `move-${from.chassis}`)}`;
    const destination = await this.expect(uri, from, to);
    await this.beginMigration(uri, 1, from.qmp);
    const { status } = await this.endMigration(from.qmp);
    if (status !== 'completed') throw new Error(`${from.chassis} did not move: ${status}`);
    process.kill(from.guest.pid, 'SIGKILL');
    await from.guest.exited;
    await from.daemon.json('remove', from.chassis, '--force');
    return destination;
  }

  private async expect(
    uri: string,
    from: Place,
    { chassis, daemon }: Pick<Place, 'chassis' | 'daemon'>,
  ): Promise<{ guest: LinuxGuest; qmp: QmpClient }> {
    const file = join(this.folder, 'topology');
    await from.daemon.json('save', file, '--topology', '--chassis', from.chassis);
    await daemon.json('restore', file, '--chassis', chassis);
    const destination = await this.destination(chassis, from.guest, daemon);
    await destination.qmp.execute('migrate-incoming', { uri });
    return destination;
  }

  /** Begins to move the guest, held back. Resolves once it went over the memory that often, which it goes on to do. */
  async beginMigration(uri: string, passes: number, qmp = this.qmp): Promise<void> {
    await qmp.execute('migrate-set-parameters', HELD_BACK);
    await qmp.execute('migrate', { uri });
    await this.migrated(qmp, ({ ram }) => (ram?.['dirty-sync-count'] ?? 0) > passes);
  }

  /** Answers how it went, once it has. */
  async endMigration(qmp = this.qmp): Promise<Migration> {
    await qmp.execute('migrate-set-parameters', AT_ONCE);
    return this.migrated(qmp);
  }

  /** Answers how far it is once it has ended, or `enough`. */
  async migrated(qmp: QmpClient, enough = (_: Migration): boolean => false): Promise<Migration> {
    const deadline = performance.now() + MIGRATION_MS;
    for (;;) {
      const migration = (await qmp.execute('query-migrate')) as Migration;
      if (ENDS.includes(migration.status ?? '') || enough(migration)) return migration;
      if (performance.now() > deadline) throw new Error(`it does not end: ${JSON.stringify(migration)}`);
      await sleep(50);
    }
  }

  /** The QEMU that it has left ends, and so does its chassis. */
  async goOnIn(chassis: string, { guest, qmp }: { guest: LinuxGuest; qmp: QmpClient }): Promise<void> {
    const [before, left] = [this.guest, this.chassis];
    [this.guest, this.qmp, this.chassis] = [guest, qmp, chassis];
    process.kill(before.pid, 'SIGKILL');
    await before.exited;
    await this.daemon.json('remove', left, '--force');
  }

  async sh(script: string): Promise<string> {
    return (await this.guest.ok(script, { timeoutMs: 60_000 })).stdout.trimEnd();
  }

  async stop(): Promise<void> {
    for (const client of this.clients) client.close();
    await Promise.all(this.guests.map((guest) => guest.shutdown()));
    for (const daemon of this.daemons) await daemon.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  private async start(chassis: string): Promise<{ guest: LinuxGuest; monitor: string }> {
    const { options, monitor } = await this.options(this.daemon, chassis);
    const guest = await LinuxGuest.boot(options);
    this.guests.push(guest);
    return { guest, monitor };
  }

  private async options(
    daemon: TestDaemon,
    chassis: string,
    ...words: string[]
  ): Promise<{ options: GuestOptions; monitor: string }> {
    const { args } = await daemon.json<QemuArgs>('args', chassis, '--memory', '192');
    const monitor = join(this.folder, `monitor${this.monitors++}`);
    const machineArgs = [...args, '-qmp', `unix:${monitor},server=on,wait=off`, ...words];
    return { options: { qemu: requireRealQemu(), kernel: KERNEL, machineArgs }, monitor };
  }

  private async join(guest: LinuxGuest, chassis: string, address: string): Promise<void> {
    const { cards } = await this.daemon.json<{ cards: Card[] }>('net', 'list', '--chassis', chassis);
    await guest.waitFor(interfaceOf(cards[0].mac));
    await guest.ok(
      `card=$(${interfaceOf(cards[0].mac)}); ip addr add ${address}/24 dev $card; ip link set $card up`,
    );
  }
}

/** An ARP announcement (RFC 5227): the address that is asked for is the sender's own. */
function announces(frame: Buffer, address: string): boolean {
  const [sender, target] = [frame.subarray(28, 32), frame.subarray(38, 42)].map((bytes) => bytes.join('.'));
  return frame.readUInt16BE(12) === ETHERTYPE_ARP && sender === address && target === address;
}
