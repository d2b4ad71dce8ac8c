import { describe, expect, it } from 'vitest';
import {
  LearningSwitch,
  type LearningSwitchOptions,
} from '../../../../devices/net/switch/learning-switch.js';
import type { SwitchPortOptions } from '../../../../devices/net/switch/port-options.js';
import { frameOf, TestPort } from '../support/frames.js';
import { BROADCAST, ethernet, offloaded, payloadOf } from '../support/packets.js';

const MULTICAST = '01:00:5e:00:00:fb';
const station = (n: number) => `52:54:00:00:00:${n.toString(16).padStart(2, '0')}`;

interface Station {
  readonly port: ReturnType<LearningSwitch['addPort']>;
  readonly card: TestPort;
  readonly mac: string;
}

/** A switch with a station at each of its ports. */
class Network {
  nowMs = 0;
  readonly net: LearningSwitch;
  readonly stations: Station[];

  constructor(ports: readonly SwitchPortOptions[], options: LearningSwitchOptions = {}) {
    this.net = new LearningSwitch({ now: () => this.nowMs, ...options });
    this.stations = ports.map((port, i) => this.add(port, i));
  }

  add(options: SwitchPortOptions, number: number): Station {
    const port = this.net.addPort(options);
    const card = new TestPort();
    port.port = card;
    return { port, card, mac: station(number) };
  }

  /** Sends a frame, and answers which stations got it. */
  send(
    from: number,
    to: number | string,
    { source = this.stations[from].mac, tags = [] as readonly number[], work = {} } = {},
  ): number[] {
    const destination = typeof to === 'string' ? to : station(to);
    const bytes = ethernet([destination, source], 0x0800, payloadOf(60), tags);
    this.stations[from].port.send(frameOf(bytes, work));
    return this.stations.flatMap(({ card }, i) => (card.frames.length > 0 ? [i] : []));
  }

  /** What each station has got, and forgets. */
  take(): Uint8Array[][] {
    return this.stations.map(({ card }) => card.take());
  }

  sendAndForget(...args: Parameters<Network['send']>): number[] {
    const got = this.send(...args);
    this.take();
    return got;
  }
}

describe('a switch', () => {
  it('floods to all others until it has heard a station, and then sends to it alone', () => {
    const network = new Network([{}, {}, {}]);
    expect(network.sendAndForget(0, 1)).toEqual([1, 2]);
    expect(network.sendAndForget(1, 0)).toEqual([0]);
    expect(network.sendAndForget(0, 1)).toEqual([1]);
  });

  it.each([BROADCAST, MULTICAST])('floods what is for a group: %s', (group) => {
    const network = new Network([{}, {}, {}]);
    expect(network.sendAndForget(1, group)).toEqual([0, 2]);
    expect(network.sendAndForget(1, group)).toEqual([0, 2]);
  });

  it('does not pass on what is between neighbours, nor send a frame back', () => {
    const network = new Network([{}, {}]);
    expect(network.send(0, '01:80:c2:00:00:00')).toEqual([]);
    expect(network.send(0, '01:80:c2:00:00:0f')).toEqual([]);
    expect(network.send(0, 0)).toEqual([]);
    expect(network.sendAndForget(0, '01:80:c2:00:00:10')).toEqual([1]);
  });

  it('follows a station to another port', () => {
    const network = new Network([{}, {}, {}]);
    network.sendAndForget(0, BROADCAST);
    network.sendAndForget(2, BROADCAST, { source: station(0) });
    expect(network.sendAndForget(1, 0)).toEqual([2]);
  });

  it('forgets a station that is not heard for long', () => {
    const network = new Network([{}, {}, {}], { ageMs: 1000 });
    network.sendAndForget(0, BROADCAST);
    network.nowMs = 1000;
    expect(network.sendAndForget(1, 0)).toEqual([0]);
    network.nowMs = 1001;
    expect(network.sendAndForget(1, 0)).toEqual([0, 2]);
  });

  it('forgets what was at a port that is gone, and does not send there', () => {
    const network = new Network([{}, {}, {}]);
    network.sendAndForget(0, BROADCAST);
    network.stations[0].port.close();
    expect(network.net.addressCount).toBe(0);
    expect(network.sendAndForget(1, 0)).toEqual([2]);
    expect([network.net.ports.size, network.stations[0].port.linkUp]).toEqual([2, false]);
  });

  it('passes unfinished work on as it is', () => {
    const network = new Network([{}, {}]);
    const { whole } = offloaded({ payload: payloadOf(9000) }, 1400);
    const work = { needsChecksum: true, csumStart: 34, csumOffset: 16, gsoType: 1, gsoSize: 1400, ecn: true };
    network.stations[0].port.send(frameOf(whole.bytes, work));
    expect(network.stations[1].card.frames).toEqual([
      { bytes: whole.bytes, work: { ...work, checksumValid: false } },
    ]);
  });
});

