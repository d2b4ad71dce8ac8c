/** TAP devices, two on one bridge of the kernel's, in a network namespace of the test's own. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { ALL_OFFLOADS } from '../../../../../devices/net/frame.js';
import { TapBackend } from '../../../../../devices/net/backends/tap/tap-backend.js';
import { HostError, openTap, Reactor } from '../../../../../host/index.js';
import type { TestPort } from '../../support/frames.js';
import { frameOf } from '../../support/frames.js';
import { offloaded, packet, payloadOf } from '../../support/packets.js';
import { expectSame, finishedFrames, netBackendSuite, QuietPort } from '../backend-suite.js';
import { enterNetworkNamespace, ip } from './namespace.js';

const problem = enterNetworkNamespace();
let count = 0;

/** Two TAP devices, bridged: what is sent by one comes in at the other. */
async function pair(reactor: Reactor, names = [`tap${count++}`, `tap${count++}`]) {
  const [near, far] = names.map((name) => new TapBackend({ name, reactor }));
  for (const name of names) {
    // The kernel's own announcements would come in between.
    ip('link', 'set', name, 'addrgenmode', 'none');
    ip('link', 'set', name, 'master', 'br0', 'up');
  }
  const port = new QuietPort();
  far.port = port;
  onTestFinished(() => {
    near.close();
    far.close();
  });
  // A port of a bridge takes a moment to come up.
  const probe = frameOf(packet({ payload: payloadOf(5) }).bytes);
  while (port.frames.length === 0) {
    near.send(probe);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
  port.frames.length = 0;
  return { near, far, port, names };
}

describe.skipIf(problem !== undefined)(
  `TAP devices${problem === undefined ? '' : ` (skipped: ${problem})`}`,
  () => {
    let reactor: Reactor;
    beforeAll(() => {
      ip('link', 'set', 'br0', 'addrgenmode', 'none');
      reactor = new Reactor({
        onError: (error) => {
          throw error;
        },
      });
      reactor.start();
    });
    afterAll(() => reactor.close());

    async function arrived(port: TestPort, frames: number): Promise<Uint8Array[]> {
      const all: Uint8Array[] = [];
      while (all.length < frames) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        all.push(...finishedFrames(port));
      }
      return all;
    }

    netBackendSuite('at a TAP device', {
      make: async () => {
        const { near, far, port } = await pair(reactor);
        return {
          backend: near,
          out: (frames) => arrived(port, frames),
          inject: (bytes) => void far.send(frameOf(bytes)),
        };
      },
      keepsRefused: true,
    });

    const { whole, segments } = offloaded({ payload: payloadOf(9000), tcp: { flags: 0x18 } }, 1400);
    const work = { needsChecksum: true, csumStart: whole.transportOffset, csumOffset: whole.csumOffset };
    const stream = () => frameOf(whole.bytes, { ...work, gsoType: 1, gsoSize: 1400 });

    it('get what the card does not take unfinished finished by the kernel, as it would be here', async () => {
      const { near, far, port } = await pair(reactor);
      far.acceptsChanged(0);
      near.send(stream());
      while (port.frames.length < segments.length) await new Promise((resolve) => setTimeout(resolve, 1));
      expectSame(port.take(), segments);
    });

    it('get it unfinished where the card takes it', async () => {
      const { near, far, port } = await pair(reactor);
      far.acceptsChanged(ALL_OFFLOADS);
      near.send(stream());
      while (port.frames.length < 1) await new Promise((resolve) => setTimeout(resolve, 1));
      const [{ bytes, work: left }] = port.frames;
      expect(Buffer.compare(bytes, whole.bytes)).toBe(0);
      expect(left).toMatchObject({ ...work, gsoType: 1, gsoSize: 1400 });
    });

    it('lose frames, counted, while they are down', async () => {
      const { near, names } = await pair(reactor);
      ip('link', 'set', names[0], 'down');
      expect(near.send(frameOf(packet({ payload: payloadOf(5) }).bytes))).toBe(true);
      expect(near.failedWrites).toBe(1);
    });

    it.each(['is idle', 'rests'])(
      'go down where their interface is removed while it %s, and stay quiet',
      async (how) => {
        const { near, far, port, names } = await pair(reactor);
        if (how === 'rests') {
          port.room = 0;
          near.send(frameOf(packet({ payload: payloadOf(5) }).bytes));
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        ip('link', 'del', names[1]);
        // Nobody is told of it who does not listen.
        port.room = Infinity;
        far.roomForMore();
        while (far.linkUp) await new Promise((resolve) => setTimeout(resolve, 1));
        expect(port.calls).toEqual(['linkChanged']);
        far.acceptsChanged(0);
        far.roomForMore();
        expect(far.send(stream())).toBe(true);
        far.close();
      },
    );

    it('that stay are left as they were found: who opens one next gets frames that are finished', async () => {
      const names = [`tap${count++}`, `tap${count++}`];
      for (const name of names) ip('tuntap', 'add', name, 'mode', 'tap');
      const first = new TapBackend({ name: names[1], reactor });
      first.acceptsChanged(ALL_OFFLOADS);
      first.close();
      const { near, port } = await pair(reactor, names);
      near.send(stream());
      while (port.frames.length < segments.length) await new Promise((resolve) => setTimeout(resolve, 1));
      expectSame(port.take(), segments);
    });

    it('are one’s alone, and gone once they are closed', () => {
      const first = new TapBackend({ name: 'mine', reactor });
      expect(() => new TapBackend({ name: 'mine', reactor })).toThrow(HostError);
      first.close();
      new TapBackend({ name: 'mine', reactor }).close();
    });
  },
);

describe('a TAP device’s name', () => {
  it.each(['', 'a-name-too-long1', 'with space', 'a/b', 'tap%d'])('cannot be %j', (name) => {
    expect(() => openTap(name)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});
