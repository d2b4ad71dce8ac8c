import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { findNetworkTools } from '../../testbed/network-tools.js';
import { PATIENTLY } from '../manager/patiently.js';
import { capturedFrames } from '../support/captured-frames.js';
import { describeRealGuest } from './lab.js';
import { withBubblewrap } from './support/bubblewrap.js';
import { interfaceOf, SwitchLab } from './support/switch-lab.js';

const [NEAR, FAR] = [0, 1];
const NET = { vhost: '10.9.0', vfio: '10.9.1' } as const;
const WHOLE_FRAME_BYTES = 1514;
const MIB = 2 ** 20;

/** What of iperf3's report is looked at. */
interface Report {
  readonly end: { readonly sum_received: { readonly bytes: number } };
}

withBubblewrap();

describeRealGuest('two guests on one switch', () => {
  let lab: SwitchLab;

  beforeAll(async () => {
    lab = await SwitchLab.boot(['6.12', '6.1'], await findNetworkTools());
  });
  afterAll(() => lab?.stop());

  async function ping(from: number, address: string, count = 3): Promise<void> {
    await lab.guest(from).waitFor(`ping -c 1 -W 1 ${address}`);
    expect(await lab.sh(from, `ping -c ${count} -i 0.2 ${address}`)).toMatch(/ 0% packet loss/);
  }

  /**
   * Bytes that arrived of a stream to the far guest, or from it. iperf3 stops once all has been sent: what lies in the sockets then does not
   * count as received, so that there is more than is asked for.
   */
  async function iperf(net: string, ...words: string[]): Promise<number> {
    const client = `iperf3 --client ${net}.2 --json --bytes 12M ${words.join(' ')}`;
    // Between two tests its server does not listen for a moment.
    const again = `until ${client} >/tmp/report || ! grep -q refused /tmp/report; do sleep 0.2; done`;
    const report = await lab.sh(NEAR, `${again}; cat /tmp/report`);
    return (JSON.parse(report) as Report).end.sum_received.bytes;
  }

  /** What the switch has lost of what was for these cards, so far. */
  async function lost(index: number, names: readonly string[]): Promise<number[][]> {
    const ports = await Promise.all(names.map(async (name) => (await lab.card(index, name)).switchPort));
    return ports.map((port) => [port?.dropped ?? -1, port?.storm ?? -1, port?.refused ?? -1]);
  }

  async function card(index: number, name: string): Promise<string> {
    return lab.sh(index, interfaceOf((await lab.card(index, name)).mac));
  }

  it('reach each other once a card is plugged into each, over either port', async () => {
    for (const index of [NEAR, FAR]) {
      const words = ['--switch', 'lan', '--queues', '2'];
      const vhost = await lab.add(index, 'vhost', `${NET.vhost}.${index + 1}`, ...words);
      expect(vhost).toMatchObject({ state: 'plugged', port: 'vhost-user', interrupts: 'msix' });
      // What the daemon says of interrupts is what the guest has.
      await lab.sh(index, 'grep -q "MSI.*virtio.*-input.1" /proc/interrupts');
      expect(await lab.sh(index, `ls /sys/class/net/${await card(index, 'vhost')}/queues | wc -l`)).toBe('4');
      const other = ['--switch', 'other', '--port', 'vfio-user', '--mtu', '9000'];
      const vfio = await lab.add(index, 'vfio', `${NET.vfio}.${index + 1}`, ...other);
      expect(vfio).toMatchObject({ state: 'plugged', port: 'vfio-user', mtu: 9000 });
      expect(await lab.sh(index, `cat /sys/class/net/${await card(index, 'vfio')}/mtu`)).toBe('9000');
    }
    for (const net of Object.values(NET)) await ping(NEAR, `${net}.2`);
    for (const port of [5201, 5202]) await lab.sh(FAR, `iperf3 --server --daemon --port ${port}`);
  });

  describe.each(['vhost', 'vfio'] as const)('over %s', (name) => {
    it.each(['on', 'off'])(
      'move a stream both ways with TSO %s, and every checksum is right',
      async (tso) => {
        for (const index of [NEAR, FAR])
          await lab.sh(index, `ethtool -K ${await card(index, name)} tso ${tso}`);
        const path = join(lab.folder, `${name}-${tso}.pcapng`);
        const client = new ChassisClient({ directory: lab.daemon.directory });
        const words = ['capture', name, '--chassis', 'vm1', '--out', path, '--wire', '--max-bytes', '64M'];
        const capture = lab.daemon.json<{ frames: number }>(...words);
        onTestFinished(async () => {
          await client.endCapture('vm1', name);
          await capture.catch(() => undefined);
        });
        await expect.poll(() => existsSync(path), PATIENTLY).toBe(true);
        for (const way of ['', '--reverse'])
          expect(await iperf(NET[name], way)).toBeGreaterThanOrEqual(8 * MIB);
        await client.endCapture('vm1', name);
        const { frames: count } = await capture;
        const frames = capturedFrames(await readFile(path));
        expect(frames).toHaveLength(count);
        const segments = frames.filter(({ isSound }) => isSound !== undefined);
        expect(segments.length * WHOLE_FRAME_BYTES * (name === 'vfio' ? 6 : 1)).toBeGreaterThan(16 * MIB);
        expect(segments.filter(({ isSound }) => !isSound)).toEqual([]);
        expect(await wiresharkComplaints(path)).toEqual([]);
      },
    );

    it('leave streams uncut on their way where TSO is on', async () => {
      await lab.sh(NEAR, `ethtool -K ${await card(NEAR, name)} tso on`);
      const before = (await lab.card(NEAR, name)).statistics;
      await iperf(NET[name]);
      const after = (await lab.card(NEAR, name)).statistics;
      const frames = (after?.txFrames ?? 0) - (before?.txFrames ?? 0);
      expect(((after?.txBytes ?? 0) - (before?.txBytes ?? 0)) / frames).toBeGreaterThan(10_000);
    });

    it('hear of a cable that is pulled, and plugged in again', async () => {
      const carrier = `/sys/class/net/${await card(FAR, name)}/carrier`;
      await lab.daemon.json('net', 'link', name, 'down', '--chassis', 'vm1');
      await lab.guest(FAR).waitFor(`[ $(cat ${carrier}) = 0 ]`);
      await lab.daemon.json('net', 'link', name, 'up', '--chassis', 'vm1');
      await lab.guest(FAR).waitFor(`[ $(cat ${carrier}) = 1 ]`);
      await ping(NEAR, `${NET[name]}.2`);
    });

    it('lose a card under load, and get another', async () => {
      const other = name === 'vfio' ? NET.vhost : NET.vfio;
      await lab.sh(
        NEAR,
        `iperf3 --client ${NET[name]}.2 --time 60 >/dev/null 2>&1 & echo $! >/run/load
         iperf3 --client ${other}.2 --port 5202 --time 60 >/dev/null 2>&1 & echo $! >/run/neighbour`,
      );
      await lab.remove(FAR, name);
      expect((await lab.sh(FAR, 'ls /sys/class/net')).split('\n')).toHaveLength(2);
      await lab.sh(NEAR, 'kill $(cat /run/load) 2>/dev/null || true');
      const words = name === 'vfio' ? ['--switch', 'other', '--port', 'vfio-user'] : ['--switch', 'lan'];
      await lab.add(FAR, name, `${NET[name]}.2`, ...words);
      await ping(NEAR, `${NET[name]}.2`);
      // The neighbour's stream has gone on meanwhile.
      await lab.sh(NEAR, 'kill $(cat /run/neighbour)');
    });
  });

  it('of which one stands still lose what is for that one, and nothing else', async () => {
    // A third station on the switch: a card of the near guest's in a network namespace.
    await lab.add(NEAR, 'side', `${NET.vhost}.3`, '--switch', 'lan');
    await lab.sh(
      NEAR,
      `side=${await card(NEAR, 'side')}
       setsid unshare -n sleep 1000 >/dev/null 2>&1 & echo $! >/run/side; sleep 0.5
       ip link set $side netns $(cat /run/side)
       nsenter -t $(cat /run/side) -n sh -c "ip addr add ${NET.vhost}.3/24 dev $side; ip link set $side up"`,
    );
    await ping(NEAR, `${NET.vhost}.3`);
    const { mac } = await lab.card(FAR, 'vhost');
    const dev = await card(NEAR, 'vhost');
    await lab.sh(NEAR, `arp -i ${dev} -s ${NET.vhost}.2 ${mac}`);
    const lostBefore = await lost(NEAR, ['vhost', 'side']);
    process.kill(lab.guest(FAR).pid, 'SIGSTOP');
    try {
      const flood = `dd if=/dev/zero bs=1400 count=4000 2>/dev/null | nc -u -w 1 ${NET.vhost}.2 9`;
      await lab.sh(NEAR, `(${flood}) >/dev/null 2>&1 & echo $! >/run/flood`);
      expect(await lab.sh(NEAR, `ping -c 10 -i 0.2 ${NET.vhost}.3; wait`)).toMatch(/ 0% packet loss/);
      expect((await lab.card(FAR, 'vhost')).switchPort?.dropped).toBeGreaterThan(0);
      expect(await lost(NEAR, ['vhost', 'side'])).toEqual(lostBefore);
    } finally {
      process.kill(lab.guest(FAR).pid, 'SIGCONT');
    }
    await ping(NEAR, `${NET.vhost}.2`);
  });

  it('are joined again by a new switch when theirs dies', async () => {
    const stamp = await readFile(join(lab.daemon.directory, '@lan', 'switch.pid'), 'utf8');
    process.kill((JSON.parse(stamp) as { pid: number }).pid, 'SIGKILL');
    await ping(NEAR, `${NET.vhost}.2`);
  });
});

/** Frames that Wireshark finds a wrong checksum in; none where the host has no Wireshark. */
async function wiresharkComplaints(path: string): Promise<string[]> {
  const checks = ['-o', 'tcp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE'];
  const bad = 'tcp.checksum.status == "Bad" || ip.checksum.status == "Bad" || _ws.malformed';
  const { stdout, failed, code } = await execa('tshark', ['-r', path, ...checks, '-Y', bad], {
    reject: false,
    stdin: 'ignore',
  });
  if (code === 'ENOENT') return [];
  expect(failed).toBe(false);
  return stdout.split('\n').filter((line) => line !== '');
}
