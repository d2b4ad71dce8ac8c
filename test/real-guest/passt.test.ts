/** passt, which brings a guest's traffic to the host's sockets without root: its framing is not ours to define. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { StreamFraming } from '../../devices/net/backends/stream/framing.js';
import { StreamBackend, unixPeer } from '../../devices/net/backends/stream/stream-backend.js';
import { Reactor } from '../../host/index.js';
import { frameOf, TestPort } from '../devices/net/support/frames.js';
import { BROADCAST, concat, ethernet, mac, MAC_A, packet } from '../devices/net/support/packets.js';
import { describePasst, PASST_GATEWAY, PASST_GUEST, startPasst } from './support/passt.js';

const GUEST = bytesOf(PASST_GUEST);
const GATEWAY = bytesOf(PASST_GATEWAY);
const ARP = { type: 0x0806, request: Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 1) } as const;

function bytesOf(address: string): Uint8Array {
  return Uint8Array.from(address.split('.'), Number);
}

/** A card's backend whose peer is passt. */
async function onPasst() {
  const { path, stop } = startPasst();
  const reactor = new Reactor({
    onError: (error) => {
      throw error;
    },
  });
  reactor.start();
  const backend = new StreamBackend({
    peer: unixPeer(path),
    ...{ framing: StreamFraming.PLAIN, reactor, log: () => {} },
  });
  const port = new TestPort();
  backend.port = port;
  onTestFinished(async () => {
    backend.close();
    await stop();
    reactor.close();
  });
  const frame = async (matches: (bytes: Buffer) => boolean) => {
    for (;;) {
      const found = port.take().find((bytes) => matches(Buffer.from(bytes)));
      if (found !== undefined) return Buffer.from(found);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  while (!backend.linkUp) await new Promise((resolve) => setTimeout(resolve, 2));
  return { backend, frame };
}

describePasst('passt at the other end', () => {
  it('takes datagrams to the host’s loopback, and brings the answers', async () => {
    const { backend, frame } = await onPasst();
    const question = concat(ARP.request, mac(MAC_A), GUEST, new Uint8Array(6), GATEWAY);
    backend.send(frameOf(ethernet([BROADCAST, MAC_A], ARP.type, question)));
    const answer = await frame(
      (bytes) => bytes.readUInt16BE(12) === ARP.type && bytes.readUInt16BE(20) === 2,
    );
    const gatewayMac = answer
      .subarray(22, 28)
      .toString('hex')
      .replace(/..(?=.)/g, '$&:');

    const echo = createSocket('udp4').bind(0, '127.0.0.1');
    onTestFinished(() => void echo.close());
    await once(echo, 'listening');
    echo.on('message', (bytes, from) => echo.send(Buffer.from(bytes).reverse(), from.port, from.address));
    // Finished on the way: passt takes no frames with work left to do.
    const { bytes, transportOffset, csumOffset } = packet({
      macs: [gatewayMac, MAC_A],
      addresses: { source: GUEST, destination: GATEWAY },
      udp: true,
      tcp: { ports: [4000, echo.address().port] },
      payload: new Uint8Array(Buffer.from('hello')),
      partial: true,
    });
    backend.send(frameOf(bytes, { needsChecksum: true, csumStart: transportOffset, csumOffset }));
    const reply = await frame(
      (frame) => frame.readUInt16BE(12) === 0x0800 && frame[23] === 17 && frame.readUInt16BE(36) === 4000,
    );
    expect(reply.subarray(42, 47).toString()).toBe('olleh');
  });
});
