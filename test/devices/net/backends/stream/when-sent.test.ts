/** When frames go into the socket: an answer that somebody waits for at once, and what comes in a row together. */
import { expect, it, onTestFinished } from 'vitest';
import { StreamFraming } from '../../../../../devices/net/backends/stream/framing.js';
import { StreamConnection } from '../../../../../devices/net/backends/stream/stream-connection.js';
import { closeFd, Reactor, ReceivedFds, recvMessage, socketPair } from '../../../../../host/index.js';
import { frameOf } from '../../support/frames.js';
import { payloadOf } from '../../support/packets.js';

const PREFIX_BYTES = 4;
const NOTHING = -11;
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** A connection, and how many bytes of it have arrived since the last look. */
function connection() {
  const reactor = new Reactor({ onError: (error) => expect.fail(String(error)) });
  reactor.start();
  const [near, far] = socketPair();
  const sender = new StreamConnection({ name: 'peer', framing: StreamFraming.PLAIN, reactor, log: () => {} });
  sender.adopt(near);
  onTestFinished(() => {
    sender.close();
    closeFd(far);
    reactor.close();
  });
  const bytes = new Uint8Array(1 << 20);
  const noFds = new ReceivedFds(0);
  return {
    send: (lengthBytes: number) => sender.send(frameOf(payloadOf(lengthBytes))),
    arrived: () => recvMessage(far, bytes, 0, bytes.length, noFds),
  };
}

it('a frame that comes alone is sent before anything else happens', async () => {
  const { send, arrived } = connection();
  for (let i = 0; i < 3; i++) {
    send(60);
    expect(arrived()).toBe(PREFIX_BYTES + 60);
    await nextTurn();
    expect(arrived()).toBe(NOTHING);
  }
});

it('frames that follow in the same turn are sent together', async () => {
  const { send, arrived } = connection();
  for (let i = 0; i < 5; i++) send(60);
  expect(arrived()).toBe(PREFIX_BYTES + 60);
  await nextTurn();
  expect(arrived()).toBe(4 * (PREFIX_BYTES + 60));
});

it('a part of a stream waits for what comes with it', async () => {
  const { send, arrived } = connection();
  send(60_000);
  expect(arrived()).toBe(NOTHING);
  send(60);
  await nextTurn();
  expect(arrived()).toBe(2 * PREFIX_BYTES + 60_060);
});
