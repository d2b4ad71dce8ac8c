import type { Card, Captured, Network } from '../../manager/control/api.js';
import { table } from './mounts-text.js';
import { sizeText } from './size.js';

const HEADINGS = ['NAME', 'NETWORK', 'MAC', 'LINK', 'SLOT', 'STATE', 'PORT'];
const COUNTER_HEADINGS = ['SENT', 'RECEIVED', 'LOST'];

export function cardsTable(cards: readonly Card[]): string {
  return table(
    [...HEADINGS, ...COUNTER_HEADINGS],
    cards.map((card) => [
      ...[card.name, networkText(card.network), card.mac, linkText(card), String(card.slot), card.state],
      card.port ?? '-',
      card.statistics ? sizeText(card.statistics.txBytes) : '-',
      card.statistics ? sizeText(card.statistics.rxBytes) : '-',
      card.statistics ? String(lostFrames(card)) : '-',
    ]),
  );
}

/** What a card is plugged into, as it would be typed. */
export function networkText(network: Network): string {
  switch (network.type) {
    case 'switch':
      return [
        network.switch,
        network.vlan !== undefined && `vlan ${network.vlan}`,
        network.trunk && `trunk ${network.trunk.join(',')}`,
        network.isolated && 'isolated',
        network.macLock && 'locked',
      ]
        .filter(Boolean)
        .join(' ');
    case 'tap':
      return `tap ${network.interface}`;
    case 'passt':
      return ['passt', ...network.publish.map(({ host, guest }) => `${host}:${guest}`)].join(' ');
  }
}

function linkText({ up, carrier }: Card): string {
  if (!up) return 'down';
  return carrier === false ? 'no carrier' : 'up';
}

/** Frames to or from the guest that did not arrive. */
function lostFrames({ statistics, switchPort }: Card): number {
  const { txInvalid = 0, txDropped = 0, rxDropped = 0, rxTooLong = 0 } = statistics ?? {};
  const { refused = 0, storm = 0, dropped = 0 } = switchPort ?? {};
  return txInvalid + txDropped + rxDropped + rxTooLong + refused + storm + dropped;
}

/** Where a card is now, and how a Linux guest finds it. */
export function addedCardText({ name, slot, state, mac }: Card): string {
  const where =
    state === 'parked'
      ? `${name} waits in slot ${slot}: it is plugged in once a VM runs`
      : `${name} is plugged into slot ${slot}`;
  return `${where}\n  in the guest: the interface with the address ${mac} (ip link)`;
}

const ENDS: Readonly<Record<Captured['reason'], string>> = {
  ended: '',
  full: ': the file has its size',
  removed: ': the card was removed',
  unwritable: ': the file could not be written any further',
};

export function capturedText(path: string, { frames, bytes, reason }: Captured): string {
  return `${frames} frames in ${path} (${sizeText(bytes)})${ENDS[reason]}`;
}
