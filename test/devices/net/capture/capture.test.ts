import { describe, expect, it } from 'vitest';
import { Capture } from '../../../../devices/net/capture/capture.js';
import { CapturedBackend } from '../../../../devices/net/capture/captured-backend.js';
import { frameOf, TestBackend, TestPort } from '../support/frames.js';
import { offloaded, packet, payloadOf } from '../support/packets.js';

interface Block {
  readonly type: number;
  readonly body: Buffer;
}

/** Reads a file's blocks, each of which has to be well formed. */
function blocksOf(file: Buffer): Block[] {
  const blocks: Block[] = [];
  for (let at = 0; at < file.length;) {
    const length = file.readUInt32LE(at + 4);
    expect([length % 4, file.readUInt32LE(at + length - 4)]).toEqual([0, length]);
    blocks.push({ type: file.readUInt32LE(at), body: file.subarray(at + 8, at + length - 4) });
    at += length;
  }
  return blocks;
}

/** The file that a capture writes. */
class File {
  bytes = Buffer.alloc(0);
  readonly write = (bytes: Uint8Array) => void (this.bytes = Buffer.concat([this.bytes, bytes]));
}

const frames = [0, 1, 2, 3, 500].map((length) => packet({ payload: payloadOf(length) }).bytes);

describe('a capture', () => {
  it('starts with a section and an interface that has a name', () => {
    const file = new File();
    new Capture({ name: 'vm1/net0', write: file.write, maxBytes: 1000 });
    const [section, card] = blocksOf(file.bytes);
    expect(section.type).toBe(0x0a0d0d0a);
    expect(section.body.toString('hex')).toBe('4d3c2b1a01000000ffffffffffffffff');
    expect([card.type, card.body.readUInt16LE(0), card.body.readUInt32LE(4)]).toEqual([1, 1, 65536]);
    expect(card.body.readUInt16LE(8)).toBe(2);
    expect(card.body.toString('latin1', 12, 12 + card.body.readUInt16LE(10))).toBe('vm1/net0');
  });

  it('has each frame, with its time, its length and its direction', () => {
    const file = new File();
    const micros = 1_700_000_000_123_456;
    const capture = new Capture({ name: 'n', write: file.write, maxBytes: 1e6, now: () => micros });
    frames.forEach((bytes, i) => capture.saw(frameOf(bytes), i % 2 === 0 ? 1 : 2));
    const packets = blocksOf(file.bytes).slice(2);
    expect(packets.map(({ type }) => type)).toEqual(frames.map(() => 6));
    packets.forEach(({ body }, i) => {
      expect(body.readUInt32LE(4) * 2 ** 32 + body.readUInt32LE(8)).toBe(micros);
      expect([body.readUInt32LE(12), body.readUInt32LE(16)]).toEqual([frames[i].length, frames[i].length]);
      expect(new Uint8Array(body.subarray(20, 20 + frames[i].length))).toEqual(frames[i]);
      const options = 20 + Math.ceil(frames[i].length / 4) * 4;
      expect(body.subarray(options).toString('hex')).toBe(
        `02000400${i % 2 === 0 ? '01' : '02'}00000000000000`,
      );
    });
    expect(capture.counters).toEqual({ frames: 5, left: 0, bytes: file.bytes.length });
  });

  it('leaves out the end of frames that are longer than it is told to keep', () => {
    const file = new File();
    const capture = new Capture({ name: 'n', write: file.write, maxBytes: 1e6, snapLengthBytes: 61 });
    capture.saw(frameOf(frames[4]), 1);
    const [, , { body }] = blocksOf(file.bytes);
    expect([body.readUInt32LE(12), body.readUInt32LE(16)]).toEqual([61, frames[4].length]);
    expect(body.subarray(20 + 61, 20 + 64)).toEqual(Buffer.alloc(3));
  });

  it('has frames as a wire would carry them where it is told to', () => {
    const file = new File();
    const capture = new Capture({ name: 'n', write: file.write, maxBytes: 1e6, asOnWire: true });
    const { whole, segments } = offloaded({ payload: payloadOf(5000) }, 1400);
    const work = { needsChecksum: true, csumStart: whole.transportOffset, csumOffset: whole.csumOffset };
    capture.saw(frameOf(whole.bytes, { ...work, gsoType: 1, gsoSize: 1400 }), 2);
    capture.saw(frameOf(frames[1]), 1);
    const packets = blocksOf(file.bytes).slice(2);
    expect(packets.map(({ body }) => new Uint8Array(body.subarray(20, 20 + body.readUInt32LE(12))))).toEqual([
      ...segments,
      frames[1],
    ]);
    expect(capture.counters).toMatchObject({ frames: segments.length + 1, left: 0 });
  });

  it('never grows beyond its size, ends there, and counts what it left out', () => {
    const file = new File();
    const ends: unknown[] = [];
    const capture = new Capture({
      ...{ name: 'n', write: file.write, maxBytes: 2000 },
      onEnd: (...end) => ends.push(end),
    });
    for (let i = 0; i < 10; i++) capture.saw(frameOf(frames[i < 9 ? 4 : 0]), 1);
    expect(ends).toEqual([['full', { frames: 3, left: 0, bytes: file.bytes.length }]]);
    expect(file.bytes.length).toBeLessThanOrEqual(2000);
    expect(capture.counters).toMatchObject({ frames: 3, left: 7 });
    blocksOf(file.bytes);
  });

  it('ends where its file cannot be written, and nobody else notices', () => {
    const ends: string[] = [];
    const capture = new Capture({
      name: 'n',
      maxBytes: 1e6,
      onEnd: (reason) => ends.push(reason),
      write: (bytes) => {
        if (bytes.length > 400) throw new Error('no space');
      },
    });
    for (const at of [0, 4, 0]) capture.saw(frameOf(frames[at]), 1);
    expect(ends).toEqual(['unwritable']);
    expect(capture.counters).toMatchObject({ frames: 1, left: 2 });
  });
});

describe('a backend that is captured', () => {
  it('shows both directions, of those frames alone that went by, while a capture is under way', () => {
    const backend = new TestBackend();
    const captured = new CapturedBackend(backend);
    const port = new TestPort();
    captured.port = port;
    const directions: number[] = [];
    const note = () => {
      const capture = new Capture({ name: 'n', maxBytes: 0, write: () => {} });
      capture.saw = (_frame, direction) => void directions.push(direction);
      return capture;
    };
    captured.send(frameOf(frames[0]));
    captured.capture = note();
    captured.send(frameOf(frames[0]));
    backend.port.deliver(frameOf(frames[0]));
    backend.port.offer(frameOf(frames[0]));
    backend.room = port.room = 2;
    captured.send(frameOf(frames[0]));
    backend.port.offer(frameOf(frames[0]));
    captured.capture = undefined;
    backend.room = 9;
    captured.send(frameOf(frames[0]));
    expect(directions).toEqual([2, 1, 1]);
  });

  it('is the backend otherwise', async () => {
    const backend = new TestBackend();
    const captured = new CapturedBackend(backend);
    const port = new TestPort();
    captured.port = port;
    captured.roomForMore();
    captured.acceptsChanged(5);
    backend.linkUp = false;
    expect(captured.linkUp).toBe(false);
    backend.port.linkChanged();
    backend.port.sendable();
    await captured.close();
    expect(backend.calls).toEqual(['roomForMore', 'accepts 5', 'close']);
    expect(port.calls).toEqual(['linkChanged', 'sendable']);
  });
});
