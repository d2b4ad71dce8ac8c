/** What a driver may send to a card's control queue, and who may send frames to it, of small numbers. */

const VLANS_OF_INTEREST = [0, 1, 5, 4094, 4095, 4096, 0xffff];
const COUNTS_OF_INTEREST = [0, 1, 2, 3, 64, 65, 66, 0x2aaaaaaa, 0x2aaaaaab, 0x80000000, 0xffffffff];
/** More entries are never sent, whatever the count says. */
const MOST_ENTRIES = 70;
const OWN = '52540000000a';
const BROADCAST = 'ffffffffffff';

/** The card's own address, some of single stations and of groups, and broadcast. */
export function addressOf(number: number): string {
  const choice = number % 12;
  if (choice === 0) return OWN;
  if (choice === 1) return BROADCAST;
  return choice < 7 ? `02000000000${choice}` : `0100000000${(number % 96).toString(16).padStart(2, '0')}`;
}

export function vlanOf(number: number): number {
  return number % 2 === 0 ? VLANS_OF_INTEREST[(number >> 1) % VLANS_OF_INTEREST.length] : (number >> 1) % 8;
}

/** class[1] command[1] data; now and then with a bit that is another, cut short, or longer than it need be. */
export function commandOf(a: number, b: number, c: number, d: number): Buffer {
  const commandClass = a % 7;
  const command = (a >> 3) % 7;
  const bytes = Buffer.concat([Buffer.from([commandClass, command]), dataOf(commandClass, command, b, c)]);
  const change = d % 16;
  if (change === 0) bytes[b % bytes.length] ^= 1 << (c % 8);
  if (change === 1) return bytes.subarray(0, c % (bytes.length + 1));
  return change === 2 ? Buffer.concat([bytes, Buffer.alloc(1 + (b % 9), c)]) : bytes;
}

function dataOf(commandClass: number, command: number, b: number, c: number): Buffer {
  if (commandClass === 0) return Buffer.from([b % 3]);
  if (commandClass === 1) {
    return command === 0
      ? Buffer.concat([tableOf(b, false), tableOf(c, true)])
      : Buffer.from(addressOf(b), 'hex');
  }
  if (commandClass === 2) return u16(vlanOf(b));
  if (commandClass === 4) return u16(b % 6);
  const offloads = Buffer.alloc(8);
  // The offloads that there are, and others.
  for (const bit of [1, 7, 8, 9, 10, 54, 55, 63]) {
    if (((b >> (bit % 16)) & 1) === 1) offloads[bit >> 3] |= 1 << (bit & 7);
  }
  return commandClass === 5 ? offloads : Buffer.alloc(b % 3, c);
}

function tableOf(number: number, isGroups: boolean): Buffer {
  const entries = COUNTS_OF_INTEREST[number % COUNTS_OF_INTEREST.length];
  const count = Buffer.alloc(4);
  count.writeUInt32LE(entries);
  const addresses = Array.from({ length: Math.min(entries, MOST_ENTRIES) }, (_, i) =>
    Buffer.from(addressOf((isGroups ? 7 : 2) + 12 * (i + (number >> 4)) + (i % 5)), 'hex'),
  );
  return Buffer.concat([count, ...addresses]);
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}
