import { describe, expect, it, onTestFinished } from 'vitest';
import type { NetBackend } from '../../../../devices/net/backends/net-backend.js';
import type { Frame } from '../../../../devices/net/frame.js';
import { FrameFinisher } from '../../../../devices/net/offload/finisher.js';
import { bytesOf, frameOf, TestPort } from '../support/frames.js';
import { offloaded, packet, payloadOf } from '../support/packets.js';

/** A backend, and what is at its other end. */
export interface MadeBackend {
  readonly backend: NetBackend;
  /** The next frames that come out at the other end, finished. */
  readonly out: (count: number) => Promise<Uint8Array[]>;
  /** Sends a frame from there. */
  readonly inject: (bytes: Uint8Array) => void | Promise<void>;
}

export interface BackendTraits {
  make(): Promise<MadeBackend>;
  /** Whether frames that the card has no room for wait for it. */
  readonly keepsRefused: boolean;
}

/** A card that does not hear of what a host's kernel has to say to groups. */
export class QuietPort extends TestPort {
  override offer(frame: Frame): boolean {
    return (frame.head[frame.headOffset] & 1) !== 0 || super.offer(frame);
  }
}

const LENGTHS = [0, 1, 46, 100, 138, 139, 500, 1446];
const FRAMES = LENGTHS.map((length, i) => packet({ payload: payloadOf(length, i) }).bytes);

/** What each backend does alike, as a card sees it. */
export function netBackendSuite(name: string, traits: BackendTraits): void {
  async function made() {
    const all = await traits.make();
    const port = new QuietPort();
    all.backend.port = port;
    onTestFinished(() => all.backend.close());
    return { ...all, port };
  }
  async function received(port: TestPort, count: number): Promise<Uint8Array[]> {
    while (port.frames.length < count) await new Promise((resolve) => setTimeout(resolve, 1));
    return port.take();
  }

  describe(name, () => {
    it('has its link up once it is made', async () => {
      const { backend } = await made();
      expect(backend.linkUp).toBe(true);
    });

    it('sends frames of all lengths, whole and in their order', async () => {
      const { backend, out } = await made();
      for (let round = 0; round < 5; round++) {
        for (const bytes of FRAMES) expect(backend.send(frameOf(bytes))).toBe(true);
        expectSame(await out(FRAMES.length), FRAMES);
      }
    });

    it('receives frames of all lengths, whole and in their order', async () => {
      const { port, inject } = await made();
      for (let round = 0; round < 5; round++) {
        for (const bytes of FRAMES) await inject(bytes);
        expectSame(await received(port, FRAMES.length), FRAMES);
      }
    });

    it('sends what is unfinished so that it can be finished, by whoever does that', async () => {
      const { backend, out } = await made();
      const { whole, segments } = offloaded({ payload: payloadOf(9000), tcp: { flags: 0x18 } }, 1400);
      const work = { needsChecksum: true, csumStart: whole.transportOffset, csumOffset: whole.csumOffset };
      backend.send(frameOf(whole.bytes, { ...work, gsoType: 1, gsoSize: 1400 }, [200, 5000]));
      const udp = packet({ udp: true, payload: payloadOf(700), partial: true });
      backend.send(frameOf(udp.bytes, { ...work, csumOffset: udp.csumOffset }));
      const expected = [...segments, packet({ udp: true, payload: payloadOf(700) }).bytes];
      expectSame(await out(expected.length), expected);
    });

    it.runIf(traits.keepsRefused)('keeps what the card has no room for until it has some', async () => {
      const { backend, port, inject } = await made();
      port.room = 3;
      for (let round = 0; round < 4; round++) for (const bytes of FRAMES) await inject(bytes);
      while (port.frames.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
      await new Promise((resolve) => setTimeout(resolve, 10));
      const first = port.take();
      backend.roomForMore();
      while (port.frames.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
      port.room = Infinity;
      backend.roomForMore();
      const rest = await received(port, 4 * FRAMES.length - 3);
      const all = [...FRAMES, ...FRAMES, ...FRAMES, ...FRAMES];
      expectSame([...first, ...rest], all);
    });

    it('delivers nothing once it is closed', async () => {
      const { backend, port, inject } = await made();
      await backend.close();
      await inject(FRAMES[0]);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(port.frames).toEqual([]);
    });
  });
}

/** What a port gets, finished. */
export function finishedFrames(port: TestPort): Uint8Array[] {
  const finisher = new FrameFinisher();
  const parts: Uint8Array[] = [];
  for (const { bytes, work } of port.frames.splice(0)) {
    finisher.hand(frameOf(bytes, work), 0, (part) => parts.push(bytesOf(part)) > 0);
  }
  return parts;
}

/** The same frames, found out quickly. */
export function expectSame(frames: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  expect(frames.map(({ length }) => length)).toEqual(expected.map(({ length }) => length));
  expect(Buffer.compare(Buffer.concat(frames), Buffer.concat(expected))).toBe(0);
}
