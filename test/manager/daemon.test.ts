import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { ChassisPaths } from '../../manager/control/state-directory.js';
import { isRunning, stampOf } from '../../manager/process-stamp.js';
import { BUILT_MAIN } from './built.js';
import { refusal } from './refusal.js';
import { PATIENTLY } from './patiently.js';
import { temporaryFolders } from './temporary-folder.js';
import { FakeQemu } from './vmm/fake-qemu.js';

/** A daemon as users run it. */
interface RunningDaemon {
  readonly process: ChildProcess;
  readonly exited: Promise<unknown[]>;
  readonly readyLine: string;
}

describe('the daemon', () => {
  const folder = temporaryFolders();
  let directory: string;
  let client: ChassisClient;
  const daemons: RunningDaemon[] = [];

  beforeEach(() => {
    directory = join(folder(), 'state');
    client = new ChassisClient({ directory });
  });
  afterEach(async () => {
    for (const daemon of daemons.splice(0)) {
      daemon.process.kill('SIGTERM');
      await daemon.exited;
    }
  });

  async function start(): Promise<RunningDaemon> {
    const process_ = spawn(process.execPath, [BUILT_MAIN, '--end', '--dir', directory], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const exited = once(process_, 'exit');
    const [line] = (await Promise.race([once(process_.stdout, 'data'), exited])) as [unknown];
    const daemon = { process: process_, exited, readyLine: String(line) };
    daemons.push(daemon);
    return daemon;
  }

  async function devicePid(name: string): Promise<number> {
    return (await client.get(name)).deviceProcess.pid ?? 0;
  }

  it('says once when it is ready, and serves', async () => {
    const { readyLine } = await start();
    expect(readyLine).toMatch(/^chassis: serving at .*api\.sock \(pid \d+\)\n$/);
    expect(await client.health()).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
    });
  });

  it('makes chassis, attaches, detaches and removes', async () => {
    await start();
    await client.create('dev', { slots: 2 });
    await expect(client.create('dev')).rejects.toMatchObject(refusal('CHASSIS_EXISTS'));
    await expect(client.get('nope')).rejects.toMatchObject(refusal('NO_CHASSIS', /"nope"/, /dev/));
    await client.attach('dev', { mounts: [{ tag: 'a', source: { type: 'directory', path: directory } }] });
    expect(await client.mounts()).toMatchObject([{ chassis: 'dev', tag: 'a', state: 'parked' }]);
    await expect(client.delete('dev')).rejects.toMatchObject(refusal('CHASSIS_IN_USE', /: a$/));
    await client.delete('dev', { force: true });
    expect(await client.list()).toEqual([]);
    expect(readdirSync(directory).sort()).toEqual(['api.sock', 'daemon.lock']);
  });

  it('shows directories and memory in one tree, each by its name, and takes them out again', async () => {
    await start();
    await client.create('dev', { slots: 2 });
    const source = { type: 'directory' as const, path: directory };
    await client.attach('dev', { mounts: [{ tag: 'a', source, target: '/work' }] });
    await client.attach('dev', { mounts: [{ tag: 'b', source: { type: 'memory' } }], via: 'tree' });
    expect(await client.mounts('dev')).toMatchObject([
      { tag: 'chassis', via: 'function', state: 'parked', source: { type: 'tree' } },
      { tag: 'a', via: 'tree', inGuest: 'waiting', target: '/work', held: { fids: 0, openFiles: 0 } },
      { tag: 'b', via: 'tree', inGuest: 'shown' },
    ]);
    for (const [tag, code] of [
      ['ctl', 'TAG_INVALID'],
      ['x/y', 'TAG_INVALID'],
      ['a', 'TAG_IN_USE'],
    ] as const) {
      await expect(
        client.attach('dev', { mounts: [{ tag, source: { type: 'memory' } }], via: 'tree' }),
      ).rejects.toMatchObject(refusal(code));
    }
    expect(await client.detach('dev', 'a')).toEqual({ tags: ['a'] });
    expect((await client.mounts('dev')).map(({ tag }) => tag)).toEqual(['chassis', 'b']);
  });

  it('lists a thousand mounts of the tree with what the guest does with each', async () => {
    await start();
    await client.create('dev');
    const tags = Array.from({ length: 1000 }, (_, i) => `m${i}`);
    for (let i = 0; i < tags.length; i += 8) {
      const mounts = tags.slice(i, i + 8).map((tag) => ({ tag, source: { type: 'memory' as const } }));
      await client.attach('dev', { mounts, via: 'tree' });
    }
    const children = (await client.mounts('dev')).slice(1);
    expect(children.map(({ tag }) => tag)).toEqual(tags);
    expect(new Set(children.map(({ inGuest }) => inGuest))).toEqual(new Set(['shown']));
  });

  it.each(['SIGTERM', 'SIGINT'] as const)(
    'ends at %s where it is to end all, with its device processes, sockets and files',
    async (signal) => {
      const daemon = await start();
      await client.create('one');
      await client.create('two');
      const stamps = [await devicePid('one'), await devicePid('two')].map(stampOf);
      daemon.process.kill(signal);
      expect(await daemon.exited).toEqual([0, null]);
      for (const stamp of stamps) expect(stamp && isRunning(stamp)).toBe(false);
      expect(readdirSync(directory)).toEqual([]);
    },
  );

  it('ends when asked over its API', async () => {
    const daemon = await start();
    await client.shutdown();
    expect(await daemon.exited).toEqual([0, null]);
    await expect(client.health()).rejects.toMatchObject(refusal('NO_DAEMON'));
  });

  it('refuses to run beside another on one directory, and leaves that one alone', async () => {
    const first = await start();
    await client.create('dev');
    const second = spawn(process.execPath, [BUILT_MAIN, '--dir', directory], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    second.stderr.setEncoding('utf8').on('data', (piece: string) => (text += piece));
    expect(await once(second, 'close')).toEqual([1, null]);
    expect(text).toMatch(new RegExp(`already runs.*pid ${first.process.pid}\\b`));
    expect(text).not.toMatch(/\n +at /);
    expect(await client.list()).toMatchObject([{ name: 'dev', deviceProcess: { state: 'running' } }]);
  });

  it('starts a device process over that was killed', async () => {
    await start();
    await client.create('dev');
    await client.attach('dev', { mounts: [{ tag: 'a', source: { type: 'memory' } }] });
    const pid = await devicePid('dev');
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => devicePid('dev'), PATIENTLY).not.toBe(pid);
    await expect.poll(async () => (await client.get('dev')).deviceProcess.state, PATIENTLY).toBe('running');
    // Nobody needs to ask for it, and who does gets what is there.
    const { deviceProcess } = await client.restart('dev');
    expect(deviceProcess.pid).toBe(await devicePid('dev'));
    expect(existsSync(new ChassisPaths(directory, 'dev').functionSocket(1, 0))).toBe(true);
    expect(await client.detach('dev', 'a')).toEqual({ tags: ['a'] });
  });

  it('keeps what guests changed, and the policy, when the device process dies, and when the daemon does', async () => {
    const first = await start();
    const source = join(directory, '..', 'src');
    mkdirSync(source);
    await client.create('dev');
    const [{ overlay }] = await client.attach('dev', {
      mounts: [
        {
          ...{ tag: 'a', source: { type: 'directory', path: source }, overlay: { type: 'kept' } },
          policy: { deny: ['**/.env'] },
        },
      ],
    });
    // As a guest would, by way of the overlay.
    writeFileSync(join(overlay && 'path' in overlay ? overlay.path : '', 'new'), 'new');
    const diff = async () => {
      const paths = [];
      for await (const { changes } of client.review('dev', 'a', { kind: 'diff' }))
        paths.push(...changes.map(({ path }) => path));
      return paths;
    };
    expect(await diff()).toEqual(['/new']);
    await client.changePolicy('dev', 'a', { set: { readOnly: true } });
    const pid = await devicePid('dev');
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => devicePid('dev'), PATIENTLY).not.toBe(pid);
    await expect.poll(async () => (await client.get('dev')).deviceProcess.state, PATIENTLY).toBe('running');
    expect(await diff()).toEqual(['/new']);
    expect(await client.policy('dev', 'a')).toMatchObject({ readOnly: true, policy: { deny: ['**/.env'] } });
    first.process.kill('SIGKILL');
    await first.exited;
    await start();
    expect(await diff()).toEqual(['/new']);
    expect(await client.policy('dev', 'a')).toMatchObject({ readOnly: true, policy: { deny: ['**/.env'] } });
    expect(existsSync(join(source, 'new'))).toBe(false);
    expect((await client.get('dev')).mounts[0].overlay).toEqual(overlay);
    for await (const { done } of client.review('dev', 'a', { kind: 'commit' })) expect(done).toBeDefined();
    expect(existsSync(join(source, 'new'))).toBe(true);
    expect(await client.detach('dev', 'a')).toEqual({ tags: ['a'] });
    expect(await client.delete('dev')).toEqual({ kept: [] });
  });

  it('finds a VM at the QMP socket, refuses what it cannot use, and loses it again', async () => {
    await start();
    await client.create('dev', { slots: 2 });
    const qemu = new FakeQemu(2);
    qemu.memory = [{ id: 'pc.ram', share: false }];
    await qemu.listen((await client.get('dev')).qmpSocket);
    await expect
      .poll(async () => (await client.get('dev')).vmmProblem, PATIENTLY)
      .toMatch(/"pc.ram" of this VM is not shared/);
    const attach = () => client.attach('dev', { mounts: [{ tag: 'a', source: { type: 'memory' } }] });
    await expect(attach()).rejects.toMatchObject(refusal('VMM_UNSUITABLE', /not shared/, /share=on/));
    await qemu.stop();
    await expect.poll(async () => (await client.get('dev')).vmmProblem, PATIENTLY).toBeUndefined();
    qemu.memory = [{ id: 'chassis-mem', share: true }];
    await qemu.listen((await client.get('dev')).qmpSocket);
    await expect.poll(async () => (await client.get('dev')).vmm?.version, PATIENTLY).toBe('11.1.3');
    qemu.refuseAdd = () => ({ error: { class: 'GenericError', desc: 'no room' } });
    await expect(attach()).rejects.toMatchObject(refusal('VMM_REFUSED', /no room/));
    expect(await client.mounts('dev')).toEqual([]);
    await qemu.close();
  });

  it('ends while an attach waits for the VM, which is answered', async () => {
    const daemon = await start();
    await client.create('dev');
    const qemu = new FakeQemu(8);
    const answer = qemu.answer;
    qemu.answer = (command) => (command.execute === 'device_add' ? undefined : answer(command));
    await qemu.listen((await client.get('dev')).qmpSocket);
    await expect.poll(async () => (await client.get('dev')).vmm, PATIENTLY).toBeDefined();
    const attaching = expect(
      client.attach('dev', { mounts: [{ tag: 'a', source: { type: 'memory' } }] }),
    ).rejects.toMatchObject(refusal('VMM_GONE'));
    await expect.poll(() => qemu.changes, PATIENTLY).toEqual(['device_add chassis-slot1-fn0']);
    daemon.process.kill('SIGTERM');
    await attaching;
    expect(await daemon.exited).toEqual([0, null]);
    await qemu.close();
  });

  it('says what is wrong with its directory, without a stack', async () => {
    mkdirSync(directory, { mode: 0o755 });
    const daemon = spawn(process.execPath, [BUILT_MAIN, '--dir', directory], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    daemon.stderr.setEncoding('utf8').on('data', (piece: string) => (text += piece));
    expect(await once(daemon, 'close')).toEqual([1, null]);
    expect(text).toMatch(/others may enter it.*\n.*chmod 700/);
    expect(text).not.toMatch(/\n +at /);
  });
});
