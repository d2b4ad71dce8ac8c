import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ChassisPaths } from '../../manager/control/state-directory.js';
import { spawnDeviceProcess, type DeviceHost } from '../../manager/device-process/supervisor.js';
import { StartedProcess } from '../../manager/process-life.js';
import { Sandbox } from '../../manager/sandbox/sandbox.js';
import { BUILT_DEVICE_ENTRY } from '../manager/built.js';
import { withBubblewrap } from './support/bubblewrap.js';
import { deniedCalls } from './support/denied-calls.js';
import { NbdServer } from '../devices/blk/backends/nbd/nbd-server.js';

const SANDBOXED = ['user', 'mnt', 'net', 'ipc', 'uts'];
/** NBD_FLAG_HAS_FLAGS */
const ONE_CONNECTION = 1;
const PATIENTLY = { timeout: 20_000 };
const IS_ROOT = process.geteuid?.() === 0;

withBubblewrap();

describe.runIf(IS_ROOT)('a confined device process', () => {
  let sandbox: Sandbox;
  let folder: string;
  let paths: ChassisPaths;
  let host: DeviceHost | undefined;
  let lost: string[];

  beforeAll(async () => {
    sandbox = new Sandbox('require');
    expect(await sandbox.problem()).toBeUndefined();
  });
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'chassis-test-'));
    paths = new ChassisPaths(folder, 'dev');
    for (const each of [paths.directory, paths.vmDirectory]) mkdirSync(each);
    lost = [];
  });
  afterEach(async () => {
    await host?.stop();
    host = undefined;
    rmSync(folder, { recursive: true, force: true });
  });

  async function start(): Promise<DeviceHost> {
    host = await spawnDeviceProcess({
      ...{ paths, sandbox, entry: BUILT_DEVICE_ENTRY },
      onLost: (reason) => lost.push(reason),
      onConnected: () => undefined,
      onDisconnected: () => undefined,
      onHelper: () => undefined,
      onChild: () => undefined,
    });
    return host;
  }

  /** Runs code as a device process is run, and answers what it left in its folder. */
  async function inject(code: string): Promise<unknown> {
    const script = join(folder, 'code', 'entry.mjs');
    const answer = join(paths.directory, 'answer.json');
    mkdirSync(join(folder, 'code'));
    writeFileSync(script, code);
    const confined = await sandbox.confine([script, answer], [paths.directory]);
    const started = await StartedProcess.start([script, answer], paths.deviceLog, confined);
    expect(await started.ended).toBe('it exited with status 0');
    return JSON.parse(readFileSync(answer, 'utf8'));
  }

  const mount = (source: string) => ({
    function: 'slot1-fn0',
    socketPath: paths.functionSocket(1, 0),
    port: 'vfio-user' as const,
    msix: false,
    device: {
      type: '9p' as const,
      tag: 'a',
      source: { type: 'directory' as const, path: source },
      readOnly: false,
    },
  });

  it('runs code that reads no file of the host, changes none, and reaches nobody', async () => {
    const server = createServer((socket) => socket.end('here')).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const daemon = process.pid;
    const answer = await inject(`
      import fs from 'node:fs';
      import net from 'node:net';
      const tried = {};
      const attempt = async (name, job) => {
        try { tried[name] = await job(); } catch (error) { tried[name] = error.code; }
      };
      await attempt('shadow', () => fs.readFileSync('/etc/shadow', 'latin1'));
      await attempt('home', () => fs.readdirSync('/root'));
      for (const pid of [1, ${daemon}, process.ppid]) {
        await attempt('root of ' + pid, () => fs.readFileSync('/proc/' + pid + '/root/etc/shadow', 'latin1'));
        await attempt('files of ' + pid, () => fs.readFileSync('/proc/' + pid + '/environ', 'latin1'));
      }
      await attempt('journal', () => fs.readdirSync(${JSON.stringify(paths.vmDirectory)}));
      await attempt('core_pattern', () => fs.writeFileSync('/proc/sys/kernel/core_pattern', 'core'));
      await attempt('device', () => fs.readFileSync('/dev/sda', 'latin1'));
      await attempt('root', () => fs.mkdirSync('/new'));
      const reach = (host) => new Promise((resolve, reject) => {
        net.connect(${port}, host).on('connect', () => resolve('connected')).on('error', reject);
      });
      await attempt('loopback', () => reach('127.0.0.1'));
      await attempt('network', () => reach('192.0.2.1'));
      await attempt('capabilities', () => /CapEff:\\s*(\\S+)/.exec(fs.readFileSync('/proc/self/status', 'latin1'))[1]);
      await attempt('top', () => fs.readdirSync('/').sort());
      fs.writeFileSync(process.argv[2], JSON.stringify(tried));
    `);
    server.close();
    const others = [1, daemon];
    expect(answer).toMatchObject({
      ...{ shadow: 'ENOENT', home: 'ENOENT', journal: 'ENOENT', device: 'ENOENT' },
      ...{ core_pattern: 'EROFS', root: 'EROFS', loopback: 'EAFNOSUPPORT', network: 'EAFNOSUPPORT' },
      ...Object.fromEntries(others.map((pid) => [`root of ${pid}`, 'EACCES'])),
      ...Object.fromEntries(others.map((pid) => [`files of ${pid}`, 'EACCES'])),
      // CHOWN, DAC_OVERRIDE, FOWNER, FSETID and SETFCAP.
      capabilities: '000000008000001b',
    });
    expect((answer as { top: string[] }).top).not.toContain('etc');
  });

  it('runs code that makes no call that is denied: it signals, steers and starts no process, and has no other sockets', async () => {
    symlinkSync(join(import.meta.dirname, '../../node_modules'), join(folder, 'node_modules'));
    const victim = spawn('sleep', ['60']);
    const ended = once(victim, 'exit');
    const calls = deniedCalls(victim.pid ?? 0);
    const answer = await inject(`
      import { spawnSync } from 'node:child_process';
      import fs from 'node:fs';
      import os from 'node:os';
      import { Worker } from 'node:worker_threads';
      import koffi from 'koffi';
      const syscall = koffi.load(null).func('syscall', 'int64_t', ['int64_t', ...Array(6).fill('uintptr_t')]);
      const call = ({ number, given }) =>
        syscall(number, ...Array.from({ length: 6 }, (_, i) => given[i] ?? 0)) < 0 ? koffi.errno() : 0;
      const tried = {};
      const attempt = (name, job) => {
        try { tried[name] = job(); } catch (error) { tried[name] = error.code; }
      };
      attempt('signal by Node', () => process.kill(${victim.pid}, 'SIGKILL'));
      attempt('program by Node', () => spawnSync(process.execPath, ['--version']).error?.code);
      attempt('priority by Node', () => os.setPriority(${victim.pid}, 19));
      for (const each of ${JSON.stringify(calls)}) attempt(each.name, () => call(each));
      tried.thread = await new Promise((resolve) => new Worker('', { eval: true }).on('exit', resolve));
      fs.writeFileSync(process.argv[2], JSON.stringify(tried));
    `);
    expect(victim.exitCode ?? victim.signalCode).toBeNull();
    victim.kill();
    await ended;
    expect(answer).toEqual({
      ...{ 'signal by Node': 'EPERM', 'program by Node': 'EPERM', 'priority by Node': 'ERR_SYSTEM_ERROR' },
      ...Object.fromEntries(calls.map(({ name, errno }) => [name, errno])),
      thread: 0,
    });
    expect(calls.length).toBeGreaterThan(70);
  });

  it('has of the directories that it shows nothing above them', async () => {
    const shared = join(folder, 'shared');
    mkdirSync(shared);
    writeFileSync(join(folder, 'secret'), 'above');
    const { pid, addFunction } = await start().then((devices) => ({
      pid: devices.pid,
      addFunction: () => devices.addFunction(mount(shared)),
    }));
    await addFunction();
    const directories = readdirSync(`/proc/${pid}/fd`)
      .map((fd) => `/proc/${pid}/fd/${fd}`)
      .filter((each) => statSync(each, { throwIfNoEntry: false })?.isDirectory());
    const ofShare = directories.filter((each) => statSync(each).ino === statSync(shared).ino);
    expect(ofShare.length).toBeGreaterThan(0);
    // The kernel walks up from an open directory as the process would. Not by join(): that takes `..` away by itself.
    for (const each of ofShare) expect(statSync(`${each}/..`).ino).toBe(statSync(shared).ino);
    const above = directories.filter((each) =>
      statSync(`${each}/../../../../etc/shadow`, { throwIfNoEntry: false }),
    );
    expect(above.map((each) => readlinkSync(each))).toEqual([]);
  });

  it('says why a source cannot be opened, as one without a sandbox', async () => {
    const devices = await start();
    const missing = devices.addFunction(mount(join(folder, 'missing')));
    await expect(missing).rejects.toMatchObject({
      code: 'SOURCE_MISSING',
      message: `there is no ${folder}/missing`,
    });
  });

  it('is found again, and replaced by another that goes on with its mounts', async () => {
    const shared = join(folder, 'shared');
    mkdirSync(shared);
    const former = await start();
    await former.addFunction(mount(shared));
    expect(former.sandbox?.namespaces).toEqual(expect.arrayContaining(SANDBOXED));
    expect(former.sandbox?.noNewPrivileges).toBe(true);
    host = (await former.replace([shared])).host;
    expect(host.pid).not.toBe(former.pid);
    expect((await host.status()).map((status) => status.function)).toEqual(['slot1-fn0']);
    expect(host.sandbox?.namespaces).toEqual(expect.arrayContaining(SANDBOXED));
  });

  it('says what killed it', async () => {
    const devices = await start();
    process.kill(devices.pid, 'SIGKILL');
    await expect.poll(() => lost, PATIENTLY).toEqual(['it was killed by SIGKILL']);
    host = undefined;
  });

  it('has an NBD server by connections that the daemon makes, also once it is lost', async () => {
    const server = await NbdServer.start({ sizeBytes: 1 << 20, tcp: true, flags: ONE_CONNECTION });
    const devices = await start();
    const source = { type: 'nbd' as const, uri: server.uri };
    const device = { type: 'disk' as const, source, readOnly: true, overlay: false, serial: 's', queues: 1 };
    await devices.addFunction({ ...mount(''), device });
    expect(server.connections).toBe(1);
    server.disconnect();
    await expect.poll(() => server.connections, PATIENTLY).toBe(2);
    await expect.poll(() => server.sessions.size, PATIENTLY).toBe(1);
  });
});
