import { describe, expect, it } from 'vitest';
import { parseNetwork, type NetworkFlags } from '../../cli/support/network-flags.js';
import { refusal } from '../manager/refusal.js';

const SWITCH = { type: 'switch', switch: 'default', isolated: false, macLock: false };

describe('what a card is plugged into, as typed', () => {
  it.each<[NetworkFlags, object]>([
    [{}, SWITCH],
    [
      { switch: 'lan', vlan: 5, isolated: true, 'mac-lock': true },
      { type: 'switch', switch: 'lan', vlan: 5, isolated: true, macLock: true },
    ],
    [{ trunk: '10,20-22,21' }, { ...SWITCH, trunk: [10, 20, 21, 22] }],
    [{ tap: 'tap0' }, { type: 'tap', interface: 'tap0' }],
    [{ passt: true }, { type: 'passt', hostLoopback: true, publish: [] }],
    [
      { passt: true, publish: ['8080:80', '22'], 'host-loopback': false },
      {
        type: 'passt',
        hostLoopback: false,
        publish: [
          { host: 8080, guest: 80 },
          { host: 22, guest: 22 },
        ],
      },
    ],
  ])('%j', (flags, network) => {
    expect(parseNetwork(flags)).toEqual(network);
  });

  it.each<[NetworkFlags, RegExp]>([
    [{ tap: 't', vlan: 5 }, /--vlan is not for a TAP device/],
    [{ tap: 't', publish: ['1:1'] }, /--publish is not for a TAP device/],
    [{ passt: true, 'mac-lock': true }, /--mac-lock is not for passt/],
    [{ switch: 's', 'host-loopback': false }, /--host-loopback is not for a switch/],
    ...['', '0', '4095', '5-4', '1,', '1-', 'x', '1 '].map((trunk): [NetworkFlags, RegExp] => [
      { trunk },
      /is no list of VLANs/,
    ]),
    ...['', '0:1', '1:65536', '1:2:3', ':80', 'a:b'].map((port): [NetworkFlags, RegExp] => [
      { passt: true, publish: [port] },
      /is no pair of ports/,
    ]),
  ])('not %j', (flags, message) => {
    expect(() => parseNetwork(flags)).toThrow(expect.objectContaining(refusal('BAD_REQUEST', message)));
  });
});
