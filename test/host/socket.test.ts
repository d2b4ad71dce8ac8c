import { fstatSync, lstatSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  acceptConnection,
  closeFd,
  connectUnix,
  Errno,
  eventfdCreate,
  eventfdDrain,
  eventfdSignal,
  listenUnix,
  MAX_SOCKET_PATH_BYTES,
  ReceivedFds,
  recvMessage,
  SCM_MAX_FD,
  sendMessage,
  socketPair,
  TOO_MANY_FDS,
} from '../../host/index.js';
import { openDescriptors, owned, temporaryDirectory } from './support.js';

const EPIPE = 32;

function connectedPair(): [number, number] {
  const [one, other] = socketPair();
  return [owned(one), owned(other)];
}

const bytes = (text: string): Uint8Array => Buffer.from(text);

describe('messages', () => {
  it('carry bytes to the given place in the buffer', () => {
    const [one, other] = connectedPair();
    const fds = new ReceivedFds(4);
    const buffer = new Uint8Array(16);
    expect(sendMessage(one, bytes('xxhelloxx'), 2, 5)).toBe(5);
    expect(recvMessage(other, buffer, 4, 12, fds)).toBe(5);
    expect(Buffer.from(buffer).toString('latin1')).toBe('\0\0\0\0hello\0\0\0\0\0\0\0');
    expect(fds.count).toBe(0);
    expect(recvMessage(other, buffer, 0, 16, fds)).toBe(-Errno.EAGAIN);
  });

  it('carry descriptors, which the receiver owns and which are close-on-exec', () => {
    const [one, other] = connectedPair();
    const fds = new ReceivedFds(2);
    const event = owned(eventfdCreate());
    expect(sendMessage(one, bytes('ab'), 0, 2, [event, one])).toBe(2);
    expect(recvMessage(other, new Uint8Array(2), 0, 2, fds)).toBe(2);
    expect(fds.count).toBe(2);
    const received = owned(fds.take(0));
    expect(received).not.toBe(event);
    eventfdSignal(received);
    expect(eventfdDrain(event)).toBe(1);
    expect(fds.take(0)).toBe(-1);
    expect(fds.take(2)).toBe(-1);
    fds.closeAll();
  });

  it('deliver descriptors with the read that takes the first byte they were sent with', () => {
    const [one, other] = connectedPair();
    const fds = new ReceivedFds(1);
    sendMessage(one, bytes('plain'), 0, 5);
    sendMessage(one, bytes('with'), 0, 4, [owned(eventfdCreate())]);
    sendMessage(one, bytes('after'), 0, 5);
    const buffer = new Uint8Array(64);
    expect([recvMessage(other, buffer, 0, 5, fds), fds.count]).toEqual([5, 0]);
    expect([recvMessage(other, buffer, 0, 1, fds), fds.count]).toEqual([1, 1]);
    expect([recvMessage(other, buffer, 0, 64, fds), fds.count]).toEqual([8, 0]);
  });

  it('end a read after the bytes that came with descriptors, but glue plain bytes before them', () => {
    const [one, other] = connectedPair();
    const fds = new ReceivedFds(1);
    const event = owned(eventfdCreate());
    sendMessage(one, bytes('plain'), 0, 5);
    sendMessage(one, bytes('first'), 0, 5, [event]);
    sendMessage(one, bytes('second'), 0, 6, [event]);
    const buffer = new Uint8Array(64);
    expect([recvMessage(other, buffer, 0, 64, fds), fds.count]).toEqual([10, 1]);
    expect([recvMessage(other, buffer, 0, 64, fds), fds.count]).toEqual([6, 1]);
    fds.closeAll();
  });

  it.each([
    [0, 1],
    [1, 2],
    [2, 3],
    [3, SCM_MAX_FD],
    [16, 17],
  ])('with room for %i descriptors, %i are refused whole and closed', (capacity, sent) => {
    const [one, other] = connectedPair();
    const fds = new ReceivedFds(capacity);
    const event = owned(eventfdCreate());
    const before = openDescriptors();
    expect(sendMessage(one, bytes('x'), 0, 1, new Array<number>(sent).fill(event))).toBe(1);
    expect(recvMessage(other, new Uint8Array(1), 0, 1, fds)).toBe(TOO_MANY_FDS);
    expect(fds.count).toBe(0);
    expect(openDescriptors()).toBe(before);
  });

  it.each([1, 2, 3, 16, SCM_MAX_FD])('%i descriptors arrive where there is just enough room', (count) => {
    const [one, other] = connectedPair();
    const fds = new ReceivedFds(count);
    const event = owned(eventfdCreate());
    const before = openDescriptors();
    expect(sendMessage(one, bytes('x'), 0, 1, new Array<number>(count).fill(event))).toBe(1);
    expect(recvMessage(other, new Uint8Array(1), 0, 1, fds)).toBe(1);
    expect([fds.count, openDescriptors()]).toEqual([count, before + count]);
    fds.closeAll();
    expect(openDescriptors()).toBe(before);
  });

  it('descriptors that nobody took are closed by the next message', () => {
    const [one, other] = connectedPair();
    const fds = new ReceivedFds(4);
    const event = owned(eventfdCreate());
    const before = openDescriptors();
    for (let i = 0; i < 20; i++) {
      sendMessage(one, bytes('x'), 0, 1, [event, event, event]);
      recvMessage(other, new Uint8Array(1), 0, 1, fds);
    }
    expect(openDescriptors()).toBe(before + 3);
    expect(recvMessage(other, new Uint8Array(1), 0, 1, fds)).toBe(-Errno.EAGAIN);
    expect(openDescriptors()).toBe(before);
  });

  it('to a peer that is gone fail with EPIPE and raise no signal; from one they end the stream', () => {
    const [one, other] = socketPair();
    owned(one);
    closeFd(other);
    expect(sendMessage(one, bytes('x'), 0, 1)).toBe(-EPIPE);
    expect(recvMessage(one, new Uint8Array(1), 0, 1, new ReceivedFds(0))).toBe(0);
  });

  it('fill a socket whose peer does not read, and then say so', () => {
    const [one] = connectedPair();
    const chunk = new Uint8Array(65536);
    let total = 0;
    let sent: number;
    while ((sent = sendMessage(one, chunk, 0, chunk.length)) > 0) total += sent;
    expect(sent).toBe(-Errno.EAGAIN);
    expect(total).toBeGreaterThan(0);
  });

  it('with a bad descriptor or too many of them are not sent at all', () => {
    const [one, other] = connectedPair();
    const fds = new ReceivedFds(1);
    expect(sendMessage(one, bytes('x'), 0, 1, [1_000_000])).toBe(-Errno.EBADF);
    expect(sendMessage(one, bytes('x'), 0, 1, new Array<number>(SCM_MAX_FD + 1).fill(one))).toBe(
      -Errno.EINVAL,
    );
    expect(recvMessage(other, new Uint8Array(1), 0, 1, fds)).toBe(-Errno.EAGAIN);
  });

  it('refuse ranges outside the buffer before the system sees them', () => {
    const [one, other] = connectedPair();
    const buffer = new Uint8Array(8);
    for (const [offset, length] of [
      [0, 9],
      [8, 1],
      [-1, 4],
      [0, 0],
      [NaN, 1],
    ]) {
      expect(() => sendMessage(one, buffer, offset, length)).toThrow(RangeError);
      expect(() => recvMessage(other, buffer, offset, length, new ReceivedFds(0))).toThrow(RangeError);
    }
    expect(() => new ReceivedFds(SCM_MAX_FD + 1)).toThrow(RangeError);
  });
});

