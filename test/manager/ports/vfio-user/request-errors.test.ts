import { describe, expect, it } from 'vitest';
import { eventfd, openDescriptors, startServer } from './harness.js';
import {
  Command,
  EINVAL,
  EOPNOTSUPP,
  ERROR,
  header,
  message,
  NO_REPLY,
  pack,
  Payload,
  type RawClient,
  REPLY,
} from './raw-client.js';

async function expectAlive(client: RawClient): Promise<void> {
  expect(await client.errnoOf(Command.GET_INFO, Payload.deviceInfo())).toBe(0);
}

describe('a header whose size no message can have is answered with EINVAL, and the connection ends', () => {
  for (const size of [0, 1, 15, 16 + 16 + 1048576 + 1, 0x7fffffff, 0xffffffff]) {
    it(`${size} bytes`, async () => {
      const harness = startServer();
      const client = await harness.negotiated();
      client.send(header(Command.SET_IRQS, size, { id: 0xbad1 }));
      expect(await client.reply()).toMatchObject({ id: 0xbad1, flags: REPLY | ERROR, errno: EINVAL });
      await client.closed();
      await harness.eventCount(2);
      expect(harness.events).toEqual(['connect', 'disconnect: the client sent a message of impossible size']);
    });
  }

  it('even before the version is agreed, and without a word where No_reply is set', async () => {
    const client = startServer().connect();
    client.send(header(Command.VERSION, 3, { flags: NO_REPLY }));
    await client.closed();
    expect(client.poll()).toBe(0);
  });
});

describe('a well delimited message that is wrong is answered with an error, and the connection goes on', () => {
  it('an unsolicited reply', async () => {
    const client = await startServer().negotiated();
    client.send(header(Command.DMA_READ, 16, { flags: REPLY, id: 0xbad2 }));
    expect(await client.reply()).toMatchObject({ id: 0xbad2, flags: REPLY | ERROR, errno: EINVAL });
    await expectAlive(client);
  });

  for (const flags of [2, 0xf, ERROR, 0x40, 0x80000000]) {
    it(`a command with flags 0x${flags.toString(16)}`, async () => {
      const client = await startServer().negotiated();
      expect(await client.errnoOf(Command.GET_INFO, Payload.deviceInfo(), { flags })).toBe(EINVAL);
      await expectAlive(client);
    });
  }

  for (const command of [0, 19, 0xffff, Command.DMA_READ, Command.DMA_WRITE]) {
    it(`command ${command}, which no client has`, async () => {
      const client = await startServer().negotiated();
      expect(await client.errnoOf(command, Buffer.alloc(64))).toBe(EINVAL);
      await expectAlive(client);
    });
  }

  for (const command of [
    Command.DIRTY_PAGES,
    Command.FEATURE,
    Command.MIG_DATA_READ,
    Command.MIG_DATA_WRITE,
  ]) {
    it(`command ${command}, which is not supported`, async () => {
      const client = await startServer().negotiated();
      expect(await client.errnoOf(command, Buffer.alloc(64))).toBe(EOPNOTSUPP);
      await expectAlive(client);
    });
  }

  const fixedParts: Record<string, [number, Buffer]> = {
    DMA_MAP: [Command.DMA_MAP, Payload.dmaMap(0, 4096)],
    DMA_UNMAP: [Command.DMA_UNMAP, Payload.dmaUnmap(0, 4096)],
    GET_INFO: [Command.GET_INFO, Payload.deviceInfo()],
    GET_REGION_INFO: [Command.GET_REGION_INFO, Payload.regionInfo(0)],
    GET_REGION_IO_FDS: [Command.GET_REGION_IO_FDS, Payload.indexed(0)],
    GET_IRQ_INFO: [Command.GET_IRQ_INFO, Payload.indexed(0)],
    SET_IRQS: [Command.SET_IRQS, Payload.setIrqs(1 | 32, 0, 0, 0)],
    REGION_READ: [Command.REGION_READ, Payload.regionRead(7, 0, 4)],
    REGION_WRITE: [Command.REGION_WRITE, Payload.regionWrite(7, 0, pack([4, 0]))],
    REGION_WRITE_MULTI: [Command.REGION_WRITE_MULTI, pack([8, 1], [8, 0], [4, 7], [4, 4], [8, 0])],
  };
  for (const [name, [command, payload]] of Object.entries(fixedParts)) {
    it(`${name} with any shorter payload than its fixed part`, async () => {
      const client = await startServer().negotiated();
      for (let length = 0; length < payload.length; length++) {
        expect(await client.errnoOf(command, payload.subarray(0, length)), `${length} bytes`).toBe(EINVAL);
      }
      await expectAlive(client);
    });
  }

  for (const name of [
    'DMA_MAP',
    'DMA_UNMAP',
    'GET_INFO',
    'GET_REGION_INFO',
    'GET_REGION_IO_FDS',
    'GET_IRQ_INFO',
    'SET_IRQS',
  ]) {
    it(`${name} with an argsz below its fixed part`, async () => {
      const client = await startServer().negotiated();
      const [command, payload] = fixedParts[name];
      const lying = Buffer.concat([pack([4, payload.length - 1]), payload.subarray(4)]);
      expect(await client.errnoOf(command, lying)).toBe(EINVAL);
    });
  }

  it('descriptors with a command that takes none, which are closed', async () => {
    const client = await startServer().negotiated();
    const fds = [eventfd(), eventfd()];
    const before = openDescriptors();
    for (const [command, payload] of [
      fixedParts.GET_INFO,
      fixedParts.REGION_READ,
      fixedParts.REGION_WRITE,
      [19, Buffer.alloc(0)],
    ] as const) {
      expect(await client.errnoOf(command, payload, { fds })).toBe(EINVAL);
    }
    expect(openDescriptors()).toBe(before);
    await expectAlive(client);
  });

  it('more descriptors than agreed, up to all that Linux passes, which are closed', async () => {
    const client = await startServer().negotiated();
    const fd = eventfd();
    const before = openDescriptors();
    for (const count of [17, 253]) {
      const payload = Payload.setIrqs(4 | 32, 2, 0, 17);
      expect(
        await client.errnoOf(Command.SET_IRQS, payload, { fds: new Array<number>(count).fill(fd) }),
      ).toBe(EINVAL);
    }
    expect(openDescriptors()).toBe(before);
    await expectAlive(client);
  });
});

