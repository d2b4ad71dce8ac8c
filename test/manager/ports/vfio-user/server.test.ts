import { existsSync, lstatSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HostError, Reactor } from '../../../../host/index.js';
import { VfioUserServer } from '../../../../manager/ports/vfio-user/server.js';
import {
  eventfd,
  mappingsOf,
  memoryFile,
  openDescriptors,
  RecordingFunction,
  startServer,
  type Harness,
} from './harness.js';
import { Command, Irq, IrqFlag, message, pack, Payload, type RawClient } from './raw-client.js';

const PAGE = 4096;

function serverAt(path: string): VfioUserServer {
  const reactor = new Reactor({ onError: () => {} });
  onTestFinished(() => reactor.close());
  const silent = { onConnect: (): void => {}, onDisconnect: (): void => {}, log: (): void => {} };
  return new VfioUserServer({ path, reactor, createFunction: () => new RecordingFunction(), ...silent });
}

function temporaryPath(): string {
  const directory = mkdtempSync(join(tmpdir(), 'chassis-server-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return join(directory, 'socket');
}

describe('the socket', () => {
  it('whose path is too long for Linux is refused with a message that says so', () => {
    const server = serverAt(join('/tmp', 'x'.repeat(110)));
    expect(() => server.listen()).toThrow(HostError);
    expect(() => server.listen()).toThrow(/socket path of 115 bytes, Linux allows 107/);
    server.close();
  });

  it('is not made over another server, nor over something else', () => {
    const path = temporaryPath();
    const server = serverAt(path);
    server.listen();
    const other = serverAt(path);
    expect(() => other.listen()).toThrow(/in use/);
    other.close();
    expect(lstatSync(path).isSocket()).toBe(true);
    server.close();
    writeFileSync(path, '');
    expect(() => server.listen()).toThrow(/not a socket/);
    expect(lstatSync(path).isFile()).toBe(true);
  });

  it('is the owner’s alone, goes away with close, and can be made again', () => {
    const before = openDescriptors();
    const path = temporaryPath();
    const server = serverAt(path);
    const withReactor = openDescriptors();
    for (let round = 0; round < 3; round++) {
      server.listen();
      expect(lstatSync(path).mode & 0o777).toBe(0o600);
      expect(() => server.listen()).toThrow(/already listening/);
      server.close();
      server.close();
      expect(existsSync(path)).toBe(false);
      expect(openDescriptors()).toBe(withReactor);
    }
    expect(withReactor).toBe(before + 1);
  });

  it('of another server in its place is left alone by close', () => {
    const path = temporaryPath();
    const server = serverAt(path);
    server.listen();
    rmSync(path);
    const successor = serverAt(path);
    successor.listen();
    server.close();
    expect(lstatSync(path).isSocket()).toBe(true);
    successor.close();
    expect(existsSync(path)).toBe(false);
  });
});

describe('clients', () => {
  it('come one at a time: a second one is refused while one is there, and welcome after it', async () => {
    const harness = startServer();
    const first = await harness.negotiated();
    const second = harness.connect();
    await second.closed();
    expect(await first.errnoOf(Command.GET_INFO, Payload.deviceInfo())).toBe(0);
    expect(harness.events).toEqual(['connect', 'log: refused a second connection']);
    await harness.disconnect(first);
    const third = await harness.negotiated();
    expect(await third.errnoOf(Command.GET_INFO, Payload.deviceInfo())).toBe(0);
    expect(harness.events.slice(2)).toEqual(['disconnect: the client closed the connection', 'connect']);
    expect(harness.server.connected).toBe(true);
  });

  it('that never propose a version do not keep another out', async () => {
    const harness = startServer();
    const silent = harness.connect();
    silent.send(message(Command.VERSION, Payload.version()).subarray(0, 10));
    const client = await harness.negotiated();
    await silent.closed();
    expect(await client.errnoOf(Command.GET_INFO, Payload.deviceInfo())).toBe(0);
    expect(harness.events).toEqual(['log: another client came before it proposed a version', 'connect']);
  });

  it('find a function that was reset and taken out in between', async () => {
    const harness = startServer();
    await harness.disconnect(await harness.negotiated());
    expect(harness.fn.calls).toEqual(['plugged', 'unplugged', 'reset']);
    await harness.negotiated();
    expect(harness.fn.calls.slice(3)).toEqual(['plugged']);
  });

  it('are told when the server closes, and so is its owner', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.server.close();
    await client.closed();
    expect(harness.events).toEqual(['connect', 'disconnect: the server was closed']);
    expect(harness.server.connected).toBe(false);
    expect(existsSync(harness.path)).toBe(false);
  });

  it('may be cut off from within a callback', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.fn.onAfterWrite = () => harness.server.close();
    client.send(message(Command.REGION_WRITE, Payload.regionWrite(0, 0, pack([4, 1]))));
    await client.closed();
    expect((await client.reply()).errno).toBe(0);
    expect(harness.events).toEqual(['connect', 'disconnect: the server was closed']);
  });

  it('may be cut off while one of their commands is served', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const before = openDescriptors();
    harness.fn.onWriteBar = () => harness.server.close();
    client.send(message(Command.REGION_WRITE, Payload.regionWrite(0, 0, pack([4, 1]))));
    await client.closed();
    expect(harness.events).toEqual(['connect', 'disconnect: the server was closed']);
    expect(openDescriptors()).toBe(before - 2);
  });
});

