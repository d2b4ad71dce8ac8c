import { describe, expect, it } from 'vitest';
import { Harness, RecordingFunction, startServer } from './harness.js';
import { Command, CONFIG_REGION, EINVAL, message, NO_REPLY, pack, Payload, REPLY } from './raw-client.js';

describe('accesses that are refused', () => {
  const outside: Record<string, [region: number, offset: number | bigint, count: number]> = {
    'beyond a BAR': [0, 0x1000, 1],
    'across the end of a BAR': [0, 0xffe, 4],
    'far beyond a BAR': [0, 2 ** 40, 4],
    'at the highest offset': [0, 0xffffffffffffffffn, 1],
    'at an offset whose end wraps to zero': [0, 0xfffffffffffffffcn, 4],
    'of a BAR that is not there': [2, 0, 4],
    'of the upper half of a 64-bit BAR': [5, 0, 4],
    'of the ROM': [6, 0, 4],
    'of VGA': [8, 0, 1],
    'of region 9': [9, 0, 4],
    'of region 0xffffffff': [0xffffffff, 0, 4],
    'across the end of config space': [CONFIG_REGION, 4094, 4],
    'of nothing in a region that is not there': [3, 0, 0],
  };
  for (const [name, [region, offset, count]] of Object.entries(outside)) {
    it(name, async () => {
      const harness = startServer();
      const client = await harness.negotiated();
      const data = Buffer.alloc(count);
      expect(await client.errnoOf(Command.REGION_READ, Payload.regionRead(region, offset, count))).toBe(
        EINVAL,
      );
      expect(await client.errnoOf(Command.REGION_WRITE, Payload.regionWrite(region, offset, data))).toBe(
        EINVAL,
      );
      expect(harness.fn.calls).toEqual(['plugged']);
    });
  }

  it('more at once than agreed', async () => {
    const client = await startServer().negotiated();
    for (const count of [1048577, 0x7fffffff, 0xffffffff]) {
      expect(await client.errnoOf(Command.REGION_READ, Payload.regionRead(4, 0, count))).toBe(EINVAL);
    }
  });

  it('a write whose count is not the length of its data', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    for (const count of [0, 3, 5, 0xffffffff]) {
      expect(
        await client.errnoOf(Command.REGION_WRITE, Payload.regionWrite(0, 0, Buffer.alloc(4), count)),
      ).toBe(EINVAL);
    }
    expect(harness.fn.calls).toEqual(['plugged']);
  });

  it('config space of 256 bytes beyond those', async () => {
    class SmallFunction extends RecordingFunction {
      override readonly configSizeBytes = 256;
    }
    const client = await new Harness(() => new SmallFunction()).negotiated();
    expect((await client.readRegion(CONFIG_REGION, 0, 256)).length).toBe(256);
    expect(await client.errnoOf(Command.REGION_READ, Payload.regionRead(CONFIG_REGION, 256, 1))).toBe(EINVAL);
    const info = await client.request(Command.GET_REGION_INFO, Payload.regionInfo(CONFIG_REGION));
    expect(Number(info.payload.readBigUInt64LE(16))).toBe(256);
  });
});

