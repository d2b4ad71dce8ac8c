import { describe, expect, it } from 'vitest';
import { VirtioNet } from '../../../devices/net/virtio-net.js';
import { EchoDevice, Harness } from '../../manager/ports/vhost-user/harness.js';
import { ProtocolFeature, Request } from '../../manager/ports/vhost-user/raw-front-end.js';
import { TestBackend } from './support/frames.js';
import { MAC_A, mac } from './support/packets.js';

describe('a card whose guest has moved here', () => {
  it('tells the network so where the VMM asks for it: a reverse ARP request (RFC 903) to all', async () => {
    const backend = new TestBackend();
    const harness = new Harness(new VirtioNet(backend, { mac: MAC_A }));
    const frontEnd = await harness.connect().negotiate();
    await frontEnd.set(Request.SEND_RARP, Buffer.from([...mac(MAC_A), 0, 0]));
    const address = Buffer.from(mac(MAC_A)).toString('hex');
    const arp = `0001080006040003${address}00000000${address}00000000`;
    expect(backend.sent.map(({ bytes }) => Buffer.from(bytes).toString('hex'))).toEqual([
      `ffffffffffff${address}8035${arp}`.padEnd(120, '0'),
    ]);
  });

  it('says nothing where its cable is out, and a disk is not asked', async () => {
    const backend = new TestBackend();
    const card = new VirtioNet(backend, { mac: MAC_A });
    card.setLink(false);
    const frontEnd = await new Harness(card).connect().negotiate();
    await frontEnd.set(Request.SEND_RARP, Buffer.from([...mac(MAC_A), 0, 0]));
    expect(backend.sent).toEqual([]);
    const other = new Harness(new EchoDevice());
    const offered = await other.connect().queryU64(Request.GET_PROTOCOL_FEATURES);
    expect(offered & ProtocolFeature.RARP).toBe(0n);
  });
});
