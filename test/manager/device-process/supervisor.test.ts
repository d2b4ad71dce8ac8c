import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConnectionKeeper } from '../../../manager/connection-keeper.js';
import { ChassisPaths } from '../../../manager/control/state-directory.js';
import {
  findDeviceProcess,
  spawnDeviceProcess,
  type DeviceHost,
} from '../../../manager/device-process/supervisor.js';
import { PROTOCOL_VERSION } from '../../../manager/process-protocol.js';
import { isRunning, stampOf } from '../../../manager/process-stamp.js';
import { BUILT_DEVICE_ENTRY, BUILT_STAMPS } from '../built.js';
import { PATIENTLY } from '../patiently.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';

describe('a device process', () => {
  const folder = temporaryFolders();
  let paths: ChassisPaths;
  let host: DeviceHost | undefined;
  let lost: Promise<string>;
  let onLost: (reason: string) => void;

  beforeEach(() => {
    paths = new ChassisPaths(folder(), 'dev');
    mkdirSync(paths.directory);
    lost = new Promise((resolve) => (onLost = resolve));
  });
  afterEach(async () => {
    await host?.stop();
    host = undefined;
  });

  async function start(entry = BUILT_DEVICE_ENTRY, readyTimeoutMs?: number): Promise<DeviceHost> {
    host = await spawnDeviceProcess({ ...hooks(), entry, readyTimeoutMs });
    return host;
  }

  const hooks = () => ({
    paths,
    onLost: (reason: string) => onLost(reason),
    onConnected: () => undefined,
    onDisconnected: () => undefined,
    onHelper: () => undefined,
    onChild: () => undefined,
  });

  /** A process that runs this script in place of the real one. */
  function script(text: string): string {
    const path = join(paths.directory, 'entry.mjs');
    writeFileSync(path, text);
    return path;
  }

  const function0 = () => ({
    function: 'slot1-fn0',
    socketPath: paths.functionSocket(1, 0),
    port: 'vfio-user' as const,
    msix: false,
    device: {
      type: '9p' as const,
      tag: 'a',
      source: { type: 'directory' as const, path: paths.directory },
      readOnly: true,
    },
  });

  it('serves functions until they are removed', async () => {
    const devices = await start();
    await devices.addFunction(function0());
    expect(existsSync(paths.functionSocket(1, 0))).toBe(true);
    expect(await devices.status()).toMatchObject([
      { function: 'slot1-fn0', connected: false, counters: { fids: 0 } },
    ]);
    await devices.removeFunction('slot1-fn0');
    expect(existsSync(paths.functionSocket(1, 0))).toBe(false);
    expect(await devices.status()).toEqual([]);
  });

  it('says why it cannot show a directory', async () => {
    const devices = await start();
    const spec = function0();
    const missing = {
      ...spec,
      device: { ...spec.device, source: { type: 'directory' as const, path: '/no/such' } },
    };
    await expect(devices.addFunction(missing)).rejects.toMatchObject(refusal('SOURCE_MISSING', /\/no\/such/));
    expect(existsSync(paths.functionSocket(1, 0))).toBe(false);
  });

  it('is reported when it is killed, with the signal, and fails what waits', async () => {
    const devices = await start();
    const stamp = stampOf(devices.pid);
    process.kill(devices.pid, 'SIGSTOP');
    const waiting = expect(devices.status()).rejects.toMatchObject(refusal('DEVICE_PROCESS_LOST', /SIGKILL/));
    process.kill(devices.pid, 'SIGKILL');
    expect(await lost).toBe('it was killed by SIGKILL');
    await waiting;
    await expect(devices.status()).rejects.toMatchObject(refusal('DEVICE_PROCESS_LOST'));
    expect(stamp && isRunning(stamp)).toBe(false);
  });

  it('can be started over after it was killed, with the same sockets', async () => {
    const first = await start();
    await first.addFunction(function0());
    process.kill(first.pid, 'SIGKILL');
    await lost;
    await first.stop();
    await (await start()).addFunction(function0());
    expect(existsSync(paths.functionSocket(1, 0))).toBe(true);
  });

  it('ends in good order, with its sockets', async () => {
    const devices = await start();
    await devices.addFunction(function0());
    const stamp = stampOf(devices.pid);
    await devices.stop();
    expect(stamp && isRunning(stamp)).toBe(false);
    for (const path of [paths.functionSocket(1, 0), paths.deviceSocket, paths.deviceStamp]) {
      expect(existsSync(path), path).toBe(false);
    }
  });

  it('leaves a stamp by which a later daemon knows it', async () => {
    const devices = await start();
    expect(JSON.parse(readFileSync(paths.deviceStamp, 'utf8'))).toEqual(stampOf(devices.pid));
  });

  it('outlives bytes on a function’s socket that are no vfio-user', async () => {
    const devices = await start();
    await devices.addFunction(function0());
    const socket = connect(paths.functionSocket(1, 0));
    const closed = new Promise((resolve) => socket.on('error', () => undefined).once('close', resolve));
    socket.write(Buffer.alloc(1000, 0xff));
    await closed;
    expect(await devices.status()).toHaveLength(1);
  });

  it.each([
    ['exits at once', 'console.error("no koffi here"); process.exit(3);', /status 3: no koffi here/],
    ['is no script', '}{', /SyntaxError/],
  ])('that %s is not taken for running', async (_, text, message) => {
    await expect(start(script(text))).rejects.toMatchObject(refusal('DEVICE_PROCESS_LOST', message));
    expect(existsSync(paths.deviceStamp)).toBe(false);
  });

  it('that is never ready is ended', async () => {
    const starting = start(
      script('process.on("SIGTERM", () => process.exit(0)); setInterval(() => {}, 1000);'),
      300,
    );
    await expect(starting).rejects.toMatchObject(refusal('DEVICE_PROCESS_LOST', /not ready in 300 ms/));
    expect(existsSync(paths.deviceStamp)).toBe(false);
  });

  /** Greets as ours do, and answers everything else with `answer`. */
  const greeting = (answer: string, protocol = PROTOCOL_VERSION) => `
    import { createServer } from 'node:net';
    import { writeFileSync } from 'node:fs';
    import { stampOf } from ${JSON.stringify(BUILT_STAMPS)};
    writeFileSync(process.argv[5], JSON.stringify(stampOf(process.pid)));
    const hello = { id: 1, result: { protocol: ${protocol}, pid: process.pid } };
    createServer((socket) => socket.on('data', (line) =>
      socket.write(String(line).includes('hello') ? JSON.stringify(hello) + '\\n' : ${JSON.stringify(answer)})))
      .listen(process.argv[3]);
  `;

  it('that says what is not in the protocol is ended, and reported', async () => {
    const devices = await start(script(greeting('{"event": "exploded"}\n')));
    await expect(devices.status()).rejects.toMatchObject(refusal('DEVICE_PROCESS_LOST'));
    expect(await lost).toMatch(/SIGKILL/);
  });

  it('goes on without its daemon, and the next one finds it with all that it has', async () => {
    const first = await start();
    await first.addFunction(function0());
    first.leave();
    await expect(first.status()).rejects.toMatchObject(
      refusal('DEVICE_PROCESS_LOST', /this daemon has left/),
    );
    const second = await find();
    expect(second?.pid).toBe(first.pid);
    const name = 'slot1-fn0';
    expect(await second?.inventory()).toEqual([
      { function: name, port: 'vfio-user', msix: false, empty: false },
    ]);
    expect(existsSync(paths.functionSocket(1, 0))).toBe(true);
    const stamp = stampOf(first.pid);
    await second?.stop();
    expect(stamp && isRunning(stamp)).toBe(false);
    expect(await find()).toBeUndefined();
  });

  it('that another daemon found is reported when it is killed', async () => {
    const { pid } = leave(await start());
    await find();
    process.kill(pid, 'SIGKILL');
    expect(await lost).toBe('it ended');
  });

  it('that does not answer is left alone, for the guest that may have it', async () => {
    const { pid } = leave(await start());
    process.kill(pid, 'SIGSTOP');
    await expect(find(200)).rejects.toMatchObject(
      refusal('DEVICE_PROCESS_LOST', /not ready in 200 ms|hello in/),
    );
    process.kill(pid, 'SIGCONT');
    expect((await find())?.pid).toBe(pid);
  });

  it('of another protocol is left alone, too, until another is to take its place', async () => {
    const line = ['--socket', paths.deviceSocket, '--stamp', paths.deviceStamp];
    const older = spawn(process.execPath, [script(greeting('', 99)), ...line]);
    const ended = once(older, 'exit');
    await expect.poll(() => existsSync(paths.deviceSocket), PATIENTLY).toBe(true);
    await expect(find()).rejects.toMatchObject(
      refusal('DEVICE_PROCESS_LOST', /speaks protocol 99, and this daemon \d/),
    );
    expect(older.exitCode ?? older.signalCode).toBeNull();
    await start();
    expect(await ended).toEqual([null, 'SIGKILL']);
  });

  it('that an older daemon started is asked nothing that it does not know', async () => {
    const nobody = () => Promise.reject(new Error('nobody comes'));
    host = await spawnDeviceProcess({
      ...hooks(),
      entry: script(greeting('{"event": "exploded"}\n')),
      connections: { accept: nobody, connect: nobody },
    });
    await expect(host.keep(new ConnectionKeeper(() => undefined))).resolves.toBeUndefined();
    process.kill(host.pid, 'SIGTERM');
    expect(await lost).toMatch(/SIGTERM/);
  });

  it('serves alone: a second one on the same paths ends itself', async () => {
    const devices = await start();
    const second = await runEntry();
    expect(second).toMatch(/another process serves there already/);
    expect(await devices.status()).toEqual([]);
  });

  it('that no daemon asks for ends itself after a while, and leaves no socket', async () => {
    expect(await runEntry('--unclaimed-ms', '100')).toBe('');
    expect(existsSync(paths.deviceSocket)).toBe(false);
    expect(readFileSync(paths.deviceLog, 'utf8')).toMatch(/no daemon asked for it, and no VM used it/);
  });

  /** Runs it to its end, as no daemon's; answers what it said on standard error. */
  async function runEntry(...more: string[]): Promise<string> {
    const { deviceSocket, deviceStamp, deviceLog } = paths;
    const line = ['--socket', deviceSocket, '--stamp', deviceStamp, '--log', deviceLog, ...more];
    return (await execa(process.execPath, [BUILT_DEVICE_ENTRY, ...line], { reject: false })).stderr;
  }

  async function find(readyTimeoutMs?: number): Promise<DeviceHost | undefined> {
    return (host = await findDeviceProcess({ ...hooks(), readyTimeoutMs }));
  }

  function leave(left: DeviceHost): DeviceHost {
    left.leave();
    return left;
  }
});
