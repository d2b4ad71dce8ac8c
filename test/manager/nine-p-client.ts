/** A 9p client's queue of a device that a process serves, with its root as fid 0. */
import type { Reactor } from '../../host/index.js';
import { NOFID, NOTAG, T } from '../devices/9p/server/support/wire.js';
import { GuestRam, TestQueue } from './ports/vhost-user/harness.js';
import { Feature, memTable, RawFrontEnd, Request } from './ports/vhost-user/raw-front-end.js';

export const MSIZE = 8192;
export const Rread = 117;

/** Over vhost-user; and the front-end, which says where the queue is. */
export async function ninePClient(reactor: Reactor, socketPath: string) {
  const ram = new GuestRam('9p');
  const features = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | Feature.INDIRECT_DESC;
  const frontEnd = await new RawFrontEnd(reactor, socketPath).negotiate(features);
  await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
  const queue = new TestQueue(reactor, ram);
  await queue.start(frontEnd);
  await attachRoot(queue);
  return { frontEnd, queue, ram };
}

export async function attachRoot(queue: TestQueue): Promise<void> {
  await queue.exchange(T.version(NOTAG, MSIZE, '9P2000.L'), MSIZE);
  await queue.exchange(T.attach(1, 0, NOFID, 'root', '', 0), MSIZE);
}

/** What an open fid's file begins with, or which message was answered. */
export async function readFid(queue: TestQueue, fid: number): Promise<string> {
  const reply = await queue.exchange(T.read(1, fid, 0, 1000), MSIZE);
  return reply[4] === Rread ? reply.subarray(11).toString() : `message ${reply[4]}`;
}