describe('No_reply', () => {
  it('keeps back errors and successes alike, and order is kept', async () => {
    const client = await startServer().negotiated();
    client.send(message(Command.GET_INFO, Payload.deviceInfo(), { flags: NO_REPLY }));
    client.send(message(999, Buffer.alloc(4), { flags: NO_REPLY }));
    client.send(
      message(Command.REGION_WRITE, Payload.regionWrite(0, 8, pack([4, 0x1234])), { flags: NO_REPLY }),
    );
    expect(await client.readNumber(0, 8, 4)).toBe(0x1234);
  });
});

describe('a function that throws', () => {
  it('costs its request an EIO and the log a line', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.fn.onWriteBar = () => {
      throw new Error('a bug');
    };
    expect(await client.errnoOf(Command.REGION_WRITE, Payload.regionWrite(0, 0, pack([4, 1])))).toBe(5);
    await harness.eventCount(2);
    expect(harness.events[1]).toMatch(/^log: vfio-user command 10 failed: Error: a bug/);
    await expectAlive(client);
  });

  it('after the reply costs the log a line', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.fn.onAfterWrite = () => {
      throw new Error('a bug');
    };
    await client.writeNumber(0, 0, 4, 1);
    await harness.eventCount(2);
    expect(harness.events[1]).toMatch(/^log: work after a message failed: Error: a bug/);
    await expectAlive(client);
  });
});

describe('counters', () => {
  it('count messages and errors, with or without a reply', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    await client.errnoOf(999);
    client.send(message(999, Buffer.alloc(0), { flags: NO_REPLY }));
    await expectAlive(client);
    expect(harness.server.counters).toMatchObject({ messages: 4, errors: 2 });
  });
});
