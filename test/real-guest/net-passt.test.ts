import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Card } from '../../manager/control/api.js';
import { sandboxOf } from '../../manager/sandbox/in-force.js';
import { PATIENTLY } from '../manager/patiently.js';
import { describeRealGuest } from './lab.js';
import { freePort } from './support/free-port.js';
import { describePasst, PASST_GATEWAY, PASST_GUEST, passtOnPath } from './support/passt.js';
import { interfaceOf, SwitchLab } from './support/switch-lab.js';

const VM = 0;

describePasst('with passt from Debian', () => {
  describeRealGuest('a guest whose card is on passt', () => {
    const data = randomBytes(4 << 20);
    let lab: SwitchLab;
    let service: Server;
    let published: number;
    let restorePath: () => void;

    beforeAll(async () => {
      restorePath = passtOnPath();
      service = createServer((_request, response) => response.end(data)).listen(0, '127.0.0.1');
      await once(service, 'listening');
      published = await freePort();
      lab = await SwitchLab.boot(['6.1'], []);
    });
    afterAll(async () => {
      await lab?.stop();
      service.close();
      restorePath();
    });

    /** Digest of what the guest reads from the host's loopback interface. */
    async function read(): Promise<string> {
      const { port } = service.address() as AddressInfo;
      const digest = await lab.sh(VM, `wget -q -O - http://${PASST_GATEWAY}:${port}/ | sha256sum`);
      return digest.slice(0, 64);
    }
    const expected = createHash('sha256').update(data).digest('hex');

    it('gets its address from it, and reads from a service of the host’s loopback', async () => {
      const words = ['net', 'add', 'wan', '--passt', '--publish', `${published}:80`];
      const { card } = await lab.daemon.json<{ card: Card }>(...words);
      expect(card).toMatchObject({ state: 'plugged', carrier: true });
      await lab.guest(VM).waitFor(interfaceOf(card.mac));
      await lab.sh(
        VM,
        `card=$(${interfaceOf(card.mac)})
         ip link set $card up
         printf '#!/bin/sh\\n[ "$1" = bound ] && ip addr add $ip/24 dev $interface && ip route add default via $router' >/tmp/lease
         chmod +x /tmp/lease
         udhcpc -i $card -n -q -s /tmp/lease >/dev/null 2>&1`,
      );
      expect(await lab.sh(VM, 'ip addr')).toContain(`${PASST_GUEST}/24`);
      expect(await read()).toBe(expected);
    });

    it('has one that confines itself', async () => {
      const itself = { noNewPrivileges: true, seccomp: true, capabilities: '0000000000000000' };
      const own = { ...itself, namespaces: expect.arrayContaining(['user', 'mnt', 'ipc']) as string[] };
      await expect.poll(() => sandboxOf(passts(lab)[0]), PATIENTLY).toMatchObject(own);
    });

    it('is reached through the port of the host that is published', async () => {
      await lab.sh(VM, 'mkdir -p /srv; echo from the guest >/srv/hello; httpd -h /srv');
      const answer = await fetch(`http://127.0.0.1:${published}/hello`);
      expect(await answer.text()).toBe('from the guest\n');
    });

    it('has another passt where that dies, and none once the card is gone', async () => {
      const [pid] = passts(lab);
      process.kill(pid, 'SIGKILL');
      await expect.poll(() => passts(lab).filter((other) => other !== pid).length, PATIENTLY).toBe(1);
      // It may not send echo requests as it is started here, so that ping says nothing.
      const { mac } = await lab.card(VM, 'wan');
      await lab.guest(VM).waitFor(`arping -f -c 1 -w 1 -I $(${interfaceOf(mac)}) ${PASST_GATEWAY}`);
      expect(await read()).toBe(expected);
      await lab.daemon.json('net', 'remove', 'wan');
      await expect.poll(() => passts(lab), PATIENTLY).toEqual([]);
    });
  });
});

/** The passts of the device process: its children, or, where it is confined, the daemon's, which is its grandparent then. */
function passts(lab: SwitchLab): number[] {
  const stamp = readFileSync(join(lab.daemon.directory, 'vm0', 'device.pid'), 'utf8');
  const { pid } = JSON.parse(stamp) as { pid: number };
  const parents = [pid, parentOf(pid), parentOf(parentOf(pid))];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((each) => isPasst(each) && parents.includes(parentOf(each)));
}

/** 0 where it has ended. */
function parentOf(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return status.includes('\nState:\tZ') ? 0 : Number(/^PPid:\t(\d+)$/m.exec(status)?.[1]);
  } catch {
    return 0;
  }
}

function isPasst(pid: number): boolean {
  try {
    return /passt[^\0]*\0--foreground\0--fd\0/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1'));
  } catch {
    return false;
  }
}
