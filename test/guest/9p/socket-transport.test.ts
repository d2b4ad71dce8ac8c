import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { Client9p } from '../../../guest/9p/client.js';
import { SocketTransport9p, type ByteStream } from '../../../guest/9p/socket-transport.js';
import { hex } from './scripted-transport.js';

const RVERSION = hex('15000000 65 ffff 00200000 0800 3950323030302e4c');

/** A stream whose other side is the test. */
class ScriptedStream extends EventEmitter implements ByteStream {
  readonly written: Uint8Array[] = [];
  readonly sent: (() => void)[] = [];
  destroyed = false;

  write(bytes: Uint8Array, sent: () => void): void {
    this.written.push(bytes);
    this.sent.push(sent);
  }

  destroy(): void {
    this.destroyed = true;
  }

  give(bytes: Uint8Array): void {
    this.emit('data', bytes);
  }
}

/** A client with a version agreed on. */
async function connected(): Promise<{
  stream: ScriptedStream;
  client: Client9p;
  transport: SocketTransport9p;
}> {
  const stream = new ScriptedStream();
  const transport = new SocketTransport9p(stream, 8192);
  const client = new Client9p(transport);
  const version = client.version(8192);
  stream.give(RVERSION);
  expect(await version).toBe(8192);
  stream.sent.forEach((sent) => sent());
  return { stream, client, transport };
}

/** Rclunk with a tag. */
function rclunk(tag: number): Uint8Array {
  return Uint8Array.of(7, 0, 0, 0, 121, tag, 0);
}

describe('9p over a stream', () => {
  it('takes replies in pieces of any size, several in one, and in any order', async () => {
    const { stream, client } = await connected();
    const all = Uint8Array.of(...rclunk(2), ...rclunk(0), ...rclunk(1));
    for (let piece = 1; piece <= all.length; piece++) {
      const clunks = [10, 11, 12].map((fid) => client.clunk(fid));
      expect(
        stream.written
          .slice(-3)
          .map((bytes) => bytes[5])
          .sort(),
      ).toEqual([0, 1, 2]);
      for (let at = 0; at < all.length; at += piece) stream.give(all.subarray(at, at + piece));
      await Promise.all(clunks);
    }
  });

  it.each([
    ['with a tag that is not out', rclunk(9)],
    ['longer than was asked for', hex('00100000 79 0000')],
    ['shorter than a header', hex('06000000 79 0000')],
  ])('ends at a reply %s', async (_, bytes) => {
    const { stream, client } = await connected();
    const clunk = client.clunk(10);
    stream.give(bytes);
    await expect(clunk).rejects.toMatchObject({ code: 'EIO' });
    expect(stream.destroyed).toBe(true);
    await expect(client.clunk(11)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('rejects what is under way, and all that follows, once the stream ends', async () => {
    const { stream, client } = await connected();
    const clunk = client.clunk(10);
    stream.give(rclunk(0).subarray(0, 5));
    stream.emit('end');
    await expect(clunk).rejects.toMatchObject({ code: 'ENOTCONN' });
    await expect(client.clunk(11)).rejects.toMatchObject({ code: 'ENOTCONN' });
  });

  it('does not use the bytes of a request again before the stream has let them go', async () => {
    const { stream, client } = await connected();
    const first = client.clunk(0x1234);
    stream.give(rclunk(0));
    await first;
    const request = stream.written[1];
    const before = Uint8Array.from(request);
    const second = client.clunk(0x5678);
    expect(request).toEqual(before);
    stream.give(rclunk(0));
    await second;
  });

  it('closes, and rejects what is under way with EIO', async () => {
    const { stream, client, transport } = await connected();
    const clunk = client.clunk(10);
    await transport.close();
    await expect(clunk).rejects.toMatchObject({ code: 'EIO' });
    expect(stream.destroyed).toBe(true);
  });
});