describe('accesses', () => {
  it('are split into the widest aligned ones', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.fn.calls.length = 0;
    await client.readRegion(0, 1, 10);
    expect(harness.fn.calls).toEqual([
      'bar0 read1 1',
      'bar0 read2 2',
      'bar0 read4 4',
      'bar0 read2 8',
      'bar0 read1 10',
    ]);
    harness.fn.calls.length = 0;
    await client.writeNumber(CONFIG_REGION, 0x102, 8, 0x55443322);
    expect(harness.fn.calls.filter((call) => call.includes('write')).slice(0, 3)).toEqual([
      'config write2 258 3322',
      'config write4 260 5544',
      'config write2 264 0',
    ]);
  });

  it('of 8 bytes go low half first', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.fn.calls.length = 0;
    expect(
      await client.errnoOf(Command.REGION_WRITE, Payload.regionWrite(0, 32, pack([8, 0x1122334455667788n]))),
    ).toBe(0);
    expect(harness.fn.calls.slice(0, 2)).toEqual(['bar0 write4 32 55667788', 'bar0 write4 36 11223344']);
    expect((await client.readRegion(0, 32, 8)).readBigUInt64LE()).toBe(0x1122334455667788n);
  });

  it('are answered with their place, and reads with their data', async () => {
    const client = await startServer().negotiated();
    const write = await client.request(Command.REGION_WRITE, Payload.regionWrite(1, 6, pack([2, 0xbeef])));
    expect(write.payload).toEqual(pack([8, 6], [4, 1], [4, 2]));
    const read = await client.request(Command.REGION_READ, Payload.regionRead(1, 6, 2));
    expect(read).toMatchObject({
      flags: REPLY,
      errno: 0,
      payload: pack([8, 6], [4, 1], [4, 2], [2, 0xbeef]),
    });
  });

  it('of no bytes do nothing', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.fn.calls.length = 0;
    expect((await client.readRegion(0, 0x1000, 0)).length).toBe(0);
    expect(harness.fn.calls).toEqual([]);
  });

  it('read all of config space at once', async () => {
    const client = await startServer().negotiated();
    await client.writeNumber(CONFIG_REGION, 4092, 4, 0xdeadbeef);
    const config = await client.readRegion(CONFIG_REGION, 0, 4096);
    expect(config.readUInt32LE(4092)).toBe(0xdeadbeef);
    expect(config.subarray(0, 4092).every((byte) => byte === 0)).toBe(true);
  });

  it('are answered before the work that they ask for', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    let answered = -1;
    harness.fn.onAfterWrite = () => (answered = client.poll());
    await client.writeNumber(0, 0, 4, 1);
    await client.readNumber(0, 0, 4);
    expect(answered).toBe(16 + 16);
  });

  it('that were posted together are followed by their work once, and reads by none', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.fn.calls.length = 0;
    const write = message(Command.REGION_WRITE, Payload.regionWrite(0, 4, pack([4, 1])), { flags: NO_REPLY });
    client.send(Buffer.concat([write, write, write]));
    await client.readNumber(0, 0, 4);
    await client.readNumber(0, 0, 4);
    const reads = harness.fn.calls.filter((call) => call === 'bar0 read4 0');
    expect(reads).toHaveLength(2);
    expect(harness.fn.calls.filter((call) => call === 'afterWrite')).toHaveLength(1);
  });
});

it('more posted writes than a turn serves have their work begun in between', async () => {
  const harness = startServer();
  const client = await harness.negotiated();
  const write = message(Command.REGION_WRITE, Payload.regionWrite(0, 4, pack([4, 1])), { flags: NO_REPLY });
  client.send(Buffer.concat(new Array<Buffer>(200).fill(write)));
  await client.readNumber(0, 0, 4);
  await client.readNumber(0, 0, 4);
  expect(harness.fn.calls.filter((call) => call === 'afterWrite')).toHaveLength(Math.ceil(200 / 64));
});

describe('REGION_WRITE_MULTI', () => {
  const multi = (
    count: number | bigint,
    ...writes: (readonly [offset: number, region: number, count: number, data: number])[]
  ): Buffer =>
    Buffer.concat([
      pack([8, count]),
      ...writes.map(([offset, region, length, data]) =>
        pack([8, offset], [4, region], [4, length], [8, data]),
      ),
    ]);

  it('does its writes in order and answers how many they were', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.fn.calls.length = 0;
    const reply = await client.request(
      Command.REGION_WRITE_MULTI,
      multi(3, [0, 0, 4, 0xaabb], [8, 0, 2, 0x77], [4, 1, 8, 0x99]),
    );
    expect(reply.payload).toEqual(pack([8, 3]));
    await client.readNumber(0, 0, 1);
    expect(harness.fn.calls.slice(0, 5)).toEqual([
      'bar0 write4 0 aabb',
      'bar0 write2 8 77',
      'bar1 write4 4 99',
      'bar1 write4 8 0',
      'afterWrite',
    ]);
  });

  it('of no writes answers 0', async () => {
    const client = await startServer().negotiated();
    expect((await client.request(Command.REGION_WRITE_MULTI, multi(0))).payload).toEqual(pack([8, 0]));
  });

  const bad: Record<string, Buffer> = {
    'with fewer writes than it says': multi(2, [0, 0, 4, 1]),
    'with more writes than it says': multi(1, [0, 0, 4, 1], [0, 0, 4, 1]),
    'with a count whose size wraps': multi(0x0aaaaaaaaaaaaaabn, [0, 0, 4, 1]),
    'with a write of more than 8 bytes': multi(2, [0, 0, 4, 1], [0, 0, 9, 1]),
    'with a write outside its region': multi(2, [0, 0, 4, 1], [0x1000, 0, 4, 1]),
    'with a write to no region': multi(2, [0, 0, 4, 1], [0, 3, 4, 1]),
  };
  for (const [name, payload] of Object.entries(bad)) {
    it(`${name} is refused before its first write`, async () => {
      const harness = startServer();
      const client = await harness.negotiated();
      expect(await client.errnoOf(Command.REGION_WRITE_MULTI, payload)).toBe(EINVAL);
      expect(harness.fn.calls).toEqual(['plugged']);
    });
  }
});

