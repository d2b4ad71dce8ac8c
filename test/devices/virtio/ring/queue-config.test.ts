import { describe, expect, it } from 'vitest';
import { AreaAddress, QueueConfig } from '../../../../devices/virtio/ring/queue-config.js';
import { newQueueCounters } from '../../../../devices/virtio/ring/running-ring.js';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { makePackedRing, makeRing, RAM_ADDRESS, RAM_BYTES } from './fixture.js';

const silent = { interrupt: () => {}, broken: () => {}, held: () => {} };

/** Activates a copy of a sound queue with `change` done to it, and answers what is wrong with it. */
function problemAfter(change: (config: QueueConfig) => void): string | undefined {
  const { config, memory, features } = makeRing();
  change(config);
  const { ring, problem } = config.activate(memory, features, silent, newQueueCounters());
  expect(ring === undefined).toBe(problem !== undefined);
  return problem;
}

describe('a queue configuration', () => {
  it('becomes a ring when it is sound', () => {
    expect(problemAfter(() => {})).toBeUndefined();
  });

  for (const size of [0, -8, 512, 32768, 65535]) {
    it(`of size ${size}, outside what is on offer, is refused`, () => {
      expect(problemAfter((config) => (config.size = size))).toMatch(/^size -?\d+ is not within 1 to 256$/);
    });
  }

  for (const size of [3, 6, 255]) {
    it(`of size ${size}, no power of two, is refused for a split ring`, () => {
      expect(problemAfter((config) => (config.size = size))).toBe(`size ${size} is not a power of two`);
    });
  }

  for (const size of [1, 3, 100, 255]) {
    it(`of size ${size} becomes a packed ring, whose size is any`, () => {
      const { config, memory, features } = makePackedRing();
      config.size = size;
      expect(config.activate(memory, features, silent, newQueueCounters()).problem).toBeUndefined();
    });
  }

  it('of a packed ring whose event structures are not aligned to 4 bytes is refused', () => {
    for (const area of ['driverArea', 'deviceArea'] as const) {
      const { config, memory, features } = makePackedRing();
      config[area].low += 2;
      expect(config.activate(memory, features, silent, newQueueCounters()).problem).toMatch(/not aligned/);
    }
  });

  it('of a packed ring with any part outside memory is refused', () => {
    for (const area of ['descriptor', 'driver', 'device'] as const) {
      const { config, memory, features } = makePackedRing();
      config[`${area}Area`].set(RAM_ADDRESS + RAM_BYTES);
      const { problem } = config.activate(memory, features, silent, newQueueCounters());
      expect(problem).toBe(`the ${area} area is not in memory`);
    }
  });

  it('of a packed ring over memory that lies at an odd place in this process is refused, not misread', () => {
    const { config, memory, features } = makePackedRing();
    memory.clear();
    memory.addRegion(new ArrayRegion(RAM_ADDRESS, new Uint8Array(RAM_BYTES + 1).subarray(1)));
    const { problem } = config.activate(memory, features, silent, newQueueCounters());
    expect(problem).toBe('guest memory is not aligned in this process');
  });

  it.each([
    [{ nextAvail: 8, nextUsed: 0 }, 'the position to start from lies beyond the ring'],
    [{ nextAvail: 0, nextUsed: 0xffff }, 'the position to start from lies beyond the ring'],
    [
      { nextAvail: 0x8000, nextUsed: 0x8001 },
      'the position to start from has more under way than the ring holds',
    ],
  ])('of a packed ring that is to start from %o is refused', (start, expected) => {
    const { config, memory, features } = makePackedRing({ size: 8 });
    config.start = start;
    expect(config.activate(memory, features, silent, newQueueCounters()).problem).toBe(expected);
  });

  it('with areas that are not aligned is refused', () => {
    const { config } = makeRing();
    const areas = [config.descriptorArea, config.driverArea, config.deviceArea].map(({ value }) => value);
    expect(problemAfter((c) => c.descriptorArea.set(areas[0] + 8))).toMatch(/descriptor area is not aligned/);
    expect(problemAfter((c) => c.driverArea.set(areas[1] + 1))).toMatch(/driver area is not aligned/);
    expect(problemAfter((c) => c.deviceArea.set(areas[2] + 2))).toMatch(/device area is not aligned/);
  });

  it('with an area outside memory is refused', () => {
    for (const address of [0, RAM_ADDRESS - 16, RAM_ADDRESS + RAM_BYTES - 16, 2 ** 52, 2 ** 63]) {
      expect(problemAfter((c) => c.descriptorArea.set(address))).toBe('the descriptor area is not in memory');
      if (address === RAM_ADDRESS + RAM_BYTES - 16) continue;
      expect(problemAfter((c) => c.driverArea.set(address))).toBe('the driver area is not in memory');
      expect(problemAfter((c) => c.deviceArea.set(address))).toBe('the device area is not in memory');
    }
  });

  it('with a ring in memory that the device may not write is refused', () => {
    const { config, memory, features, ram } = makeRing();
    memory.clear();
    memory.addRegion(new ArrayRegion(RAM_ADDRESS, ram, { writable: false }));
    expect(config.activate(memory, features, silent, newQueueCounters()).problem).toMatch(/not in memory/);
  });

  it('over memory that lies at an odd place in this process is refused, not misread', () => {
    const { config, memory, features } = makeRing();
    memory.clear();
    memory.addRegion(new ArrayRegion(RAM_ADDRESS, new Uint8Array(RAM_BYTES + 1).subarray(1)));
    const { problem } = config.activate(memory, features, silent, newQueueCounters());
    expect(problem).toBe('guest memory is not aligned in this process');
  });

  it('forgets everything at reset', () => {
    const { config } = makeRing();
    config.enabled = true;
    config.vector = 1;
    config.reset();
    const fresh = new QueueConfig(3, 256);
    expect(config).toEqual(fresh);
  });

  it('refuses a largest size that no ring can have', () => {
    for (const size of [0, 2.5, -1, 32769, 65536]) expect(() => new QueueConfig(0, size)).toThrow(RangeError);
  });

  it('a ring stays where it was activated when the registers change', () => {
    const { config, driver, memory, page, problems, ring } = makeRing();
    config.descriptorArea.set(0);
    config.size = 1;
    memory.addRegion(new ArrayRegion(0x4000_0000, new Uint8Array(16)));
    driver.add([{ address: page(0), length: 5 }]);
    expect(ring.pop()?.readable.byteLength).toBe(5);
    expect(problems).toEqual([]);
  });
});

describe('an area address', () => {
  it('keeps both halves apart and whole', () => {
    const area = new AreaAddress();
    area.set(0xf_ffff_ffff_f000);
    expect([area.high, area.low]).toEqual([0xf_ffff, 0xffff_f000]);
    area.low = 0x1000;
    expect(area.value).toBe(0xf_ffff * 2 ** 32 + 0x1000);
  });
});
