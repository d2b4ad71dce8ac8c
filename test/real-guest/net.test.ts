import { afterAll, beforeAll, expect, it } from 'vitest';
import { VirtioNetFeature } from '../../devices/net/protocol.js';
import { describeRealGuest } from './lab.js';
import { NetworkLab, type CardPlan } from './support/network-lab.js';

const WHOLE_FRAME_BYTES = 1514;
/** What a card does with a stream that is longer than a frame, and the checksums that go with that. */
const OFFLOADS = Object.entries(VirtioNetFeature)
  .filter(([name]) => /(CSUM|TSO|USO|ECN)/.test(name))
  .reduce((bits, [, bit]) => bits | (1n << BigInt(bit)), 0n);

const vfioUser: CardPlan = {
  queuePairs: 2,
  serve: (server, device, slot) => server.vfioUser(device, slot, { msix: true }),
};
const vhostUser: CardPlan = {
  serve: (server, device, slot) =>
    server.vhostUser(device, slot, {
      driver: 'vhost-user-test-device-pci',
      'virtio-id': device.deviceId,
      num_vqs: device.queueSizes.length,
      vq_size: device.queueSizes[0],
      config_size: device.config.length,
    }),
};
/** Without offloads and mergeable buffers, through legacy registers. */
const plain: CardPlan = {
  serve: (server, device, slot) =>
    server.vfioUser(device, slot, {
      msix: true,
      registers: 'legacy',
      withheldFeatures: OFFLOADS | (1n << BigInt(VirtioNetFeature.VIRTIO_NET_F_MRG_RXBUF)),
    }),
};

const [VFIO, VHOST, PLAIN] = [0, 1, 2];

describeRealGuest('Linux with three cards on one switch', () => {
  let lab: NetworkLab;

  beforeAll(async () => {
    lab = await NetworkLab.boot('6.12', [vfioUser, vhostUser, plain]);
  });
  afterAll(() => lab?.stop());

  /** Frames of a card's own, sent since the last call, in the mean. */
  function meanFrameBytes(index: number, before: { txFrames: number; txBytes: number }): number {
    const { txFrames, txBytes } = lab.cards[index].device.statistics;
    return (txBytes - before.txBytes) / (txFrames - before.txFrames);
  }

  it('sees the cards as they are', async () => {
    const mac = (index: number) => lab.in(index, 'cat /sys/class/net/$card/address');
    expect(await Promise.all([0, 1, 2].map(mac))).toEqual([0, 1, 2].map((i) => `52:54:00:00:01:0${i}`));
    expect(await lab.in(VFIO, 'cat /sys/class/net/$card/speed /sys/class/net/$card/duplex')).toBe(
      '10000\nfull',
    );
    expect(await lab.in(VFIO, 'ls /sys/class/net/$card/queues | sort')).toBe('rx-0\nrx-1\ntx-0\ntx-1');
  });

  it.each([
    [VFIO, VHOST],
    [VHOST, PLAIN],
    [PLAIN, VFIO],
  ])('pings from card %d to card %d', async (from, to) => {
    const { address } = lab.cards[to];
    expect(await lab.in(from, `ping -c 5 -i 0.1 -s 1400 ${address}`)).toMatch(/ 0% packet loss/);
    expect(await lab.in(from, `ping -c 2 -i 0.1 -s 6000 ${address}`)).toMatch(/ 0% packet loss/);
  });

  it.each([
    ['uncut', VFIO, VHOST, true],
    ['uncut, the other way', VHOST, VFIO, true],
    ['to a card that takes whole frames alone', VFIO, PLAIN, true],
    ['from a card that sends whole frames alone', PLAIN, VHOST, false],
  ])('moves checked data %s', async (_how, from, to, isUncut) => {
    const before = { ...lab.cards[from].device.statistics };
    const { sent, received } = await lab.transfer(from, to, 8);
    expect(received).toBe(sent);
    const mean = meanFrameBytes(from, before);
    if (isUncut) expect(mean).toBeGreaterThan(WHOLE_FRAME_BYTES);
    else expect(mean).toBeLessThanOrEqual(WHOLE_FRAME_BYTES);
  });

  it('moves data both ways at once', async () => {
    const digests = await Promise.all([lab.transfer(VFIO, VHOST, 4), lab.transfer(VHOST, PLAIN, 4)]);
    for (const { sent, received } of digests) expect(received).toBe(sent);
  });

  it('gets no checksum that is wrong, and no frame that is not its own', async () => {
    for (const index of [VFIO, VHOST, PLAIN]) {
      const errors =
        'cat /sys/class/net/$card/statistics/rx_errors /sys/class/net/$card/statistics/rx_frame_errors';
      expect(await lab.in(index, errors)).toBe('0\n0');
      const snmp = await lab.in(index, 'grep ^Tcp: /proc/net/snmp');
      const [names, values] = snmp.split('\n').map((line) => line.split(' '));
      expect(values[names.indexOf('InCsumErrors')]).toBe('0');
      expect(lab.cards[index].device.statistics).toMatchObject({ txInvalid: 0, rxTooLong: 0 });
    }
  });

  it('hears of a link that goes down, and comes up again', async () => {
    const carrier = (up: number) =>
      lab.guest.waitFor(
        `[ $(nsenter -t $(cat /run/namespace${VHOST}) -n -m cat /sys/class/net/$(cat /run/card${VHOST})/carrier) = ${up} ]`,
      );
    lab.cards[VHOST].device.setLink(false);
    await carrier(0);
    lab.cards[VHOST].device.setLink(true);
    await carrier(1);
    await lab.in(VHOST, `ping -c 3 -i 0.1 ${lab.cards[VFIO].address}`);
  });

  it('announces itself where it is asked to', async () => {
    const { device } = lab.cards[VFIO];
    expect(device.announce()).toBe(true);
    await lab.guest.waitFor('true');
    while ((device.config[6] & 2) !== 0) await new Promise((resolve) => setTimeout(resolve, 20));
  });

  it('leaves nothing to complain of', () => {
    expect(lab.server.complaints).toEqual([]);
  });
});
