import { describe, expect, it } from 'vitest';
import { frameOf, TestBackend } from './support/frames.js';
import { BROADCAST, concat, ethernet, mac, MAC_A, MAC_B } from './support/packets.js';
import { TestCard, TestChain } from './support/test-queue.js';

const OK = 0;
const ERR = 1;
const Rx = { PROMISC: 0, ALLMULTI: 1, ALLUNI: 2, NOMULTI: 3, NOUNI: 4, NOBCAST: 5 } as const;
const OTHER = '52:54:00:00:00:99';
const GROUP = '01:00:5e:00:00:fb';
const le16 = (value: number) => Uint8Array.of(value, value >>> 8);
const le32 = (value: number) => concat(le16(value), le16(value >>> 16));
const command = (...parts: (number | Uint8Array)[]) =>
  concat(...parts.map((part) => (typeof part === 'number' ? Uint8Array.of(part) : part)));

/** Whether the guest gets a frame to this address. */
function gets(card: TestCard, destination: string, tags: readonly number[] = []): boolean {
  const before = card.rx.pushed.length;
  card.post(2000);
  card.backend.port.deliver(frameOf(ethernet([destination, MAC_B], 0x0800, new Uint8Array(60), tags)));
  card.rx.available.length = 0;
  return card.rx.pushed.length > before;
}
const seen = (card: TestCard) => [MAC_A, OTHER, GROUP, BROADCAST].map((address) => gets(card, address));

describe('a card receives', () => {
  it('what is for it and for all, until it is told otherwise', () => {
    const card = TestCard.on(new TestBackend()).start();
    expect(seen(card)).toEqual([true, false, false, true]);
    expect(card.device.statistics.rxFiltered).toBe(2);
  });

  it('everything, for a driver that cannot say what it wants', () => {
    expect(seen(TestCard.on(new TestBackend()).start([18, 20]))).toEqual([true, true, true, true]);
  });

  it.each<[keyof typeof Rx, boolean[]]>([
    ['PROMISC', [true, true, true, true]],
    ['ALLMULTI', [true, false, true, true]],
    ['ALLUNI', [true, true, false, true]],
    ['NOUNI', [false, false, false, true]],
    ['NOBCAST', [true, false, false, false]],
  ])('by the mode %s, while that is on', (mode, expected) => {
    const card = TestCard.on(new TestBackend()).start();
    expect(card.command(command(0, Rx[mode], 1))).toBe(OK);
    expect(seen(card)).toEqual(expected);
    expect(card.command(command(0, Rx[mode], 0))).toBe(OK);
    expect(seen(card)).toEqual([true, false, false, true]);
  });

  it('no group’s frames with NOMULTI, whatever its table says', () => {
    const card = TestCard.on(new TestBackend()).start();
    card.command(command(1, 0, le32(0), le32(1), mac(GROUP)));
    expect(gets(card, GROUP)).toBe(true);
    card.command(command(0, Rx.NOMULTI, 1));
    expect(seen(card)).toEqual([true, false, false, true]);
  });

  it('what its tables name, and no more once they name others', () => {
    const card = TestCard.on(new TestBackend()).start();
    expect(card.command(command(1, 0, le32(1), mac(OTHER), le32(1), mac(GROUP)))).toBe(OK);
    expect(seen(card)).toEqual([true, true, true, true]);
    expect(card.command(command(1, 0, le32(0), le32(0)))).toBe(OK);
    expect(seen(card)).toEqual([true, false, false, true]);
  });

  it('everything of a kind whose table is longer than there is room for', () => {
    const table = (count: number) => concat(le32(count), new Uint8Array(6 * count));
    const card = TestCard.on(new TestBackend()).start();
    expect(card.command(command(1, 0, table(65), table(64)))).toBe(OK);
    expect(seen(card)).toEqual([true, true, false, true]);
    expect(card.command(command(1, 0, table(0), table(5000)))).toBe(OK);
    expect(seen(card)).toEqual([true, false, true, true]);
  });

  it('no VLAN’s frames but those that it names, and those without a number', () => {
    const card = TestCard.on(new TestBackend()).start();
    expect([[], [0x2000], [5]].map((tags) => gets(card, MAC_A, tags))).toEqual([true, true, false]);
    expect(card.command(command(2, 0, le16(5)))).toBe(OK);
    expect([[0xa005], [6]].map((tags) => gets(card, MAC_A, tags))).toEqual([true, false]);
    expect(card.command(command(2, 1, le16(5)))).toBe(OK);
    expect(gets(card, MAC_A, [5])).toBe(false);
    expect(card.command(command(2, 0, le16(4096)))).toBe(ERR);
  });

  it('all VLANs’ frames for a driver that cannot name them', () => {
    expect(gets(TestCard.on(new TestBackend()).start([19]), MAC_A, [5])).toBe(true);
  });

  it('by its new address, until it is reset', () => {
    const card = TestCard.on(new TestBackend()).start();
    expect(card.command(command(1, 1, mac(OTHER)))).toBe(OK);
    expect(seen(card)).toEqual([false, true, false, true]);
    expect(card.device.config.slice(0, 6)).toEqual(mac(OTHER));
    card.device.reset();
    card.start();
    expect(seen(card)).toEqual([true, false, false, true]);
    expect(card.device.config.slice(0, 6)).toEqual(mac(MAC_A));
  });
});

