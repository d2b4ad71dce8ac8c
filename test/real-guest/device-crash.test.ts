/**
 * The process that serves a guest's devices is killed over and over while they are at work: for the guest that is a pause.
 * CHASSIS_CRASHES asks for more kills than there is time for.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Card, Chassis } from '../../manager/control/api.js';
import { ChassisClient } from '../../manager/control/client.js';
import { describePerPort } from './lab.js';
import { withBubblewrap } from './support/bubblewrap.js';
import { DiskLab, MIB } from './support/disk-lab.js';
import { interfaceOf } from './support/switch-lab.js';

const CRASHES = { 'vhost-user': 20, 'vfio-user': 6 } as const;
/** Longer than what the daemon takes for the life of a process that dies over and over. */
const LIFE_MS = 1300;
const PATIENTLY = { timeout: 20_000, interval: 50 };

withBubblewrap();

describePerPort('a device process that is killed while its devices are at work', (port) => {
  const crashes = Number(process.env.CHASSIS_CRASHES ?? CRASHES[port]);
  if (!(crashes >= 1)) throw new Error('CHASSIS_CRASHES: it is how often to crash');
  const timeoutMs = 120_000 + 15_000 * crashes;
  let disks: DiskLab;
  let client: ChassisClient;

  beforeAll(async () => {
    disks = await DiskLab.start(8, port);
    client = new ChassisClient({ directory: disks.lab.daemon.directory });
    await disks.boot('6.1');
    // The tools are read over 9p, which is not what this is about.
    await disks.toolsIntoMemory();
  });
  afterAll(() => disks?.stop());

  function show(): Promise<Chassis> {
    return client.get('lab');
  }

  async function kill(): Promise<void> {
    const { deviceProcess } = await show();
    process.kill(deviceProcess.pid ?? 0, 'SIGKILL');
    await expect
      .poll(async () => {
        const { deviceProcess: next, disks: all, cards } = await show();
        return [
          next.pid !== deviceProcess.pid && next.state,
          ...[...all, ...cards].map(({ state }) => state),
        ];
      }, PATIENTLY)
      .toEqual(['running', 'plugged', 'plugged', 'plugged', 'plugged']);
  }

  it(
    'is a pause for its disks and cards: fio finds every block as it wrote it, and packets arrive again',
    async () => {
      const { lab } = disks;
      const plain = await disks.add('plain', await disks.image('plain.img', 32 * MIB), '--port', port);
      const overlay = await disks.add(
        'over',
        await disks.image('over.img', 32 * MIB),
        '--overlay',
        '--port',
        port,
      );
      const [near, far] = [await addCard('near'), await addCard('far')];
      await lab.sh(`unshare -n sleep 100000 & sleep 1; echo $! >/far
        inFar() { nsenter -t $(cat /far) -n "$@"; }
        ip link set ${far} netns $(cat /far)
        ip addr add 10.8.0.1/24 dev ${near}; ip link set ${near} up
        inFar ip addr add 10.8.0.2/24 dev ${far}; inFar ip link set ${far} up`);
      await lab.guest.waitFor('ping -c 1 -W 1 10.8.0.2');
      let killing = true;
      const fio = async (device: string): Promise<number> => {
        let runs = 0;
        for (; runs === 0 || killing; runs++) {
          const printed = await lab.sh(disks.fioVerify(device, 32), { timeoutMs });
          expect(printed.split(';')[4]).toBe('0');
        }
        return runs;
      };
      const verified = Promise.all([fio(plain), fio(overlay)]);
      verified.catch(() => undefined);
      lab.guest.sh('ping -i 0.2 10.8.0.2 >/ping', { timeoutMs }).catch(() => undefined);
      for (let i = 0; i < crashes; i++) {
        await sleep(LIFE_MS);
        await kill();
      }
      killing = false;
      await verified;
      await lab.guest.waitFor('ping -c 3 -W 1 10.8.0.2 | grep -q " 0% packet loss"');
      expect(await lab.sh('dmesg | grep -iE "I/O error|critical|not a head|blocked for more" || true')).toBe(
        '',
      );
    },
    timeoutMs,
  );

  async function addCard(name: string): Promise<string> {
    const words = ['net', 'add', name, '--switch', 'lan', '--port', port];
    const { card } = await disks.lab.daemon.json<{ card: Card }>(...words);
    await disks.lab.guest.waitFor(interfaceOf(card.mac));
    return disks.lab.sh(interfaceOf(card.mac));
  }
});
