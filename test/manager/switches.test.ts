import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StreamFraming } from '../../devices/net/backends/stream/framing.js';
import { StreamBackend, unixPeer } from '../../devices/net/backends/stream/stream-backend.js';
import { Reactor } from '../../host/index.js';
import type { SwitchNetwork } from '../../manager/control/api.js';
import { Switches } from '../../manager/switches.js';
import { frameOf, TestPort } from '../devices/net/support/frames.js';
import { BROADCAST, MAC_A, packet, payloadOf } from '../devices/net/support/packets.js';
import { BUILT_SWITCH_ENTRY } from './built.js';
import { PATIENTLY } from './patiently.js';
import { refusal } from './refusal.js';
import { temporaryFolders } from './temporary-folder.js';
import { notingLog } from '../support/log.js';

const LAN: SwitchNetwork = { type: 'switch', switch: 'lan', isolated: false, macLock: false };
const MAC_B = '52:54:00:00:00:0b';

describe('the switches of a daemon', () => {
  const folder = temporaryFolders();
  let directory: string;
  let switches: Switches;
  let reactor: Reactor;
  let log: string[];
  const backends: StreamBackend[] = [];

  beforeEach(() => {
    directory = folder();
    log = [];
    switches = daemonsSwitches();
    reactor = new Reactor({ onError: (error) => log.push(String(error)) });
    reactor.start();
  });
  afterEach(async () => {
    for (const backend of backends.splice(0)) backend.close();
    await switches.stop();
    reactor.close();
  });

  const daemonsSwitches = () => new Switches({ directory, entry: BUILT_SWITCH_ENTRY, log: notingLog(log) });

  /** A card of a device process's, which is in this one. */
  async function plugIn(card: string, network: SwitchNetwork, mac: string) {
    const socketPath = await switches.join(card, network, mac);
    const backend = new StreamBackend({
      ...{ peer: unixPeer(socketPath), framing: StreamFraming.WITH_HEADER, reactor, log: () => {} },
    });
    const port = new TestPort();
    backend.port = port;
    backends.push(backend);
    return { backend, port };
  }

  /** Sends until the frame arrives: a switch hears of a connection a moment after it was made. */
  async function arrives(from: StreamBackend, to: TestPort, bytes: Uint8Array): Promise<void> {
    await expect
      .poll(
        () => (from.send(frameOf(bytes)), to.take().some((each) => Buffer.compare(each, bytes) === 0)),
        PATIENTLY,
      )
      .toBe(true);
  }

  const hello = packet({ macs: [BROADCAST, MAC_A], payload: payloadOf(40) }).bytes;

  it('join the cards that name one, and nobody else', async () => {
    const a = await plugIn('vm1/a', LAN, MAC_A);
    const b = await plugIn('vm2/b', LAN, MAC_B);
    const other = await plugIn('vm3/c', { ...LAN, switch: 'other' }, MAC_B);
    const isolated = await plugIn('vm3/d', { ...LAN, vlan: 2 }, '52:54:00:00:00:0d');
    await arrives(a.backend, b.port, hello);
    expect([other.port.frames, isolated.port.frames]).toEqual([[], []]);
    await switches.refresh(['vm1/a', 'vm2/b']);
    expect(switches.counters('vm1/a')).toMatchObject({ received: 0, refused: 0, storm: 0, dropped: 0 });
    expect(switches.counters('vm2/b')?.received).toBe(switches.counters('vm1/a')?.sent);
  });

  it('hold a card to its address where they are told to', async () => {
    const a = await plugIn('vm1/a', { ...LAN, macLock: true }, MAC_B);
    const b = await plugIn('vm2/b', LAN, '52:54:00:00:00:0c');
    a.backend.send(frameOf(hello));
    await arrives(
      b.backend,
      a.port,
      packet({ macs: [BROADCAST, '52:54:00:00:00:0c'], payload: payloadOf(40) }).bytes,
    );
    await switches.refresh(['vm1/a']);
    expect(switches.counters('vm1/a')).toMatchObject({ sent: 1, refused: 1 });
    expect(b.port.frames).toEqual([]);
  });

  it('refuse a second card with the address of the first, but on another switch', async () => {
    await switches.join('vm1/a', LAN, MAC_A);
    await expect(switches.join('vm2/b', LAN, MAC_A)).rejects.toMatchObject(
      refusal('MAC_IN_USE', /vm1\/a has the address/),
    );
    await switches.join('vm2/b', { ...LAN, switch: 'other' }, MAC_A);
  });

  it('count what a card loses that does not read, and lose nothing else', async () => {
    const a = await plugIn('vm1/a', LAN, MAC_A);
    const slow = await plugIn('vm2/b', LAN, MAC_B);
    const quick = await plugIn('vm3/c', LAN, '52:54:00:00:00:0c');
    await arrives(a.backend, slow.port, hello);
    await arrives(a.backend, quick.port, hello);
    slow.port.room = 0;
    const long = packet({ macs: [BROADCAST, MAC_A], payload: payloadOf(60_000) }).bytes;
    const arrived = () => quick.port.frames.filter(({ bytes }) => bytes.length === long.length).length;
    for (let sent = 1; sent <= 100; sent++) {
      a.backend.send(frameOf(long));
      await expect.poll(arrived, { ...PATIENTLY, interval: 1 }).toBe(sent);
    }
    await switches.refresh(['vm2/b', 'vm3/c']);
    expect(switches.counters('vm2/b')?.dropped).toBeGreaterThan(50);
    expect(switches.counters('vm3/c')?.dropped).toBe(0);
  });

  it('come back when they die, and the cards find them', async () => {
    const a = await plugIn('vm1/a', LAN, MAC_A);
    const b = await plugIn('vm2/b', LAN, MAC_B);
    await arrives(a.backend, b.port, hello);
    const stamp = join(directory, '@lan', 'switch.pid');
    const { pid } = JSON.parse(readFileSync(stamp, 'utf8')) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => a.backend.linkUp, PATIENTLY).toBe(false);
    await arrives(a.backend, b.port, hello);
    expect(log).toEqual([expect.stringMatching(/lan: the switch is lost, and is started over: .*SIGKILL/)]);
    await switches.join('vm3/c', LAN, '52:54:00:00:00:0c');
  });

  it('end with their last card, and leave nothing behind', async () => {
    await switches.join('vm1/a', LAN, MAC_A);
    await switches.join('vm2/b', LAN, MAC_B);
    await switches.leave('vm1/a');
    expect(existsSync(join(directory, '@lan', 'p2.sock'))).toBe(true);
    await switches.leaveAll('vm2');
    expect(existsSync(join(directory, '@lan'))).toBe(false);
    await switches.join('vm1/a', LAN, MAC_A);
    expect(existsSync(join(directory, '@lan', 'p3.sock'))).toBe(true);
  });

  it('are found by the next daemon, which ends the ports that no card keeps, and switches without any', async () => {
    const [kept, dropped] = [
      await switches.join('vm1/a', LAN, MAC_A),
      await switches.join('vm2/b', LAN, MAC_B),
    ];
    await switches.join('vm3/c', { ...LAN, switch: 'other' }, MAC_A);
    switches.leaveAlone();
    switches = daemonsSwitches();
    await switches.find();
    await switches.keep('vm1/a', LAN, MAC_A, kept);
    await switches.settle();
    expect([existsSync(kept), existsSync(dropped)]).toEqual([true, false]);
    expect(readdirSync(directory)).toEqual(['@lan']);
  });

  it('whose process is gone leave nothing behind, and nothing else is taken for one', async () => {
    for (const name of ['@lan', '@Not-A-Name', '@mine']) {
      mkdirSync(join(directory, name));
      for (const file of ['switch.sock', 'switch.log', 'p12.sock'])
        writeFileSync(join(directory, name, file), '');
    }
    writeFileSync(join(directory, '@mine', 'device.sock'), '');
    await switches.find();
    await switches.settle();
    expect(readdirSync(directory).sort()).toEqual(['@Not-A-Name', '@mine']);
    expect(readdirSync(join(directory, '@mine'))).toEqual(['device.sock']);
  });
});