describe('a control command is refused', () => {
  it.each<[string, Uint8Array]>([
    ['without anything', new Uint8Array(0)],
    ['without a command', Uint8Array.of(0)],
    ['of a class that there is not', command(6, 0, 1)],
    ['that there is not: receive mode', command(0, 6, 1)],
    ['that there is not: addresses', command(1, 2, mac(OTHER))],
    ['that there is not: VLANs', command(2, 2, le16(1))],
    ['that there is not: announcement', command(3, 1)],
    ['that there is not: queues', command(4, 1, le16(1))],
    ['that there is not: offloads', command(5, 1, new Uint8Array(8))],
    ['that is cut off: receive mode', command(0, 0)],
    ['that is cut off: address', command(1, 1, new Uint8Array(5))],
    ['that is cut off: VLAN', command(2, 0, 1)],
    ['that is cut off: queues', command(4, 0, 1)],
    ['that is cut off: offloads', command(5, 0, new Uint8Array(7))],
    ['that is cut off: tables', command(1, 0, new Uint8Array(3))],
    ['that is cut off before its second table', command(1, 0, le32(1), mac(OTHER), new Uint8Array(3))],
    ['whose first table is longer than it says', command(1, 0, le32(2), mac(OTHER), le32(0))],
    ['whose second table is longer than it says', command(1, 0, le32(0), le32(2), mac(GROUP))],
    ['whose first table is longer than memory', command(1, 0, le32(0xffff_ffff), le32(0))],
    [
      'whose table’s length wraps to a small one',
      command(1, 0, le32(0xaaaa_aaab), le32(0), new Uint8Array(64)),
    ],
    ['whose second table is longer than memory', command(1, 0, le32(0), le32(0xffff_ffff))],
    ['with a group’s address for the card', command(1, 1, mac(GROUP))],
    ['with an offload that was not agreed on', command(5, 0, Uint8Array.of(0, 4, 0, 0, 0, 0, 0, 0))],
    ['with no queues', command(4, 0, le16(0))],
    ['with more queues than there are', command(4, 0, le16(3))],
    ['that acknowledges what nobody announced', command(3, 0)],
  ])('%s', (_name, bytes) => {
    const card = TestCard.on(new TestBackend(), { queuePairs: 2 }).start();
    expect(card.command(bytes)).toBe(ERR);
    expect(seen(card)).toEqual([true, false, false, true]);
    expect(card.faults).toEqual([]);
  });

  it.each([
    ['receive mode', 18, command(0, 0, 1)],
    ['receive mode of the newer kind', 20, command(0, 2, 1)],
    ['tables', 18, command(1, 0, le32(0), le32(0))],
    ['address', 23, command(1, 1, mac(OTHER))],
    ['VLAN', 19, command(2, 0, le16(1))],
    ['offloads', 2, command(5, 0, new Uint8Array(8))],
  ])('whose feature was not agreed on: %s', (_name, feature, bytes) => {
    expect(TestCard.on(new TestBackend()).start().command(bytes)).toBe(OK);
    expect(TestCard.on(new TestBackend()).start([feature]).command(bytes)).toBe(ERR);
  });

  it('without harm where it has no room for the answer', () => {
    const card = TestCard.on(new TestBackend()).start();
    const chain = new TestChain(command(0, Rx.PROMISC, 1));
    card.device.handleChain(card.queues[2], chain);
    expect(card.queues[2].pushed).toEqual([{ chain, writtenBytes: 0 }]);
  });

  it('in any cut of its buffers, or done', () => {
    for (let cut = 0; cut < 17; cut++) {
      const card = TestCard.on(new TestBackend()).start();
      const bytes = command(1, 0, le32(1), mac(OTHER), le32(1), mac(GROUP));
      const chain = new TestChain(bytes, 1, [cut, 1, 1]);
      card.device.handleChain(card.queues[2], chain);
      expect(chain.room[0]).toBe(OK);
      expect(seen(card)).toEqual([true, true, true, true]);
    }
  });
});

describe('a table of a million addresses', () => {
  it('is taken for one of all addresses, and not looked through', () => {
    const card = TestCard.on(new TestBackend()).start();
    expect(card.command(command(1, 0, le32(1_000_000), new Uint8Array(6_000_000), le32(0)))).toBe(OK);
    expect(seen(card)).toEqual([true, true, false, true]);
  });
});
