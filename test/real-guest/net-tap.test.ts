/** A card on a TAP device of the host's, which the test makes in a network namespace of its own. */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Card, CardStatistics } from '../../manager/control/api.js';
import { findBusybox } from '../../testbed/busybox.js';
import { findKernel } from '../../testbed/kernel.js';
import { enterNetworkNamespace, ip } from '../devices/net/backends/tap/namespace.js';
import { describeRealGuest } from './lab.js';
import { SwitchLab } from './support/switch-lab.js';

const KERNEL = '6.12';
const VM = 0;
const TAP = 'tap0';
const NAME = 'bridged';
const HOST = '10.9.2.1';
const GUEST = '10.9.2.2';
const WHOLE_FRAME_BYTES = 1514;

// What the guest is made of is fetched while there is a network to fetch it from.
await Promise.all([findKernel(KERNEL), findBusybox()]);
const problem = enterNetworkNamespace();

/** What the host knows of the TAP device, but for whether whoever opened it last wanted headers before frames. */
function tapNow(): unknown {
  const words = ['-details', '-json', 'addr', 'show', TAP];
  const output = execFileSync('ip', words, { encoding: 'utf8' });
  return JSON.parse(output, (key, value: unknown) => (key === 'vnet_hdr' ? undefined : value));
}

describe.skipIf(problem !== undefined)(
  `on a TAP device${problem === undefined ? '' : ` (skipped: ${problem})`}`,
  () => {
    describeRealGuest('a guest and its host', () => {
      const data = randomBytes(8 << 20);
      const digest = createHash('sha256').update(data).digest('hex');
      let lab: SwitchLab;
      let service: Server;
      let before: unknown;

      beforeAll(async () => {
        ip('tuntap', 'add', TAP, 'mode', 'tap');
        ip('addr', 'add', `${HOST}/24`, 'dev', TAP);
        // The kernel would give it an address of its own at some time.
        ip('link', 'set', TAP, 'addrgenmode', 'none', 'up');
        service = createServer((_request, response) => response.end(data)).listen(80, HOST);
        await once(service, 'listening');
        before = tapNow();
        lab = await SwitchLab.boot([KERNEL], []);
        await lab.sh(VM, 'mkdir -p /srv && httpd -h /srv');
      });
      afterAll(async () => {
        await lab?.stop();
        service.close();
      });

      /** What the card counted since it was `then`: bytes of each frame, in the mean. */
      async function meanFrames(then: Card['statistics']): Promise<{ rx: number; tx: number }> {
        const now = (await lab.card(VM, NAME)).statistics;
        const grown = (key: keyof CardStatistics) => (now?.[key] ?? 0) - (then?.[key] ?? 0);
        return { rx: grown('rxBytes') / grown('rxFrames'), tx: grown('txBytes') / grown('txFrames') };
      }

      describe.each(['vhost-user', 'vfio-user'])('over %s', (port) => {
        it('send each other streams, which nobody cuts up on their way', async () => {
          const added = await lab.add(VM, NAME, GUEST, '--tap', TAP, '--port', port);
          expect(added).toMatchObject({ state: 'plugged', port, carrier: true });
          await lab.sh(VM, `wget -q -O /srv/data http://${HOST}/`);
          expect(await lab.sh(VM, 'sha256sum </srv/data')).toContain(digest);
          expect((await meanFrames(undefined)).rx).toBeGreaterThan(2 * WHOLE_FRAME_BYTES);
          const { statistics } = await lab.card(VM, NAME);
          const answer = Buffer.from(await (await fetch(`http://${GUEST}/data`)).arrayBuffer());
          expect(answer.equals(data)).toBe(true);
          expect((await meanFrames(statistics)).tx).toBeGreaterThan(2 * WHOLE_FRAME_BYTES);
        });

        it('do so on a device that nobody else has', async () => {
          const words = ['net', 'add', 'other', '--tap', TAP];
          expect(await lab.daemon.failure(...words)).toMatchObject({ code: 'NETWORK_UNAVAILABLE' });
        });

        it('are parted, and the device is as it was', async () => {
          await lab.remove(VM, NAME);
          expect((await lab.sh(VM, 'ls /sys/class/net')).split('\n')).toEqual(['lo']);
          expect(tapNow()).toEqual(before);
        });
      });
    });
  },
);
