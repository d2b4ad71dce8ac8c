import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ControlSocket } from '../../../manager/device-process/control-socket.js';
import { PATIENTLY } from '../patiently.js';
import { temporaryFolders } from '../temporary-folder.js';

describe('ControlSocket', () => {
  const folder = temporaryFolders();
  let path: string;
  let control: ControlSocket;
  let messages: unknown[];
  let ended: Promise<string>;

  async function listen(connectTimeoutMs = 60_000): Promise<void> {
    let end: (reason: string) => void;
    ended = new Promise((resolve) => (end = resolve));
    control = await ControlSocket.listen({
      path,
      connectTimeoutMs,
      onMessage: (message) => {
        if (message === 'bad') throw new TypeError('not a request');
        messages.push(message);
      },
      onEnd: (reason) => end(reason),
    });
  }

  async function daemon(): Promise<Socket> {
    const socket = connect(path);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  }

  beforeEach(() => {
    path = join(folder(), 'device.sock');
    messages = [];
  });
  afterEach(() => control.close());

  it.each([
    ['garbage', 'hello\n', /not JSON/],
    ['a line without end', 'x'.repeat(5 << 20), /more than 4194304 bytes/],
    ['what is no request', '"bad"\n', /not a request/],
  ])('ends at %s', async (_, bytes, reason) => {
    await listen();
    (await daemon()).write(bytes);
    expect(await ended).toMatch(reason);
    expect(existsSync(path)).toBe(false);
  });

  it('ends with its daemon', async () => {
    await listen();
    (await daemon()).destroy();
    expect(await ended).toBe('the daemon is gone');
  });

  it('ends where no daemon comes', async () => {
    await listen(10);
    expect(await ended).toBe('no daemon connected');
  });

  it('serves one daemon, turns others away, and goes on', async () => {
    await listen();
    const first = await daemon();
    first.write('1\n');
    await expect.poll(() => messages, PATIENTLY).toEqual([1]);
    const second = await daemon();
    await once(second, 'close');
    first.write('2\n');
    await expect.poll(() => messages, PATIENTLY).toEqual([1, 2]);
    const answer = once(first, 'data');
    control.send({ id: 1, result: {} });
    expect(String(await answer)).toBe('[{"id":1,"result":{}}\n]'.slice(1, -1));
  });

  it('is its owner’s alone', async () => {
    await listen();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('rejects where it cannot listen', async () => {
    await listen();
    await expect(
      ControlSocket.listen({
        path: join(path, 'below'),
        connectTimeoutMs: 1,
        onMessage: () => undefined,
        onEnd: () => undefined,
      }),
    ).rejects.toThrow(/ENOTDIR|EACCES|EINVAL/);
  });
});
