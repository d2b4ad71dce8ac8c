/** Two guests over one switch, with every kind of ring and transport. */
import { describe, expect, it } from 'vitest';
import { LearningSwitch } from '../../../devices/net/switch/learning-switch.js';
import { GsoType, GUEST_OFFLOADS, NetFeature } from '../../../guest/net/constants.js';
import type { NetOptions } from '../../../guest/net/virtio-driver.js';
import { machineOn, settled, type MachineOptions } from '../../devices/net/machine.js';
import { MAC_A, MAC_B, offloaded, packet, payloadOf } from '../../devices/net/support/packets.js';

const { VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_CTRL_VQ } = NetFeature;

async function pair(left: MachineOptions = {}, right: MachineOptions = left) {
  const net = new LearningSwitch();
  const a = await machineOn(net.addPort(), left);
  const b = await machineOn(net.addPort(), { ...right, device: { ...right.device, mac: MAC_B } });
  // Each is heard once, so that nothing is flooded afterwards.
  await b.card.send(packet({ macs: [MAC_A, MAC_B], payload: payloadOf(1) }).bytes);
  await a.receives(1);
  a.received.length = 0;
  return { net, a, b };
}

const guests: readonly (readonly [string, MachineOptions])[] = [
  ['packed rings', {}],
  ['split rings', { guest: { packed: false } }],
  ['split rings out of order, with flags', { guest: { packed: false, inOrder: false, eventIndex: false } }],
  ['packed rings, direct and out of order', { guest: { indirect: false, inOrder: false } }],
  ['a pin', { guest: { msix: false } }],
  ['buffers that each hold a whole frame', { guest: { without: VIRTIO_NET_F_MRG_RXBUF } }],
  ['buffers of 256 bytes', { guest: { receiveBufferBytes: 256, receiveBuffers: 256 } }],
  ['a legacy driver', { guest: { registers: 'legacy' }, transport: { registers: 'transitional' } }],
  [
    'a legacy driver with short headers',
    {
      guest: { registers: 'legacy', without: VIRTIO_NET_F_MRG_RXBUF | VIRTIO_NET_F_CTRL_VQ },
      transport: { registers: 'legacy' },
    },
  ],
];

describe.each(guests)('two guests on a switch, with %s,', (_name, options) => {
  it('exchange frames of all lengths, in their order', async () => {
    const { a, b } = await pair(options);
    const frames = [0, 1, 46, 200, 242, 243, 244, 500, 1400, 1446].map(
      (length, i) => packet({ payload: payloadOf(length, i) }).bytes,
    );
    for (let round = 0; round < 8; round++) await Promise.all(frames.map((frame) => a.card.send(frame)));
    const received = await b.receives(8 * frames.length);
    for (const [i, { bytes }] of received.entries()) {
      expect(Buffer.compare(bytes, frames[i % frames.length])).toBe(0);
    }
    expect(b.device.statistics).toMatchObject({ rxDropped: 0, rxFiltered: 0, rxTooLong: 0 });
    expect([...a.logs, ...b.logs]).toEqual([]);
  });

  it('pass a stream on uncut, where the receiver takes it so', async () => {
    const { a, b } = await pair(options);
    const payload = payloadOf(60_000);
    const { whole } = offloaded({ payload }, 1448);
    const segmentation = { type: GsoType.TCPV4, size: 1448, headerBytes: whole.payloadOffset };
    const checksum = { start: whole.transportOffset, offset: whole.csumOffset };
    await a.card.send(whole.bytes, { checksum, segmentation });
    const [frame] = await b.receives(1);
    expect(frame).toMatchObject({ checksum, segmentation: { ...segmentation, ecn: false } });
    expect(Buffer.compare(frame.bytes, whole.bytes)).toBe(0);
  });
});

describe('a guest that takes no offloads', () => {
  const plain: NetOptions = { without: GUEST_OFFLOADS };

  it('gets a stream cut into whole packets', async () => {
    const { a, b } = await pair({}, { guest: plain });
    const { whole, segments } = offloaded({ payload: payloadOf(60_000), ipv6: true }, 1428);
    const segmentation = { type: GsoType.TCPV6, size: 1428, headerBytes: whole.payloadOffset };
    await a.card.send(whole.bytes, {
      checksum: { start: whole.transportOffset, offset: whole.csumOffset },
      segmentation,
    });
    const received = await b.receives(segments.length);
    expect(Buffer.compare(Buffer.concat(received.map(({ bytes }) => bytes)), Buffer.concat(segments))).toBe(
      0,
    );
    expect(received.every(({ checksum, segmentation }) => !checksum && !segmentation)).toBe(true);
  });

  it('can say so later, and take it back', async () => {
    const { a, b } = await pair();
    const partial = packet({ payload: payloadOf(100), partial: true });
    const work = { checksum: { start: partial.transportOffset, offset: partial.csumOffset } };
    await b.card.setOffloads(0n);
    await a.card.send(partial.bytes, work);
    await b.card.setOffloads(NetFeature.VIRTIO_NET_F_GUEST_CSUM);
    await a.card.send(partial.bytes, work);
    const [finished, unfinished] = await b.receives(2);
    expect(finished.bytes).toEqual(packet({ payload: payloadOf(100) }).bytes);
    expect(finished.checksum).toBeUndefined();
    expect(unfinished).toMatchObject({ bytes: partial.bytes, checksum: work.checksum });
  });
});