describe('what the device says of itself', () => {
  it('is a PCI device that can be reset, with 9 regions and 5 kinds of interrupt', async () => {
    const client = await startServer().negotiated();
    const { payload } = await client.request(Command.GET_INFO, Payload.deviceInfo(20));
    expect(payload).toEqual(pack([4, 16], [4, 1 | 2], [4, 9], [4, 5]));
  });

  it('is a size and access of each region, and none can be mapped', async () => {
    const client = await startServer().negotiated();
    const regions: [number, number][] = [];
    for (let index = 0; index < 9; index++) {
      const { payload } = await client.request(Command.GET_REGION_INFO, Payload.regionInfo(index));
      expect(payload.length).toBe(32);
      expect([payload.readUInt32LE(0), payload.readUInt32LE(8), payload.readUInt32LE(12)]).toEqual([
        32,
        index,
        0,
      ]);
      expect(payload.readBigUInt64LE(24)).toBe(0n);
      regions.push([payload.readUInt32LE(4), Number(payload.readBigUInt64LE(16))]);
    }
    const none = [0, 0];
    expect(regions).toEqual([[3, 0x1000], [3, 0x20], none, none, [3, 0x200000], none, none, [3, 4096], none]);
  });

  it('is nothing about regions and interrupts that do not exist', async () => {
    const client = await startServer().negotiated();
    for (const index of [9, 0xffffffff]) {
      expect(await client.errnoOf(Command.GET_REGION_INFO, Payload.regionInfo(index))).toBe(EINVAL);
      expect(await client.errnoOf(Command.GET_IRQ_INFO, Payload.indexed(index))).toBe(EINVAL);
      expect(await client.errnoOf(Command.GET_REGION_IO_FDS, Payload.indexed(index))).toBe(EINVAL);
    }
    expect(await client.errnoOf(Command.GET_IRQ_INFO, Payload.indexed(5))).toBe(EINVAL);
    expect(await client.errnoOf(Command.GET_REGION_IO_FDS, Payload.indexed(2))).toBe(EINVAL);
  });

  it('is that no region has ioeventfds', async () => {
    const client = await startServer().negotiated();
    const { payload } = await client.request(Command.GET_REGION_IO_FDS, Payload.indexed(4, 512));
    expect(payload).toEqual(pack([4, 16], [4, 0], [4, 4], [4, 0]));
    expect(await client.errnoOf(Command.GET_REGION_IO_FDS, Payload.indexed(4, 16, 1))).toBe(EINVAL);
  });
});

describe('DEVICE_RESET', () => {
  it('resets the function and drops work that was asked for before', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.fn.calls.length = 0;
    const write = message(Command.REGION_WRITE, Payload.regionWrite(0, 0, pack([4, 1])), { flags: NO_REPLY });
    client.send(Buffer.concat([write, message(Command.RESET, Buffer.alloc(0), { id: 9 })]));
    expect(await client.reply()).toMatchObject({ id: 9, command: Command.RESET, flags: REPLY });
    await client.readNumber(0, 0, 4);
    expect(harness.fn.calls).toEqual(['bar0 write4 0 1', 'reset', 'bar0 read4 0']);
  });
});