describe('a port that sends from many addresses', () => {
  it('has room for so many, and takes nobody else’s', () => {
    const network = new Network([{}, {}, {}], { addressesPerPort: 8 });
    network.sendAndForget(1, BROADCAST);
    for (let i = 0; i < 1000; i++) {
      network.sendAndForget(0, 1, {
        source: `52:54:00:01:${(i >> 8).toString(16)}:${(i & 255).toString(16)}`,
      });
    }
    expect(network.net.addressCount).toBe(9);
    expect(network.sendAndForget(2, 1)).toEqual([1]);
  });

  it('gets the room of those that were not heard for long', () => {
    const network = new Network([{}, {}, {}], { addressesPerPort: 2, ageMs: 5000 });
    for (const n of [10, 11, 12]) network.sendAndForget(0, BROADCAST, { source: station(n) });
    expect(network.sendAndForget(1, 12)).toEqual([0, 2]);
    network.nowMs = 6000;
    network.sendAndForget(0, BROADCAST, { source: station(12) });
    expect(network.sendAndForget(1, 12)).toEqual([0]);
  });
});

describe('a VLAN', () => {
  it('keeps its frames among its ports', () => {
    const network = new Network([{ vlan: 5 }, { vlan: 5 }, { vlan: 6 }, {}]);
    expect(network.sendAndForget(0, BROADCAST)).toEqual([1]);
    expect(network.sendAndForget(3, BROADCAST)).toEqual([]);
  });

  it('has a table of its own: an address may be at one port here and another there', () => {
    const network = new Network([{ vlan: 5 }, { vlan: 6 }, { trunk: [5, 6] }, { trunk: [5, 6] }]);
    network.sendAndForget(0, BROADCAST, { source: station(9) });
    network.sendAndForget(1, BROADCAST, { source: station(9) });
    expect(network.sendAndForget(2, 9, { tags: [5] })).toEqual([0]);
    expect(network.sendAndForget(2, 9, { tags: [6] })).toEqual([1]);
  });

  it('gives frames a tag on trunks, and takes it from them elsewhere', () => {
    const network = new Network([{ vlan: 5 }, { trunk: [5, 6] }, { vlan: 6 }, { vlan: 5, trunk: [6] }]);
    const plain = ethernet([BROADCAST, station(0)], 0x0800, payloadOf(60));
    const tagged = (vlan: number, source: number) =>
      ethernet([BROADCAST, station(source)], 0x0800, payloadOf(60), [vlan]);
    network.send(0, BROADCAST);
    expect(network.take()).toEqual([[], [tagged(5, 0)], [], [plain]]);
    network.send(1, BROADCAST, { tags: [6] });
    const untagged = ethernet([BROADCAST, station(1)], 0x0800, payloadOf(60));
    expect(network.take()).toEqual([[], [], [untagged], [tagged(6, 1)]]);
  });

  it('keeps a frame’s priority where its number changes hands', () => {
    const network = new Network([{ vlan: 5 }, { trunk: [5] }, { vlan: 5 }]);
    network.send(0, BROADCAST, { tags: [0xe000] });
    const [, trunk, access] = network.take();
    expect(trunk).toEqual([ethernet([BROADCAST, station(0)], 0x0800, payloadOf(60), [0xe005])]);
    expect(access).toEqual([ethernet([BROADCAST, station(0)], 0x0800, payloadOf(60))]);
  });

  it('moves a checksum’s place with the frame', () => {
    const network = new Network([{ vlan: 5 }, { trunk: [5] }, { vlan: 5 }]);
    const work = { needsChecksum: true, csumStart: 34, csumOffset: 16 };
    network.send(0, BROADCAST, { work });
    expect(network.stations[1].card.frames[0].work).toMatchObject({ csumStart: 38, csumOffset: 16 });
    network.take();
    network.send(1, BROADCAST, { tags: [5], work: { ...work, csumStart: 38 } });
    expect(network.stations[2].card.frames[0].work).toMatchObject({ csumStart: 34, csumOffset: 16 });
  });

  it('tags long frames in pieces as it does short ones in one', () => {
    const network = new Network([{ vlan: 5 }, { trunk: [5] }, { vlan: 5 }]);
    const payload = payloadOf(3000);
    const plain = ethernet([BROADCAST, station(0)], 0x0800, payload);
    network.stations[0].port.send(frameOf(plain, {}, [200, 1000]));
    const [, [tagged]] = network.take();
    expect(Buffer.compare(tagged, ethernet([BROADCAST, station(0)], 0x0800, payload, [5]))).toBe(0);
    network.stations[1].port.send(frameOf(tagged, {}, [192, 1000]));
    expect(Buffer.compare(network.take()[2][0], plain)).toBe(0);
  });

  it.each<[string, SwitchPortOptions, readonly number[]]>([
    ['a tag of another VLAN on a trunk', { trunk: [5] }, [6]],
    ['a tag on a port without a trunk', { vlan: 5 }, [5]],
    ['a frame without a tag on a trunk without a VLAN of its own', { trunk: [5] }, []],
    ['a tag of priority alone on such a trunk', { trunk: [5] }, [0]],
  ])('refuses %s', (_name, options, tags) => {
    const network = new Network([options, { trunk: [5, 6] }]);
    expect(network.send(0, BROADCAST, { tags })).toEqual([]);
    expect(network.stations[0].port.counters.refused).toBe(1);
  });

  it('refuses a provider’s tags, within which it could not see', () => {
    const network = new Network([{}, {}]);
    network.stations[0].port.send(frameOf(ethernet([BROADCAST, station(0)], 0x88a8, payloadOf(60))));
    expect(network.take()).toEqual([[], []]);
  });

  it.each([0, 4095, 1.5, -1])('has no number like %d', (vlan) => {
    expect(() => new LearningSwitch().addPort({ vlan })).toThrow(RangeError);
    expect(() => new LearningSwitch().addPort({ trunk: [vlan] })).toThrow(RangeError);
  });
});

