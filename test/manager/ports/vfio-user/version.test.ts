import { describe, expect, it } from 'vitest';
import { startServer } from './harness.js';
import {
  Command,
  EINVAL,
  ERROR,
  header,
  message,
  NO_REPLY,
  pack,
  Payload,
  QEMU_CAPABILITIES,
  REPLY,
} from './raw-client.js';

interface Terms {
  major: number;
  minor: number;
  capabilities: Record<string, unknown>;
}

/** What the server answers to a proposal. */
async function propose(json: string | undefined, minor = 0): Promise<Terms> {
  const client = startServer().connect();
  const { flags, payload } = await client.request(Command.VERSION, Payload.version(0, minor, json));
  expect(flags).toBe(REPLY);
  expect(payload.at(-1)).toBe(0);
  const { capabilities } = JSON.parse(payload.toString('utf8', 4, payload.length - 1)) as Terms;
  return { major: payload.readUInt16LE(0), minor: payload.readUInt16LE(2), capabilities };
}

const proposal = (capabilities: unknown): string => JSON.stringify({ capabilities });

describe('a proposal that cannot be met is answered with EINVAL, and the connection ends', () => {
  const proposals: Record<string, Buffer> = {
    'another major version': Payload.version(1, 0),
    'a payload without version numbers': pack([2, 0]),
    'an empty payload': Buffer.alloc(0),
    'JSON without its NUL': Buffer.concat([pack([2, 0], [2, 0]), Buffer.from(QEMU_CAPABILITIES)]),
    'JSON that is cut off': Payload.version(0, 0, '{"capabilities":{'),
    'JSON that is not UTF-8': Buffer.concat([pack([2, 0], [2, 0]), Buffer.from([0x22, 0xff, 0x22, 0])]),
    'JSON with a NUL inside': Payload.version(0, 0, '{}\0{}'),
    'data that is a NUL alone': Payload.version(0, 0, ''),
    'JSON that is a number': Payload.version(0, 0, '7'),
    'JSON that is null': Payload.version(0, 0, 'null'),
    'JSON that is an array': Payload.version(0, 0, '[]'),
    'capabilities that are an array': Payload.version(0, 0, proposal([])),
    'capabilities that are null': Payload.version(0, 0, proposal(null)),
    'a limit that is a string': Payload.version(0, 0, proposal({ max_msg_fds: '16' })),
    'a limit below zero': Payload.version(0, 0, proposal({ max_data_xfer_size: -1 })),
    'a limit that is a fraction': Payload.version(0, 0, proposal({ max_dma_maps: 1.5 })),
    'a limit beyond exact numbers': Payload.version(0, 0, '{"capabilities":{"max_dma_maps":1e300}}'),
    'no page sizes': Payload.version(0, 0, proposal({ pgsizes: 0 })),
    'pages smaller than 4 KiB': Payload.version(0, 0, proposal({ pgsizes: 4096 | 512 })),
    'write_multiple that is no boolean': Payload.version(0, 0, proposal({ write_multiple: 1 })),
    'more JSON than anybody needs': Payload.version(0, 0, proposal({ padding: 'x'.repeat(5000) })),
    'nested brackets as far as they go': Payload.version(0, 0, '['.repeat(4090)),
  };

  for (const [name, payload] of Object.entries(proposals)) {
    it(name, async () => {
      const harness = startServer();
      const client = harness.connect();
      expect(await client.request(Command.VERSION, payload, { id: 77 })).toEqual({
        id: 77,
        command: Command.VERSION,
        flags: REPLY | ERROR,
        errno: EINVAL,
        payload: Buffer.alloc(0),
      });
      await client.closed();
      expect(harness.events).toHaveLength(1);
      expect(harness.events[0]).toMatch(/^log: the client proposed/);
      expect(harness.server.connected).toBe(false);
    });
  }
});

describe('before the version is agreed', () => {
  for (const command of [
    ...Object.values(Command).filter((value) => value !== Command.VERSION),
    0,
    19,
    0xffff,
  ]) {
    it(`command ${command} ends the connection`, async () => {
      const client = startServer().connect();
      expect(await client.errnoOf(command, Buffer.alloc(32))).toBe(EINVAL);
      await client.closed();
    });
  }

  it('a proposal with No_reply is answered with nothing, and a bad one still ends the connection', async () => {
    const client = startServer().connect();
    client.send(message(Command.VERSION, Payload.version(9, 9), { flags: NO_REPLY }));
    await client.closed();
    expect(client.poll()).toBe(0);
  });

  it('a reply instead of a command is an error that leaves the choice of version open', async () => {
    const client = startServer().connect();
    client.send(header(Command.VERSION, 16, { flags: REPLY }));
    expect((await client.reply()).errno).toBe(EINVAL);
    await client.negotiate();
  });
});

describe('an agreed version', () => {
  it('is 0.0 for QEMU, with its capabilities save migration', async () => {
    expect(await propose(QEMU_CAPABILITIES)).toEqual({
      major: 0,
      minor: 0,
      capabilities: {
        pgsizes: 4096,
        max_msg_fds: 16,
        max_dma_maps: 65535,
        max_data_xfer_size: 1048576,
        write_multiple: true,
      },
    });
  });

  it('is answered in no more bytes than QEMU proposed it in, which is all it has room for', async () => {
    const client = startServer().connect();
    const { payload } = await client.request(Command.VERSION, Payload.version());
    expect(payload.length).toBeLessThanOrEqual(Payload.version().length);
  });

  it('has no higher minor than proposed', async () => {
    expect((await propose(QEMU_CAPABILITIES, 2)).minor).toBe(0);
  });

  it('has only capabilities that were proposed', async () => {
    expect(
      (await propose(proposal({ max_msg_fds: 1, twin_socket: { supported: true } }))).capabilities,
    ).toEqual({
      max_msg_fds: 16,
    });
    expect((await propose('{}')).capabilities).toEqual({});
  });

  it('does not need version data', async () => {
    const client = startServer().connect();
    const { flags, payload } = await client.request(Command.VERSION, pack([2, 0], [2, 0]));
    expect(flags).toBe(REPLY);
    expect(payload.toString('latin1')).toBe('\0\0\0\0{"capabilities":{}}\0');
  });

  it('lowers limits to what the client can do', async () => {
    const { capabilities } = await propose(
      proposal({ max_dma_maps: 12, max_data_xfer_size: 4096, pgsizes: 65536, write_multiple: false }),
    );
    expect(capabilities).toEqual({
      max_dma_maps: 12,
      max_data_xfer_size: 4096,
      pgsizes: 65536,
      write_multiple: false,
    });
  });

  it('is agreed once', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    expect(await client.errnoOf(Command.VERSION, Payload.version())).toBe(EINVAL);
    expect(await client.errnoOf(Command.GET_INFO, Payload.deviceInfo())).toBe(0);
    expect(harness.events).toEqual(['connect']);
  });
});
