import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChassisPaths } from '../../../manager/control/state-directory.js';
import { spawnDeviceProcess, type DeviceHost } from '../../../manager/device-process/supervisor.js';
import { isRunning, stampOf } from '../../../manager/process-stamp.js';
import { BUILT_DEVICE_ENTRY } from '../built.js';
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
    host = await spawnDeviceProcess({
      paths,
      entry,
      readyTimeoutMs,
      onLost: (reason) => onLost(reason),
      onConnected: () => undefined,
      onDisconnected: () => undefined,
    });
    return host;
  }

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
    ['says it is ready, but does not listen', 'console.log("ready"); setInterval(() => {}, 1000);', /ENOENT/],
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

  it('that says what is not in the protocol is ended, and reported', async () => {
    const liar = script(`
      import { createServer } from 'node:net';
      createServer((socket) => socket.on('data', () => socket.write('{"event": "exploded"}\\n')))
        .listen(process.argv[3], () => console.log('ready'));
    `);
    const devices = await start(liar);
    await expect(devices.status()).rejects.toMatchObject(refusal('DEVICE_PROCESS_LOST'));
    expect(await lost).toMatch(/SIGKILL/);
  });
});