describe('an isolated port', () => {
  it('exchanges frames with ports that are not, and with no others, known or not', () => {
    const network = new Network([{ isolated: true }, { isolated: true }, {}]);
    expect(network.sendAndForget(0, BROADCAST)).toEqual([2]);
    expect(network.sendAndForget(1, 0)).toEqual([]);
    expect(network.sendAndForget(2, 0)).toEqual([0]);
    expect(network.sendAndForget(2, BROADCAST)).toEqual([0, 1]);
  });
});

describe('a port that is locked to an address', () => {
  const locked = () => new Network([{ macLock: station(0) }, {}, {}]);

  it('cannot send from another one', () => {
    const network = locked();
    expect(network.sendAndForget(0, BROADCAST, { source: station(1) })).toEqual([]);
    expect(network.stations[0].port.counters.refused).toBe(1);
    expect(network.sendAndForget(0, BROADCAST)).toEqual([1, 2]);
  });

  it('keeps its address from others, who cannot have its frames sent to them', () => {
    const network = locked();
    network.sendAndForget(0, BROADCAST);
    expect(network.sendAndForget(1, BROADCAST, { source: station(0) })).toEqual([]);
    expect(network.sendAndForget(2, 0)).toEqual([0]);
  });

  it('frees its address when it is gone; before, no other can be locked to it', () => {
    const network = locked();
    expect(() => network.net.addPort({ macLock: station(0) })).toThrow(RangeError);
    network.stations[0].port.close();
    network.net.addPort({ macLock: station(0) });
  });

  it('and any other port cannot send from a group’s address', () => {
    const network = locked();
    expect(network.sendAndForget(1, BROADCAST, { source: MULTICAST })).toEqual([]);
    expect(network.sendAndForget(1, BROADCAST, { source: BROADCAST })).toEqual([]);
  });
});

describe('a storm', () => {
  it('is bounded at the port that it comes from, and nobody else is kept from anything', () => {
    const network = new Network([{ floodsPerSecond: 10 }, {}, {}]);
    network.sendAndForget(1, BROADCAST);
    const flood = () => Array.from({ length: 50 }, () => network.sendAndForget(0, BROADCAST).length > 0);
    expect(flood().filter(Boolean)).toHaveLength(10);
    expect(network.stations[0].port.counters.storm).toBe(40);
    expect(network.sendAndForget(0, 1)).toEqual([1]);
    expect(network.sendAndForget(2, BROADCAST)).toEqual([0, 1]);
    network.nowMs += 500;
    expect(flood().filter(Boolean)).toHaveLength(5);
    network.nowMs += 60_000;
    expect(flood().filter(Boolean)).toHaveLength(10);
  });
});
