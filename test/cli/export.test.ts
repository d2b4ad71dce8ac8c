import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { execa, type ResultPromise } from 'execa';
import { afterEach, describe, expect, it } from 'vitest';
import { Mount } from '../../guest/9p/mount.js';
import { SocketTransport9p } from '../../guest/9p/socket-transport.js';
import { PATIENTLY } from '../manager/patiently.js';
import { temporaryFolders } from '../manager/temporary-folder.js';
import { CHASSIS } from '../support/daemon.js';

interface Ready {
  readonly pid: number;
  readonly listening: readonly { readonly address: string; readonly mountCommand: string }[];
}

/** Each command starts two processes, on machines that may be busy. */
const TIMEOUT_MS = 90_000;

const folder = temporaryFolders();
const running: ResultPromise[] = [];
afterEach(() => {
  for (const process of running.splice(0)) process.kill('SIGKILL');
});

function run(...words: string[]): ResultPromise<{ reject: false; lines: false }> {
  const process = execa(globalThis.process.execPath, [CHASSIS, 'export', ...words], {
    reject: false,
    lines: false,
  });
  running.push(process);
  return process;
}

/** Starts an export and waits until it serves. */
async function start(...words: string[]): Promise<{ process: ResultPromise; ready: Ready }> {
  const process = run(...words, '--json');
  const first = await Promise.race([process.stdout[Symbol.asyncIterator]().next(), process]);
  if (!('value' in first)) throw new Error(`it did not start: ${String((await process).stderr)}`);
  return { process, ready: JSON.parse(String(first.value)) as Ready };
}

async function failure(...words: string[]): Promise<unknown> {
  const { stdout, exitCode } = await run(...words, '--json');
  const { error } = JSON.parse(stdout) as { error: object };
  return { ...error, exitCode };
}

async function mount(address: string): Promise<Mount> {
  const [, host, port] = /^tcp:(.*):(\d+)$/.exec(address) ?? [];
  const socket = port === undefined ? connect(address.slice('unix:'.length)) : connect(Number(port), host);
  return Mount.connect(new SocketTransport9p(socket, 1 << 20), { uid: process.getuid?.() }, async () => {
    socket.destroy();
  });
}

describe('chassis export', { timeout: TIMEOUT_MS }, () => {
  it('serves a directory on several sockets until it is interrupted, and removes them', async () => {
    const [root, run] = [folder(), folder()];
    writeFileSync(join(root, 'file'), 'hello');
    const path = join(run, 's');
    const { process, ready } = await start(root, '--listen', `unix:${path}`, '--listen', 'tcp:localhost:0');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(ready.listening).toHaveLength(2);
    expect(ready.listening[0].mountCommand).toBe(
      `mount -t 9p -o trans=unix,version=9p2000.L,msize=1048576 ${path} /mnt`,
    );
    for (const { address } of ready.listening) {
      const mounted = await mount(address);
      expect(mounted.client.msize).toBe(512_000);
      expect(await mounted.readFile('file', 'utf8')).toBe('hello');
      await mounted.unmount();
    }
    process.kill('SIGINT');
    expect((await process).exitCode).toBe(0);
    expect(existsSync(path)).toBe(false);
  });

  it('serves on the terms that a mount of a VM can have', async () => {
    const [root, upper, run] = [folder(), folder(), folder()];
    for (const name of ['file', 'secret']) writeFileSync(join(root, name), 'old');
    const { process, ready } = await start(
      ...[root, '--listen', `unix:${join(run, 's')}`, '--deny', 'secret', '--quota-files', '1'],
      ...['--owner', 'squash:1000:1000', '--overlay', '--upper', upper],
    );
    const mounted = await mount(ready.listening[0].address);
    expect(await mounted.readdir('/')).toEqual(['file']);
    expect(await mounted.stat('/file')).toMatchObject({ uid: 1000, gid: 1000 });
    await mounted.writeFile('/file', 'new');
    await mounted.mkdir('/one');
    await expect(mounted.mkdir('/two')).rejects.toMatchObject({ code: 'ENOSPC' });
    await mounted.unmount();
    process.kill('SIGTERM');
    await process;
    expect(readFileSync(join(root, 'file'), 'utf8')).toBe('old');
    expect(readFileSync(join(upper, 'file'), 'utf8')).toBe('new');
  });

  it('replaces a socket file that nobody listens on, and refuses one in use', async () => {
    const path = join(folder(), 's');
    const first = await start('mem:', '--listen', `unix:${path}`);
    expect(await failure('mem:', '--listen', `unix:${path}`)).toMatchObject({
      code: 'ADDRESS_IN_USE',
      exitCode: 5,
    });
    globalThis.process.kill(first.ready.pid, 'SIGKILL');
    await first.process;
    expect(existsSync(path)).toBe(true);
    const { process, ready } = await start('mem:', '--listen', `unix:${path}`);
    const mounted = await mount(ready.listening[0].address);
    await mounted.writeFile('file', 'in memory');
    expect(await mounted.readFile('file', 'utf8')).toBe('in memory');
    await mounted.unmount();
    process.kill('SIGTERM');
    await process;
  });

  it('ends its server also where it is killed itself', async () => {
    const path = join(folder(), 's');
    const { process } = await start('mem:', '--listen', `unix:${path}`, '--read-only');
    process.kill('SIGKILL');
    await expect.poll(() => existsSync(path), PATIENTLY).toBe(false);
  });

  it('refuses what it cannot serve, and says what to do', async () => {
    const root = folder();
    mkdirSync(join(root, 'directory'));
    writeFileSync(join(root, 'file'), '');
    const cases: [string[], object][] = [
      [
        [root, '--listen', 'tcp:0.0.0.0:0'],
        { code: 'BAD_REQUEST', exitCode: 2, suggestion: expect.stringContaining('--allow-remote') as string },
      ],
      [[join(root, 'none'), '--listen', 'tcp:127.0.0.1:0'], { code: 'SOURCE_MISSING', exitCode: 4 }],
      [[root, '--listen', `unix:${join(root, 'directory')}`], { code: 'ADDRESS_IN_USE', exitCode: 5 }],
      [[root], { code: 'USAGE' }],
      [[root, '--listen', 'tcp:127.0.0.1:0', '--deny', 'a//b'], { code: 'BAD_REQUEST', exitCode: 2 }],
      [
        [root, '--listen', 'tcp:127.0.0.1:0', '--overlay'],
        { code: 'BAD_REQUEST', exitCode: 2, suggestion: expect.stringContaining('--upper') as string },
      ],
      [
        [root, '--listen', 'tcp:127.0.0.1:0', '--overlay', '--upper', join(root, 'directory')],
        { code: 'BAD_REQUEST', message: expect.stringContaining('not apart') as string },
      ],
    ];
    const failures = await Promise.all(cases.map(([words]) => failure(...words)));
    expect(failures).toMatchObject(cases.map(([, error]) => error));
  });
});
