import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { Errno } from '../../host/errors.js';
import {
  acceptConnection,
  addressOf,
  closeFd,
  IovecBuffer,
  listenTcp,
  receiveBytes,
  sendVector,
  setNoDelay,
} from '../../host/index.js';
import { PATIENTLY } from '../manager/patiently.js';

describe('listening on TCP', () => {
  it.each(['127.0.0.1', '::1'])('at %s accepts connections, which move bytes both ways', async (address) => {
    const { fd, port } = listenTcp(address, 0);
    const client = connect(port, address);
    await once(client, 'connect');
    const server = acceptConnection(fd);
    expect(setNoDelay(server)).toBe(0);
    const bytes = new Uint8Array(16);
    expect(receiveBytes(server, addressOf(bytes), 16)).toBe(-Errno.EAGAIN);
    client.write('hello');
    await expect.poll(() => receiveBytes(server, addressOf(bytes), 16), PATIENTLY).toBe(5);
    const iovecs = new IovecBuffer(2);
    iovecs.set(0, addressOf(bytes), 4);
    iovecs.set(1, addressOf(bytes) + 1, 4);
    expect(sendVector(server, iovecs, 2)).toBe(8);
    const [echo] = (await once(client, 'data')) as [Buffer];
    expect(echo.toString()).toBe('hellello');
    client.destroy();
    await expect.poll(() => receiveBytes(server, addressOf(bytes), 16), PATIENTLY).toBe(0);
    closeFd(server);
    closeFd(fd);
  });

  it('refuses a port that somebody listens on, and what is no address', () => {
    const { fd, port } = listenTcp('127.0.0.1', 0);
    expect(() => listenTcp('127.0.0.1', port)).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    expect(() => listenTcp('localhost', 0)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    closeFd(fd);
  });
});
