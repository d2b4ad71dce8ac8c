import { describe, expect, it, onTestFinished } from 'vitest';
import { StreamFraming } from '../../../../../devices/net/backends/stream/framing.js';
import { StreamConnection } from '../../../../../devices/net/backends/stream/stream-connection.js';
import { FrameFinisher } from '../../../../../devices/net/offload/finisher.js';
import { closeFd, Reactor, sendMessage, socketPair } from '../../../../../host/index.js';
import { randomFrom } from '../../../blk/support/vectors.js';
import { frameOf, TestPort } from '../../support/frames.js';
import { offloaded, packet, payloadOf } from '../../support/packets.js';
import { framed } from './stream-peer.js';
import { joined } from './joined.js';

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** One end as our processes have it, and the other as bytes are written into it. */
function rawPeer() {
  const reactor = new Reactor({
    onError: (error) => {
      throw error;
    },
  });
  reactor.start();
  const [ours, theirs] = socketPair();
  const connection = new StreamConnection({
    ...{ name: 'ours', framing: StreamFraming.WITH_HEADER, reactor, log: () => {} },
  });
  connection.adopt(ours);
  const port = new TestPort();
  connection.port = port;
  onTestFinished(() => {
    connection.close();
    reactor.close();
    closeFd(theirs);
  });
  return { theirs, port };
}

describe('a stream between processes of ours', () => {
  it('carries what is left to do to a frame, and the frame uncut', async () => {
    const { near, port } = joined();
    const { whole } = offloaded({ payload: payloadOf(60_000) }, 1400);
    const work = { needsChecksum: true, csumStart: whole.transportOffset, csumOffset: whole.csumOffset };
    near.send(frameOf(whole.bytes, { ...work, gsoType: 1, gsoSize: 1400, ecn: true }));
    near.send(frameOf(packet({ payload: payloadOf(3) }).bytes, { checksumValid: true }));
    await until(() => port.frames.length === 2);
    const [first, second] = port.frames;
    expect(first.work).toMatchObject({ ...work, gsoType: 1, gsoSize: 1400, ecn: true });
    expect(Buffer.compare(first.bytes, whole.bytes)).toBe(0);
    expect(second.work).toMatchObject({ checksumValid: true, needsChecksum: false, gsoType: 0 });
  });

  it('takes no work on trust: what does not fit its frame is skipped, and what follows is not', async () => {
    const { theirs, port } = rawPeer();
    const { bytes } = packet({ payload: payloadOf(40) });
    const header = (...values: number[]) =>
      Uint8Array.from([...values, ...new Array<number>(12)].slice(0, 12));
    const hostile = [
      // A checksum beyond the end, one in the Ethernet header, segments of no bytes, and a type that there is none of.
      header(1, 0, 0, 0, 0, 0, 0xff, 0xff, 16, 0),
      header(1, 0, 0, 0, 0, 0, 2, 0, 0, 0),
      header(1, 1, 0, 0, 0, 0, 34, 0, 16, 0),
      header(1, 77, 0, 0, 100, 0, 34, 0, 16, 0),
      header(0, 0x80),
    ];
    const stream = Buffer.concat([
      ...hostile.map((each) => framed(Buffer.concat([each, bytes]))),
      framed(header()),
      framed(Buffer.concat([header(), bytes])),
    ]);
    expect(sendMessage(theirs, stream, 0, stream.length)).toBe(stream.length);
    await until(() => port.frames.length > 0);
    expect(port.take()).toEqual([bytes]);
  });

  it('bears headers of all sorts, and passes on only what can be finished', async () => {
    const { theirs, port } = rawPeer();
    const random = randomFrom(11);
    const finisher = new FrameFinisher();
    const { bytes, transportOffset } = packet({ payload: payloadOf(3000), partial: true });
    let longest = 0;
    let taken = 0;
    port.offer = (frame) => {
      taken++;
      finisher.hand(frame, taken & 63, (part) => ((longest = Math.max(longest, part.byteLength)), true));
      return true;
    };
    const FRAMES = 1000;
    for (let i = 0; i < FRAMES; i++) {
      const right = Uint8Array.of(1, random(2), 0, 0, 0xb0, 4, transportOffset, 0, 16, 0, 0, 0);
      for (let changes = random(4); changes > 0; changes--) right[random(12)] = random(256);
      const block = framed(
        Buffer.concat([right, bytes.subarray(0, random(4) > 0 ? bytes.length : random(60))]),
      );
      while (sendMessage(theirs, block, 0, block.length) < 0)
        await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const last = framed(Buffer.concat([new Uint8Array(12), bytes]));
    const before = taken;
    while (sendMessage(theirs, last, 0, last.length) < 0)
      await new Promise((resolve) => setTimeout(resolve, 1));
    await until(() => taken > before);
    expect(taken).toBeGreaterThan(FRAMES / 10);
    expect(taken).toBeLessThan(FRAMES);
    expect(longest).toBeLessThanOrEqual(bytes.length);
  });
});
