/** A kill after each step of serving a chunk, and the next process: the front-end gets one reply, and its message is done once. */
import { expect, it, onTestFinished } from 'vitest';
import {
  bytesInPipe,
  closeFd,
  createPipe,
  dropBytes,
  peekMessage,
  pourIntoSocket,
  putIntoPipe,
  ReceivedFds,
  recvMessage,
  sendMessage,
  socketPair,
} from '../../../../host/index.js';
import {
  complete,
  markChunk,
  markUnkept,
  Standing,
  standingOf,
  unmark,
} from '../../../../manager/ports/keeping/kept-mark.js';

const MESSAGE = Buffer.from('a message, of which there is one');
const NEXT = Buffer.from('the next one');
const REPLY = Buffer.from('the reply to it');

/** A front-end that has said two things, and what outlives a back-end. */
function conversation(tells: boolean) {
  const [frontEnd, socket] = socketPair();
  const pipe = createPipe();
  onTestFinished(() => [frontEnd, socket, pipe.readFd, pipe.writeFd].forEach((fd) => closeFd(fd)));
  sendMessage(frontEnd, MESSAGE, 0, MESSAGE.length);
  sendMessage(frontEnd, NEXT, 0, NEXT.length);
  let number = 7;
  /** What was done with it, in the state that counts. */
  const served: number[] = [];
  const steps = [
    () => unmark(socket),
    () => markChunk(socket, MESSAGE.length, number + 1, false),
    () => putIntoPipe(pipe, REPLY),
    () => (tells ? served.push((number += 1)) : markChunk(socket, MESSAGE.length, number, false)),
    () => dropBytes(socket, 5),
    () => dropBytes(socket, MESSAGE.length - 5),
    () => pourIntoSocket(pipe, socket, 4),
    () => pourIntoSocket(pipe, socket, REPLY.length),
  ];
  const goOn = () => {
    const standing = standingOf(socket, pipe, number);
    expect(complete(socket, pipe, standing)).toBe(0);
    if (bytesInPipe(pipe) > 0) pourIntoSocket(pipe, socket, REPLY.length);
    return standing;
  };
  return { frontEnd, socket, pipe, served, steps, goOn };
}

function heard(fd: number, take: typeof recvMessage = recvMessage): string {
  const bytes = Buffer.alloc(200);
  return bytes.toString('utf8', 0, Math.max(take(fd, bytes, 0, 200, new ReceivedFds(0)), 0));
}

for (const tells of [true, false]) {
  for (let killedAfter = 0; killedAfter <= 8; killedAfter++) {
    it(`of a message that ${tells ? 'changes something' : 'asks'}, after ${killedAfter} steps`, () => {
      const { frontEnd, socket, served, steps, goOn } = conversation(tells);
      for (const step of steps.slice(0, killedAfter)) step();
      goOn();
      const left = heard(socket, peekMessage);
      // Whatever was begun is done by now, or is to be done from the start.
      expect([MESSAGE.toString() + NEXT.toString(), NEXT.toString()]).toContain(left);
      if (left !== NEXT.toString()) for (const step of steps) step();
      expect(heard(frontEnd)).toBe(REPLY.toString());
      unmark(socket);
      expect(heard(socket)).toBe(NEXT.toString());
      expect(served).toHaveLength(tells ? 1 : 0);
    });
  }
}

it('may fall upon the next process, too, before it is through with what was begun', () => {
  for (let killedAfter = 0; killedAfter <= 8; killedAfter++) {
    const { socket, steps, goOn } = conversation(true);
    for (const step of steps.slice(0, killedAfter)) step();
    goOn();
    const left = heard(socket, peekMessage);
    goOn();
    expect(heard(socket, peekMessage)).toBe(left);
  }
});

it('leaves nobody who knows where the front-end was served without telling, or may have a descriptor', () => {
  const { socket, pipe, steps } = conversation(true);
  markUnkept(socket);
  dropBytes(socket, 5);
  expect(standingOf(socket, pipe, 7)).toBe(Standing.UNKNOWN);
  unmark(socket);
  markChunk(socket, MESSAGE.length - 5, 8, true);
  expect(standingOf(socket, pipe, 7)).toBe(Standing.UNKNOWN);
  expect(standingOf(socket, pipe, 8)).toBe(Standing.SERVED);
  steps[0]();
  expect(standingOf(socket, pipe, 7)).toBe(Standing.BEFORE);
});
