import { describe, expect, it } from 'vitest';
import { socketPair, sendMessage } from '../../../../host/index.js';
import { MessageReader, Received } from '../../../../manager/ports/vfio-user/framing.js';
import { eventfd, memoryFile, openDescriptors, owned, startServer } from './harness.js';
import { Command, message, pack, Payload } from './raw-client.js';

const ENOTSOCK = 88;

const getInfo = (id: number): Buffer => message(Command.GET_INFO, Payload.deviceInfo(), { id });
const reset = (id: number): Buffer => message(Command.RESET, Buffer.alloc(0), { id });

describe('a stream', () => {
  it('that comes byte by byte is put together', async () => {
    const client = await startServer().negotiated();
    for (const byte of getInfo(5)) {
      client.send(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await client.reply()).id).toBe(5);
  });

  it('cut anywhere into two pieces gives the same replies', async () => {
    const client = await startServer().negotiated();
    const stream = Buffer.concat([
      reset(1),
      getInfo(2),
      message(Command.REGION_WRITE, Payload.regionWrite(0, 0, pack([4, 7])), { id: 3 }),
      reset(4),
    ]);
    for (let cut = 1; cut < stream.length; cut++) {
      client.send(stream.subarray(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      client.send(stream.subarray(cut));
      for (const id of [1, 2, 3, 4]) expect((await client.reply()).id, `cut at ${cut}`).toBe(id);
    }
  });

  it('of many messages at once is answered in order, beyond what one turn serves', async () => {
    const client = await startServer().negotiated();
    const messages = Array.from({ length: 500 }, (_, id) => (id % 3 === 0 ? getInfo(id) : reset(id)));
    client.send(Buffer.concat(messages));
    for (let id = 0; id < messages.length; id++) expect((await client.reply()).id).toBe(id);
  });

  it('may carry the largest message between small ones', async () => {
    const client = await startServer().negotiated();
    const data = Buffer.alloc(1048576, 0x5a);
    const write = client.sendLarge(
      Buffer.concat([
        reset(1),
        message(Command.REGION_WRITE, Payload.regionWrite(4, 4096, data), { id: 2 }),
        getInfo(3),
      ]),
    );
    for (const id of [1, 2, 3]) expect(await client.reply()).toMatchObject({ id, errno: 0 });
    await write;
    expect((await client.readRegion(4, 4096, 1048576)).equals(data)).toBe(true);
    expect(await client.readNumber(4, 4092, 4)).toBe(0);
  });

  it('whose client does not read replies is held up and loses nothing', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.reactor.modify(client.fd, 0);
    const read = (id: number): Buffer =>
      message(Command.REGION_READ, Payload.regionRead(4, 0, 262144), { id });
    client.send(Buffer.concat(Array.from({ length: 40 }, (_, id) => read(id))));
    // Two messages of version exchange aside, no more is served than fits into the socket.
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(harness.server.counters.messages).toBeLessThan(20);
    harness.reactor.modify(client.fd, 1);
    for (let id = 0; id < 40; id++) {
      const reply = await client.reply();
      expect([reply.id, reply.payload.length]).toEqual([id, 16 + 262144]);
    }
    await client.errnoOf(Command.GET_INFO, Payload.deviceInfo());
  });

  it('that ends while a reply is stuck releases the connection', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.reactor.modify(client.fd, 0);
    client.send(message(Command.REGION_READ, Payload.regionRead(4, 0, 1048576)));
    while (harness.server.counters.messages < 2) await new Promise((resolve) => setImmediate(resolve));
    await harness.disconnect(client);
    expect(harness.events[1]).toMatch(/^disconnect: /);
    expect(harness.server.connected).toBe(false);
  });
});

