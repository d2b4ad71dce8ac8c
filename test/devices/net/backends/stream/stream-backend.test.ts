import { describe, expect, it } from 'vitest';
import { unixPeer } from '../../../../../devices/net/backends/stream/stream-backend.js';
import { MAX_FRAME_BYTES } from '../../../../../devices/net/frame.js';
import { randomFrom } from '../../../blk/support/vectors.js';
import { frameOf, TestPort } from '../../support/frames.js';
import { offloaded, packet, payloadOf } from '../../support/packets.js';
import { framed, StreamPeer } from './stream-peer.js';

const FRAME = packet({ payload: payloadOf(100) }).bytes;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(1);
}

async function connected() {
  const { peer, backend } = await StreamPeer.backend();
  const port = new TestPort();
  backend.port = port;
  return { peer, backend, port };
}

describe('the stream', () => {
  it('may be cut anywhere', async () => {
    const { peer, port } = await connected();
    const stream = Buffer.concat([FRAME, FRAME, FRAME].map((bytes) => framed(bytes)));
    const socket = peer.sockets[0].setNoDelay(true);
    for (let at = 0; at < stream.length; at += 7) {
      socket.write(stream.subarray(at, at + 7));
      if (at % 21 === 0) await pause(0);
    }
    await until(() => port.frames.length === 3);
    expect(port.take()).toEqual([FRAME, FRAME, FRAME]);
  });

  it('carries the longest frames, many of them', async () => {
    const { peer, port } = await connected();
    const long = payloadOf(MAX_FRAME_BYTES);
    for (let i = 0; i < 20; i++) peer.send(framed(long));
    await until(() => port.frames.length === 20);
    expect(port.take().every((bytes) => Buffer.compare(bytes, long) === 0)).toBe(true);
  });

  it('has frames in it that are too short for any, which are skipped', async () => {
    const { peer, port } = await connected();
    for (const length of [0, 1, 13]) peer.send(framed(new Uint8Array(length)));
    peer.send(framed(FRAME));
    await until(() => port.frames.length === 1);
    expect(port.take()).toEqual([FRAME]);
    expect(peer.logs).toEqual([]);
  });

  it.each([MAX_FRAME_BYTES + 1, 0x7fff_ffff, 0xffff_ffff])(
    'ends where a frame of %d bytes is announced',
    async (length) => {
      const { peer, backend, port } = await connected();
      peer.send(framed(FRAME));
      peer.send(framed(FRAME, length));
      await until(() => peer.logs.length > 0);
      expect(peer.logs).toEqual([
        `PATH: the connection was lost: the peer announced a frame of ${length} bytes`,
      ]);
      expect([port.take(), port.calls, backend.linkUp]).toEqual([[FRAME], ['linkChanged'], false]);
    },
  );

  it('is taken as it comes, whatever it is, without a failure of ours', async () => {
    const random = randomFrom(7);
    const { peer, backend } = await connected();
    for (let connection = 1; connection <= 5; connection++) {
      const socket = await peer.connected(connection);
      const noise = Uint8Array.from({ length: 4000 }, (_, i) =>
        i % 9 < 2 ? 0 : random(random(3) === 0 ? 256 : 4),
      );
      socket.end(noise);
      await until(() => peer.logs.length === connection);
      backend.send(frameOf(FRAME));
      await peer.connected(connection + 1);
    }
  });
});

describe('a peer that does not read', () => {
  it('makes frames be refused, not kept without end, and gets them all in the end', async () => {
    const { peer, backend, port } = await connected();
    const socket = peer.sockets[0].pause();
    const long = packet({ payload: payloadOf(60_000) }).bytes;
    let sent = 0;
    while (backend.send(frameOf(long)) && sent < 1000) sent++;
    expect(sent).toBeGreaterThan(5);
    expect(sent).toBeLessThan(100);
    expect(port.calls).toEqual([]);
    socket.resume();
    await until(() => port.calls.includes('sendable'));
    expect(backend.send(frameOf(FRAME))).toBe(true);
    const frames = await peer.frames(sent + 1);
    expect(frames.slice(0, sent).every((bytes) => Buffer.compare(bytes, long) === 0)).toBe(true);
    expect(frames[sent]).toEqual(FRAME);
  });

  it('and takes a stream of the smallest segments, which is much longer than it was', async () => {
    const { peer, backend } = await connected();
    const { whole, segments } = offloaded({ payload: payloadOf(60_000), ipv6: true }, 48);
    const work = {
      needsChecksum: true,
      csumStart: whole.transportOffset,
      csumOffset: 16,
      gsoType: 4,
      gsoSize: 48,
    };
    expect(backend.send(frameOf(whole.bytes, work))).toBe(true);
    expect(Buffer.compare(Buffer.concat(await peer.frames(segments.length)), Buffer.concat(segments))).toBe(
      0,
    );
  });

  it('and goes away frees whoever waits', async () => {
    const { peer, backend, port } = await connected();
    peer.sockets[0].pause();
    const long = packet({ payload: payloadOf(60_000) }).bytes;
    while (backend.send(frameOf(long)));
    await peer.stop();
    await until(() => port.calls.length === 2);
    expect(port.calls).toEqual(['linkChanged', 'sendable']);
    expect(backend.send(frameOf(long))).toBe(true);
  });
});

describe('a peer that goes while the card has no room', () => {
  it('is missed at once, and what it sent is gone', async () => {
    const { peer, backend, port } = await connected();
    port.room = 0;
    // More than is read at once, so that the buffer is full to its end.
    for (let i = 0; i < 40; i++) peer.send(framed(packet({ payload: payloadOf(20_000) }).bytes));
    await pause(50);
    peer.sockets[0].destroy();
    await until(() => peer.logs.length > 0);
    expect(peer.logs[0]).toBe('PATH: the connection was lost: the peer closed it');
    port.room = Infinity;
    backend.roomForMore();
    await peer.connected(2);
    peer.send(framed(FRAME));
    await until(() => port.frames.length > 0);
    expect(port.take()).toEqual([FRAME]);
  });
});

describe('a peer that is not there', () => {
  it('cannot be at a path that no socket can have', () => {
    expect(() => unixPeer(`/${'x'.repeat(107)}`)).toThrow(RangeError);
  });

  it('is looked for until it comes, and again when it has gone', async () => {
    const peer = new StreamPeer();
    const backend = peer.connect();
    const port = new TestPort();
    backend.port = port;
    expect([backend.linkUp, backend.send(frameOf(FRAME))]).toEqual([false, true]);
    await pause(250);
    expect(peer.logs.splice(0)).toEqual(['connect PATH: no such file or directory; it is tried again']);
    await peer.listen();
    await peer.connected(1);
    expect(port.calls).toEqual(['linkChanged']);
    await peer.stop();
    await until(() => !backend.linkUp);
    expect(peer.logs.splice(0)).toEqual(['PATH: the connection was lost: the peer closed it']);
    await peer.listen();
    await peer.connected(2);
    expect(port.calls).toEqual(['linkChanged', 'linkChanged', 'linkChanged']);
    peer.send(framed(FRAME));
    await until(() => port.frames.length === 1);
    backend.send(frameOf(FRAME));
    expect(await peer.frames(1)).toEqual([FRAME]);
  });

  it('leaves nothing of a frame that it got in part to the next one', async () => {
    const { peer, port } = await connected();
    peer.sockets[0].end(framed(FRAME).slice(0, 50));
    await peer.connected(2);
    peer.send(framed(FRAME));
    await until(() => port.frames.length === 1);
    expect(port.take()).toEqual([FRAME]);
  });
});