describe('a guest that is slow to add buffers', () => {
  it('loses its own frames, counted, and nobody else’s; and gets the next ones', async () => {
    const net = new LearningSwitch();
    const buffers = { guest: { receiveBuffers: 4 } };
    const sender = await machineOn(net.addPort());
    const slow = await machineOn(net.addPort(), { ...buffers, device: { mac: MAC_B } });
    const quick = await machineOn(net.addPort(), { device: { mac: '52:54:00:00:00:0c' } });
    slow.card.holdBuffers(true);
    const broadcast = packet({ macs: ['ff:ff:ff:ff:ff:ff', MAC_A], payload: payloadOf(100) }).bytes;
    for (let i = 0; i < 100; i++) await sender.card.send(broadcast);
    await quick.receives(100);
    expect(slow.received).toHaveLength(4);
    expect(slow.device.statistics).toMatchObject({ rxFrames: 4, rxDropped: 96 });
    slow.card.holdBuffers(false);
    await sender.card.send(broadcast);
    await slow.receives(5);
    expect(quick.device.statistics).toMatchObject({ rxFrames: 101, rxDropped: 0 });
  });

  it('never gets half a frame: one that does not fit leaves the buffers for the next', async () => {
    const { a, b } = await pair({}, { guest: { receiveBuffers: 3, receiveBufferBytes: 256 } });
    await a.card.send(packet({ payload: payloadOf(1000) }).bytes);
    await settled();
    expect(b.received).toEqual([]);
    const { bytes } = packet({ payload: payloadOf(600) });
    await a.card.send(bytes);
    const [frame] = await b.receives(1);
    expect(frame).toMatchObject({ bytes, bufferCount: 3 });
    expect(b.device.statistics).toMatchObject({ rxDropped: 1 });
  });
});

describe('a card with several pairs of queues', () => {
  const options: MachineOptions = { device: { queuePairs: 4 } };

  it('answers a flow by the queue that it was sent by', async () => {
    const { a, b } = await pair(options);
    expect(a.card.info.maxQueuePairs).toBe(4);
    for (const queuePair of [3, 1, 2, 0]) {
      const ports = [5000 + queuePair, 80] as const;
      await a.card.send(packet({ tcp: { ports }, payload: payloadOf(10) }).bytes, {}, queuePair);
      const { bytes } = packet({
        macs: [MAC_A, MAC_B],
        tcp: { ports: [80, 5000 + queuePair] },
        payload: payloadOf(10),
      });
      await b.card.send(bytes, {}, 0);
      const received = await a.receives(1);
      expect(received).toMatchObject([{ bytes, queuePair }]);
      received.length = 0;
    }
  });

  it('uses no more of them than the driver wants', async () => {
    const { a, b } = await pair(options);
    await a.card.send(packet({ payload: payloadOf(10) }).bytes, {}, 3);
    await a.card.setQueuePairs(2);
    await b.card.send(packet({ macs: [MAC_A, MAC_B], payload: payloadOf(10) }).bytes);
    expect(await a.receives(1)).toMatchObject([{ queuePair: 0 }]);
    await expect(a.card.setQueuePairs(5)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(a.card.setQueuePairs(0)).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('has its control queue behind the first pair for a driver that does not know of others', async () => {
    const { a, b } = await pair({ ...options, guest: { without: NetFeature.VIRTIO_NET_F_MQ } });
    await a.card.setMode([0, 0], true);
    await b.card.send(packet({ macs: ['52:54:00:00:00:77', MAC_B], payload: payloadOf(10) }).bytes);
    await a.receives(1);
  });
});

describe('a card that is pulled out or breaks', () => {
  it('fails what waits to be sent', async () => {
    const { a } = await pair();
    await a.binding.remove(true);
    await expect(a.card.send(packet({ payload: payloadOf(1) }).bytes)).rejects.toMatchObject({
      code: 'ENODEV',
    });
  });
});