describe('descriptors', () => {
  /** What a reader on a fresh socket makes of sends of bytes with descriptors: per message its command and number of descriptors. */
  function read(
    sends: readonly (readonly [bytes: Uint8Array, fdCount: number])[],
  ): (readonly [number, number])[] {
    const [client, server] = socketPair().map(owned);
    const event = eventfd();
    const reader = new MessageReader(server);
    for (const [bytes, fdCount] of sends)
      sendMessage(client, bytes, 0, bytes.length, new Array<number>(fdCount).fill(event));
    const messages: (readonly [number, number])[] = [];
    while (reader.next(true) === Received.MESSAGE) {
      messages.push([reader.command, reader.fds.count]);
      reader.finish();
    }
    reader.close();
    return messages;
  }
  const map = message(Command.DMA_MAP, Payload.dmaMap(0, 4096));
  const irqs = message(Command.SET_IRQS, Payload.setIrqs(4 | 32, 2, 0, 3));
  const bare = reset(1);

  it('stay with the message they were sent with, whatever was sent before and after', () => {
    const kinds = [
      [map, 1],
      [irqs, 3],
      [bare, 0],
      [map, 0],
      [getInfo(1), 0],
    ] as const;
    for (const first of kinds) {
      for (const second of kinds) {
        for (const third of kinds) {
          const sends = [first, second, third];
          expect(read(sends)).toEqual(sends.map(([bytes, count]) => [bytes.readUInt16LE(2), count]));
        }
      }
    }
  });

  it('stay with their message when it comes in pieces', () => {
    for (let cut = 1; cut < map.length; cut++) {
      expect(
        read([
          [bare, 0],
          [map.subarray(0, cut), 1],
          [map.subarray(cut), 0],
          [map, 0],
        ]),
      ).toEqual([
        [Command.RESET, 0],
        [Command.DMA_MAP, 1],
        [Command.DMA_MAP, 0],
      ]);
    }
  });

  it('of several messages in one send are the first one’s, whose bytes they came with', () => {
    expect(read([[Buffer.concat([map, map, bare]), 1]])).toEqual([
      [Command.DMA_MAP, 1],
      [Command.DMA_MAP, 0],
      [Command.RESET, 0],
    ]);
    expect(
      read([
        [bare, 0],
        [Buffer.concat([irqs, map]), 3],
      ]),
    ).toEqual([
      [Command.RESET, 0],
      [Command.SET_IRQS, 3],
      [Command.DMA_MAP, 0],
    ]);
  });

  it('that come with a later piece are the same message’s', () => {
    expect(
      read([
        [map.subarray(0, 20), 1],
        [map.subarray(20), 2],
        [bare, 0],
      ]),
    ).toEqual([
      [Command.DMA_MAP, 3],
      [Command.RESET, 0],
    ]);
  });

  it('of an unfinished message are closed with the reader', () => {
    const [client, server] = socketPair().map(owned);
    const event = eventfd();
    const before = openDescriptors();
    const reader = new MessageReader(server);
    sendMessage(client, map, 0, 30, [event, event]);
    expect(reader.next(true)).toBe(Received.NOTHING);
    expect(openDescriptors()).toBe(before + 2);
    reader.close();
    expect(openDescriptors()).toBe(before);
  });

  it('of a message that nobody finished are closed with the reader, and so are those of the next', () => {
    const [client, server] = socketPair().map(owned);
    const event = eventfd();
    const before = openDescriptors();
    const reader = new MessageReader(server);
    sendMessage(client, bare, 0, 16);
    sendMessage(client, map, 0, map.length, [event]);
    expect(reader.next(true)).toBe(Received.MESSAGE);
    expect([reader.command, reader.fds.count]).toEqual([Command.RESET, 0]);
    expect(openDescriptors()).toBe(before + 1);
    reader.close();
    expect(openDescriptors()).toBe(before);
  });

  it('are attributed rightly in a burst of maps with and without memory, as QEMU sends it', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const file = memoryFile('burst', 64 * 4096);
    for (let i = 0; i < 64; i++) {
      const hasMemory = i % 3 !== 1;
      client.send(
        message(Command.DMA_MAP, Payload.dmaMap(i * 4096, 4096, hasMemory ? i * 4096 : 0), { id: i }),
        hasMemory ? [file] : [],
      );
    }
    for (let i = 0; i < 64; i++) expect(await client.reply()).toMatchObject({ id: i, errno: 0 });
    for (let i = 0; i < 64; i++) {
      expect(harness.memory.ringWindow(i * 4096, 4096) !== undefined, `map ${i}`).toBe(i % 3 !== 1);
    }
  });
});

describe('a failing socket', () => {
  it('is told apart from one that has nothing', () => {
    const file = memoryFile('not-a-socket', 4096);
    const reader = new MessageReader(file);
    expect(reader.next(true)).toBe(Received.FAILED);
    expect(reader.errno).toBe(-ENOTSOCK);
  });
});
