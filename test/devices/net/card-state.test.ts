import { describe, expect, it } from 'vitest';
import { frameOf, TestBackend } from './support/frames.js';
import { BROADCAST, concat, ethernet, mac, MAC_A, MAC_B } from './support/packets.js';
import { TestCard } from './support/test-queue.js';

const OTHER = '52:54:00:00:00:99';
const GROUP = '01:00:5e:00:00:fb';
const newCard = () => TestCard.on(new TestBackend(), { queuePairs: 2 });

function gets(card: TestCard, destination: string, tags: readonly number[] = []): boolean {
  const before = card.rx.pushed.length;
  card.post(2000);
  card.backend.port.deliver(frameOf(ethernet([destination, MAC_B], 0x0800, new Uint8Array(60), tags)));
  card.rx.available.length = 0;
  return card.rx.pushed.length > before;
}

/** All that a driver can say. */
function configured(): TestCard {
  const card = newCard().start();
  const one = Uint8Array.of(1, 0, 0, 0);
  card.command(concat(Uint8Array.of(1, 1), mac(OTHER)));
  card.command(concat(Uint8Array.of(1, 0), one, mac(MAC_A), one, mac(GROUP)));
  card.command(Uint8Array.of(0, 5, 1));
  card.command(Uint8Array.of(2, 0, 7, 0));
  card.command(Uint8Array.of(4, 0, 2, 0));
  card.command(Uint8Array.of(5, 0, 2, 0, 0, 0, 0, 0, 0, 0));
  card.device.announce();
  return card;
}

describe('a card that takes over from another', () => {
  it('goes on with all that its driver had said', () => {
    const before = configured();
    const after = newCard();
    expect(after.device.restoreState(before.device.saveState())).toBeUndefined();
    after.start();
    for (const card of [before, after]) {
      expect([OTHER, MAC_A, GROUP, BROADCAST, MAC_B].map((address) => gets(card, address))).toEqual([
        true,
        true,
        true,
        false,
        false,
      ]);
      expect([gets(card, OTHER, [7]), gets(card, OTHER, [8])]).toEqual([true, false]);
      expect(card.backend.calls.at(-1)).toBe('accepts 1');
    }
    expect(after.device.config).toEqual(before.device.config);
    expect(after.device.saveState()).toEqual(before.device.saveState());
    expect(after.command(Uint8Array.of(0, 5, 0))).toBe(0);
    expect(gets(after, BROADCAST)).toBe(true);
  });

  it('starts afresh with the next driver, and where the other one had none', () => {
    const card = newCard();
    card.device.restoreState(configured().device.saveState());
    card.device.reset();
    card.start();
    expect(card.device.saveState()).toEqual(newCard().start().device.saveState());
    expect(newCard().device.saveState()).toHaveLength(0);
    expect(newCard().device.restoreState(new Uint8Array(0))).toBeUndefined();
  });

  it.each<[string, (bytes: Uint8Array) => Uint8Array | void]>([
    ['is too short', (bytes) => bytes.slice(0, -1)],
    ['is too long', (bytes) => concat(bytes, Uint8Array.of(0))],
    ['is of another version', (bytes) => void (bytes[0] = 2)],
    ['has no queues', (bytes) => void bytes.fill(0, 2, 4)],
    ['has more queues than the card', (bytes) => void (bytes[2] = 3)],
    ['has a flag that is none', (bytes) => void (bytes[1] = 2)],
    ['has a mode that is neither on nor off', (bytes) => void (bytes[18] = 2)],
    ['has a group’s address', (bytes) => void (bytes[12] = 1)],
    ['has more addresses than there is room for', (bytes) => void (bytes[12 + 525] = 65)],
  ])('takes nothing over that %s', (_name, change) => {
    const bytes = configured().device.saveState();
    const card = newCard();
    expect(card.device.restoreState(change(bytes) ?? bytes)).toBeTypeOf('string');
    card.start();
    expect(card.device.saveState()).toEqual(newCard().start().device.saveState());
  });
});
