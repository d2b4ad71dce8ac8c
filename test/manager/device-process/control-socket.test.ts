import { once } from 'node:events';
import { statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ControlSocket } from '../../../manager/device-process/control-socket.js';
import type { Reply } from '../../../manager/process-protocol.js';
import { PATIENTLY } from '../patiently.js';
import { temporaryFolders } from '../temporary-folder.js';

describe('ControlSocket', () => {
  const folder = temporaryFolders();
  let path: string;
  let control: ControlSocket;
  let messages: unknown[];
  let replies: Reply[];
  /** `come`, or `gone`, with what was wrong with it. */
  let daemons: string[];

  beforeEach(async () => {
    path = join(folder(), 'device.sock');
    messages = [];
    replies = [];
    const noted: string[] = (daemons = []);
    control = await ControlSocket.listen({
      path,
      onMessage: (message, reply) => {
        if (message === 'bad') throw new TypeError('not a request');
        messages.push(message);
        replies.push(reply);
      },
      onDaemon: () => noted.push('come'),
      onDaemonGone: (problem = 'gone') => noted.push(problem),
    });
  });
  afterEach(() => control.close());

  async function daemon(): Promise<Socket> {
    const socket = connect(path);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  }

  it.each([
    ['garbage', 'hello\n', /not JSON/],
    ['a line without end', 'x'.repeat(9 << 20), /more than 8388608 bytes/],
    ['what is no request', '"bad"\n', /not a request/],
  ])('sends a daemon away that says %s, and takes the next', async (_, bytes, problem) => {
    const first = await daemon();
    first.write(bytes);
    await expect.poll(() => daemons, PATIENTLY).toEqual(['come', expect.stringMatching(problem)]);
    (await daemon()).write('1\n');
    await expect.poll(() => messages, PATIENTLY).toEqual([1]);
  });

  it('serves one daemon at a time, turns others away, and takes the next once that one is gone', async () => {
    const first = await daemon();
    first.write('1\n');
    await expect.poll(() => messages, PATIENTLY).toEqual([1]);
    const second = await daemon();
    await once(second, 'close');
    first.write('2\n');
    await expect.poll(() => messages, PATIENTLY).toEqual([1, 2]);
    first.destroy();
    await expect.poll(() => daemons, PATIENTLY).toEqual(['come', 'gone']);
    const third = await daemon();
    const answer = once(third, 'data');
    await expect.poll(() => daemons, PATIENTLY).toEqual(['come', 'gone', 'come']);
    control.send({ event: 'connected' });
    expect(String((await answer)[0])).toBe('{"event":"connected"}\n');
  });

  it('answers whoever asked, and not the daemon that came after', async () => {
    const first = await daemon();
    first.write('1\n');
    await expect.poll(() => messages, PATIENTLY).toEqual([1]);
    first.destroy();
    await expect.poll(() => daemons, PATIENTLY).toEqual(['come', 'gone']);
    const second = await daemon();
    second.write('2\n');
    await expect.poll(() => messages, PATIENTLY).toEqual([1, 2]);
    const answer = once(second, 'data');
    replies[0]({ id: 1, result: 'for the first' });
    replies[1]({ id: 1, result: 'for the second' });
    expect(String((await answer)[0])).toBe('{"id":1,"result":"for the second"}\n');
  });

  it('lets a daemon go that reads nothing', async () => {
    const socket = await daemon();
    socket.pause();
    await expect.poll(() => daemons, PATIENTLY).toEqual(['come']);
    const report = { event: 'x'.repeat(1 << 20) };
    for (let sent = 0; sent < 32; sent++) control.send(report);
    await expect.poll(() => daemons, PATIENTLY).toEqual(['come', 'gone']);
  });

  it('is its owner’s alone', () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('rejects where it cannot listen', async () => {
    const nothing = () => undefined;
    await expect(
      ControlSocket.listen({
        path: join(path, 'below'),
        ...{ onMessage: nothing, onDaemon: nothing, onDaemonGone: nothing },
      }),
    ).rejects.toThrow(/ENOTDIR|EACCES|EINVAL/);
  });
});