describe('listenUnix and connectUnix', () => {
  it('connect two ends through a socket file that only its owner may use', () => {
    const path = join(temporaryDirectory(), 'socket');
    const listener = owned(listenUnix(path));
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    expect(acceptConnection(listener)).toBe(-Errno.EAGAIN);
    const client = owned(connectUnix(path));
    const server = owned(acceptConnection(listener));
    expect(sendMessage(client, bytes('hi'), 0, 2)).toBe(2);
    expect(recvMessage(server, new Uint8Array(2), 0, 2, new ReceivedFds(0))).toBe(2);
  });

  it('replaces the socket file of a dead process', () => {
    const path = join(temporaryDirectory(), 'socket');
    closeFd(listenUnix(path));
    const listener = owned(listenUnix(path));
    owned(connectUnix(path));
    expect(owned(acceptConnection(listener))).toBeGreaterThan(0);
  });

  it('leaves a socket alone on which somebody accepts', () => {
    const path = join(temporaryDirectory(), 'socket');
    const listener = owned(listenUnix(path));
    const before = openDescriptors();
    expect(() => listenUnix(path)).toThrow(
      expect.objectContaining({ name: 'HostError', code: 'EADDRINUSE' }),
    );
    expect(openDescriptors()).toBe(before);
    // The probe left a connection that is closed already; the next one is real.
    closeFd(acceptConnection(listener));
    owned(connectUnix(path));
    expect(owned(acceptConnection(listener))).toBeGreaterThan(0);
  });

  it('leaves files alone that are no sockets', () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'file');
    writeFileSync(file, 'precious');
    expect(() => listenUnix(file)).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    expect(fstatSync(owned(listenUnix(join(directory, 'other')))).isSocket()).toBe(true);
    symlinkSync(file, join(directory, 'link'));
    expect(() => listenUnix(join(directory, 'link'))).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    expect(lstatSync(file).size).toBe(8);
  });

  it('refuses paths that do not fit a socket address, counted in bytes, and says so', () => {
    const tooLong = `/${'é'.repeat(54)}`;
    const before = openDescriptors();
    expect(() => listenUnix(tooLong)).toThrow(/109 bytes.*107/);
    expect(() => connectUnix(tooLong)).toThrow(expect.objectContaining({ code: 'ENAMETOOLONG' }));
    expect(() => listenUnix('')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => listenUnix('/tmp/a\0b')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(openDescriptors()).toBe(before);
  });

  it('takes the longest path that fits', () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'x'.repeat(MAX_SOCKET_PATH_BYTES - directory.length - 1));
    owned(listenUnix(path));
    expect(owned(connectUnix(path))).toBeGreaterThan(0);
  });

  it('reports a missing socket and a missing directory, leaking nothing', () => {
    const path = join(temporaryDirectory(), 'missing', 'socket');
    const before = openDescriptors();
    expect(() => connectUnix(path)).toThrow(expect.objectContaining({ code: 'ENOENT', syscall: 'connect' }));
    expect(() => listenUnix(path)).toThrow(expect.objectContaining({ code: 'ENOENT', syscall: 'bind' }));
    expect(openDescriptors()).toBe(before);
  });
});
