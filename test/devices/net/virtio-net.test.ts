import { describe, expect, it } from 'vitest';
import { VirtioNet } from '../../../devices/net/virtio-net.js';
import { TestBackend } from './support/frames.js';
import { concat, mac, MAC_A } from './support/packets.js';
import { TestCard } from './support/test-queue.js';

const bit = (number: number) => 1n << BigInt(number);
const STATUS = 6;

describe('the config space', () => {
  it('says what the operator chose', () => {
    const { config } = new VirtioNet(new TestBackend(), {
      mac: '52:54:00:Ab:cd:ef',
      queuePairs: 3,
      mtu: 9000,
      speedMbps: 25_000,
    });
    expect(Buffer.from(config).toString('hex')).toBe(
      ['525400abcdef', '0100', '0300', '2823', 'a8610000', '01'].join(''),
    );
  });

  it('offers no queues to choose from where there is one pair, and no MTU where the driver may choose', () => {
    const { features } = new VirtioNet(new TestBackend(), { mac: MAC_A });
    expect([features & bit(22), features & bit(3)]).toEqual([0n, 0n]);
    const both = new VirtioNet(new TestBackend(), { mac: MAC_A, queuePairs: 2, mtu: 1500 });
    expect(both.features & ~features).toBe(bit(22) | bit(3));
  });

  it.each([
    ['an address', { mac: '52:54:00:12:34' }],
    ['an address of hexadecimal digits', { mac: '52:54:00:12:34:5g' }],
    ['an address of one station', { mac: '01:00:5e:00:00:01' }],
    ['an address at all', { mac: '00:00:00:00:00:00' }],
    ['a pair of queues', { queuePairs: 0 }],
    ['fewer queues', { queuePairs: 33 }],
    ['a size that is a power of two', { queueSize: 100 }],
    ['an MTU that IPv4 can do with', { mtu: 67 }],
    ['an MTU that fits', { mtu: 65536 }],
  ])('wants %s', (_name, options) => {
    expect(() => new VirtioNet(new TestBackend(), { mac: MAC_A, ...options })).toThrow(RangeError);
  });

  it('is not the driver’s to write, once there is a command for it', () => {
    const card = TestCard.on(new TestBackend()).start();
    card.device.writeConfig(0, Uint8Array.of(1));
    expect(card.device.config.slice(0, 6)).toEqual(mac(MAC_A));
  });

  it('takes a legacy driver’s address, byte by byte, and nothing else of it', () => {
    const card = TestCard.on(new TestBackend()).start([23], false);
    for (let i = 0; i < 9; i++) card.device.writeConfig(i, Uint8Array.of(0x10 + i));
    card.device.writeConfig(5, Uint8Array.of(1, 2));
    expect(card.device.config.slice(0, 8)).toEqual(Uint8Array.of(0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 1, 0));
  });
});

describe('the link', () => {
  it('is up where the operator and the backend say so, and the driver hears of changes', () => {
    const card = TestCard.on(new TestBackend()).start();
    const states: [number, number][] = [];
    const note = () => states.push([card.device.config[STATUS], card.configChanges]);
    const setBackend = (up: boolean) => {
      card.backend.linkUp = up;
      card.backend.port.linkChanged();
      note();
    };
    note();
    setBackend(false);
    card.device.setLink(false);
    note();
    setBackend(true);
    card.device.setLink(true);
    note();
    card.device.setLink(true);
    note();
    expect(states).toEqual([
      [1, 0],
      [0, 1],
      [0, 1],
      [0, 1],
      [1, 2],
      [1, 2],
    ]);
  });
});

describe('an announcement', () => {
  it('is asked for until the driver acknowledges it', () => {
    const card = TestCard.on(new TestBackend()).start();
    expect(card.device.announce()).toBe(true);
    expect(card.device.announce()).toBe(true);
    expect([card.device.config[STATUS], card.configChanges]).toEqual([3, 1]);
    expect(card.command(Uint8Array.of(3, 0))).toBe(0);
    expect(card.device.config[STATUS]).toBe(1);
  });

  it('is not asked of a driver that does not know of it, and not of the next one', () => {
    const card = TestCard.on(new TestBackend()).start([21]);
    expect(card.device.announce()).toBe(false);
    const other = TestCard.on(new TestBackend()).start();
    other.device.announce();
    other.device.reset();
    expect(other.device.config[STATUS]).toBe(1);
  });
});

describe('what the driver takes unfinished', () => {
  it.each<[string, readonly number[], number]>([
    ['everything', [], 63],
    ['checksums alone', [7, 8, 9, 54, 55], 1],
    ['nothing, where it takes no checksums', [1], 0],
  ])('is told to the backend: %s', (_name, without, expected) => {
    const card = TestCard.on(new TestBackend()).start(without);
    expect(card.backend.calls).toEqual([`accepts ${expected}`]);
  });

  it('changes by command', () => {
    const card = TestCard.on(new TestBackend()).start();
    card.command(concat(Uint8Array.of(5, 0), Uint8Array.of(0x82, 0, 0, 0, 0, 0, 0, 0)));
    expect(card.backend.calls).toEqual(['accepts 63', 'accepts 3']);
  });
});

describe('queues', () => {
  it('are filled by the card or not, by what was agreed on', () => {
    const roles = (card: TestCard) =>
      card.queues.map(({ index }) => card.device.filledQueues.includes(index)).join();
    expect(roles(TestCard.on(new TestBackend(), { queuePairs: 2 }).start())).toBe(
      'true,false,true,false,false',
    );
    // The control queue is the third one for a driver that knows of one pair.
    expect(roles(TestCard.on(new TestBackend(), { queuePairs: 2 }).start([22]))).toBe(
      'true,false,false,false,true',
    );
  });

  it('and the backend are closed with the card', async () => {
    const card = TestCard.on(new TestBackend()).start();
    await card.device.close();
    expect(card.backend.calls.at(-1)).toBe('close');
  });
});