/** What a VMM does with a device, one message after the other. */
function conversation(file: number, event: number): [bytes: Buffer, fds: number[]][] {
  const eventfds = IrqFlag.EVENTFD | IrqFlag.TRIGGER;
  return [
    [message(Command.VERSION, Payload.version()), []],
    [message(Command.GET_INFO, Payload.deviceInfo()), []],
    [message(Command.GET_REGION_INFO, Payload.regionInfo(7)), []],
    [message(Command.GET_IRQ_INFO, Payload.indexed(2)), []],
    [message(Command.DMA_MAP, Payload.dmaMap(0, 8 * PAGE)), [file]],
    [message(Command.DMA_MAP, Payload.dmaMap(64 * PAGE, 4 * PAGE, 8 * PAGE)), [file]],
    [message(Command.DMA_MAP, Payload.dmaMap(0xfe000000, PAGE)), []],
    [message(Command.REGION_READ, Payload.regionRead(7, 0, 256)), []],
    [message(Command.SET_IRQS, Payload.setIrqs(eventfds, Irq.INTX, 0, 1)), [event]],
    [message(Command.SET_IRQS, Payload.setIrqs(IrqFlag.EVENTFD | IrqFlag.UNMASK, Irq.INTX, 0, 1)), [event]],
    [
      message(Command.SET_IRQS, Payload.setIrqs(eventfds, Irq.MSIX, 0, 16)),
      new Array<number>(16).fill(event),
    ],
    [message(Command.SET_IRQS, Payload.setIrqs(eventfds, Irq.ERR, 0, 1)), [event]],
    [message(Command.SET_IRQS, Payload.setIrqs(eventfds, Irq.REQ, 0, 1)), [event]],
    [message(Command.REGION_WRITE, Payload.regionWrite(0, 0, pack([4, 1]))), []],
    [message(Command.DMA_UNMAP, Payload.dmaUnmap(0, 8 * PAGE)), []],
    [message(Command.RESET, Buffer.alloc(0)), []],
  ];
}

describe('a client that is gone leaves nothing behind', () => {
  const MESSAGES = 16;

  async function converse(client: RawClient, messages: readonly [Buffer, number[]][]): Promise<void> {
    for (const [bytes, fds] of messages) {
      client.send(bytes, fds);
      expect((await client.reply()).errno).toBe(0);
    }
  }

  async function leaveAfter(harness: Harness, whole: number, cut: number): Promise<void> {
    const [file, event] = [memoryFile('conversation', 64 * PAGE), eventfd()];
    const messages = conversation(file, event);
    expect(messages).toHaveLength(MESSAGES);
    const before = openDescriptors();
    const client = harness.connect();
    await converse(client, messages.slice(0, whole));
    if (cut > 0) client.send(messages[whole][0].subarray(0, cut), messages[whole][1]);
    await harness.disconnect(client);
    expect(openDescriptors()).toBe(before);
    expect(mappingsOf('conversation')).toBe(0);
    expect(harness.memory.ringWindow(64 * PAGE, PAGE)).toBeUndefined();
  }

  for (let whole = 0; whole <= MESSAGES; whole++) {
    it(`after ${whole} messages`, async () => {
      const harness = startServer();
      await leaveAfter(harness, whole, 0);
      await harness.negotiated();
    });
  }

  for (let whole = 0; whole < MESSAGES; whole++) {
    it(`in the middle of message ${whole + 1}`, async () => {
      const harness = startServer();
      for (const cut of [1, 15, 16])
        await leaveAfter(harness, whole, whole === MESSAGES - 1 ? Math.min(cut, 15) : cut);
      await harness.negotiated();
    });
  }

  it('without waiting for a single reply', async () => {
    const harness = startServer();
    const [file, event] = [memoryFile('hasty', 64 * PAGE), eventfd()];
    const before = openDescriptors();
    const client = harness.connect();
    for (const [bytes, fds] of conversation(file, event)) client.send(bytes, fds);
    client.close();
    await harness.eventCount(1);
    expect(openDescriptors()).toBe(before);
    expect(mappingsOf('hasty')).toBe(0);
  });
});
