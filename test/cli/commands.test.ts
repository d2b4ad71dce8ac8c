import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Chassis, Mount } from '../../manager/control/api.js';
import { CHASSIS, TestDaemon } from '../support/daemon.js';

describe('the command line, without a VM', () => {
  let daemon: TestDaemon;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'chassis-cli-'));
    daemon = await TestDaemon.start();
  });
  afterAll(async () => {
    expect(await daemon.stop()).toBe(0);
    await rm(folder, { recursive: true });
  });

  async function directory(name: string): Promise<string> {
    const path = join(folder, name);
    await mkdir(path, { recursive: true });
    return path;
  }

  it('says that there is no chassis yet, and how to make one', async () => {
    expect(await daemon.failure('show')).toMatchObject({
      code: 'NO_CHASSIS',
      suggestion: expect.stringContaining('chassis create') as string,
      exitCode: 4,
    });
  });

  it('creates a chassis, shows and lists it', async () => {
    expect((await daemon.cli('create', 'dev', '--slots', '2')).stdout).toMatch(/^chassis dev: 2 slots/);
    expect(await daemon.json<Chassis>('show')).toMatchObject({
      name: 'dev',
      slots: 2,
      slotsFree: 2,
      deviceProcess: { state: 'running' },
      mounts: [],
    });
    expect((await daemon.cli('list')).stdout.split('\n')[1]).toMatch(/^dev +2 of 2 +0 +0 +0 +none +running$/);
  });

  it('refuses a second chassis of the name, and names that are not plain', async () => {
    expect(await daemon.failure('create', 'dev')).toMatchObject({ code: 'CHASSIS_EXISTS', exitCode: 5 });
    expect(await daemon.failure('create', '../dev')).toMatchObject({ code: 'BAD_REQUEST', exitCode: 2 });
  });

  it('attaches a directory, which waits for a VM, and prints the mount command', async () => {
    const { stdout, exitCode } = await daemon.cli('attach', await directory('src'), '--read-only');
    expect(exitCode).toBe(0);
    expect(stdout).toBe(
      'src waits in slot 1, function 0: it is plugged in once a VM runs and function 0 of the slot is there\n' +
        '  in the guest: mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro src /mnt/src',
    );
    const { mounts } = await daemon.json<{ mounts: Mount[] }>('mounts');
    expect(mounts).toMatchObject([{ tag: 'src', slot: 1, function: 0, readOnly: true, state: 'parked' }]);
  });

  it('puts several directories of one attach into one slot', async () => {
    const paths = [await directory('a'), await directory('b')];
    const { mounts } = await daemon.json<{ mounts: Mount[] }>(
      ...['attach', ...paths, '--tag', 'x', '--via', 'function'],
    );
    expect(mounts.map(({ tag, slot, function: fn }) => [tag, slot, fn])).toEqual([
      ['x', 2, 0],
      ['b', 2, 1],
    ]);
    expect((await daemon.cli('mounts')).stdout).toMatch(/^TAG +SOURCE/);
  });

  it.each([
    ['a directory that does not exist', ['/no/such/directory'], 'SOURCE_MISSING', 4],
    ['a file', ['FILE'], 'SOURCE_NOT_DIRECTORY', 2],
    ['a tag in use', ['DIR', '--tag', 'src'], 'TAG_IN_USE', 5],
    ['an empty tag', ['DIR', '--tag', ''], 'TAG_INVALID', 2],
    ['a tag that is too long', ['DIR', '--tag', 'é'.repeat(128)], 'TAG_INVALID', 2],
    ['a slot that the chassis lacks', ['DIR', '--slot', '9'], 'SLOT_UNKNOWN', 4],
    ['a function that is taken', ['DIR', '--slot', '1', '--function', '0'], 'SLOT_TAKEN', 5],
    ['no slot left', ['DIR'], 'NO_SLOT_FREE', 5],
    ['a target without a helper', ['DIR', '--target', '/x', '--via', 'function'], 'BAD_REQUEST', 2],
    ['a relative target', ['DIR', '--target', 'x'], 'BAD_REQUEST', 2],
    ['a queue in a slot', ['DIR', '--via', 'queue', '--slot', '1'], 'BAD_REQUEST', 2],
    ['a function for queues', ['DIR', '--via', 'queue'], 'NO_SLOT_FREE', 5],
    ['memory without a tag', ['mem:'], 'TAG_INVALID', 2],
    ['more tags than directories', ['DIR', '--tag', 'a', '--tag', 'b'], 'BAD_REQUEST', 2],
    ['a chassis that does not exist', ['DIR', '--chassis', 'nope'], 'NO_CHASSIS', 4],
  ])('refuses to attach %s, and attaches nothing', async (_, words, code, exitCode) => {
    const [dir, file] = [await directory('dir'), join(folder, 'file')];
    await writeFile(file, '');
    const before = await daemon.json<{ mounts: Mount[] }>('mounts');
    const given = words.map((word) => (word === 'DIR' ? dir : word === 'FILE' ? file : word));
    expect(await daemon.failure('attach', ...given)).toMatchObject({ code, exitCode });
    expect(await daemon.json<{ mounts: Mount[] }>('mounts')).toEqual(before);
  });

  it('lets one of two win where both attach the same tag at once', async () => {
    const path = await directory('race');
    const both = await Promise.all(
      [1, 2].map(() => daemon.cli('attach', path, '--slot', '1', '--function', '3')),
    );
    expect(both.map(({ exitCode }) => exitCode).sort()).toEqual([0, 5]);
  });

  it('draws what sits where', async () => {
    expect((await daemon.cli('tree')).stdout.split('\n')).toEqual([
      expect.stringMatching(/^-\[0000:00\]-\+-10\.0-\[slot 1\]-\+-00\.0 src .*\/src \(parked\)$/) as string,
      expect.stringMatching(/^ {11}\| +\\-00\.3 race .*\(parked\)$/) as string,
      expect.stringMatching(/^ {11}\\-10\.1-\[slot 2\]-\+-00\.0 x /) as string,
      expect.stringMatching(/^ +\\-00\.1 b /) as string,
    ]);
    expect(await daemon.json('tree')).toMatchObject({ kind: 'root-complex', children: [{ slot: 1 }, {}] });
  });

  it('plans before anything is made, and says what is left of a chassis', async () => {
    const { stdout } = await daemon.cli('plan', '--mounts', '600');
    expect(stdout).toMatch(
      /^600 mounts on qemu, each as a function of its own\n +needs +75 slots of 8.* 1 switch/,
    );
    expect(stdout).toMatch(/make it +chassis create NAME --slots 75/);
    expect(await daemon.json('plan', '--mounts', '3000')).toMatchObject({ via: 'tree', slots: 1 });
    const refused = await daemon.failure('plan', '--mounts', '1', '--chassis', 'dev', '--via', 'function');
    expect(refused).toMatchObject({ code: 'NO_SLOT_FREE', exitCode: 5 });
  });

  it('prints how a guest gets its mounts by itself', async () => {
    expect((await daemon.cli('guest-setup')).stdout).toMatch(
      /^mkdir -p .* chassis (\S+)\nsh \1\/ctl\/helper\.sh &$/,
    );
    const unit = await daemon.cli('guest-setup', '--format', 'systemd');
    expect(unit.stdout).toMatch(/^# \/etc\/systemd\/system\/chassis-tree@\.service\n\[Unit\]/);
    expect(await daemon.json('guest-setup', '--format', 'udev')).toMatchObject({
      path: '/etc/udev/rules.d/90-chassis-tree.rules',
      text: expect.stringContaining('ATTR{mount_tag}=="chassis"') as string,
    });
  });

  it('makes as many slots as a number of mounts takes', async () => {
    expect(await daemon.json('create', 'large', '--mounts', '600')).toMatchObject({ slots: 75 });
    const misfit = await daemon.failure('create', 'small', '--mounts', '9', '--slots', '1');
    expect(misfit).toMatchObject({ code: 'NO_SLOT_FREE', exitCode: 5 });
    const { args } = await daemon.json<{ args: string[] }>('args', 'large');
    expect(args.filter((arg) => arg.startsWith('xio3130-downstream'))).toHaveLength(11);
    await daemon.json('remove', 'large');
  });

  it('attaches to queues of one function, lists them with their counters, and detaches one of them', async () => {
    await daemon.json('create', 'queued', '--slots', '2');
    const on = ['--chassis', 'queued'];
    const { stdout } = await daemon.cli(
      'attach',
      'mem:',
      'mem:',
      '-t',
      'q0',
      '-t',
      'q1',
      '--via',
      'queue',
      ...on,
    );
    expect(stdout).toMatch(/in the guest: mount -t 9p .* q0 \/mnt\/q0\n/);
    expect(stdout).toMatch(/q1 waits in slot 1, function 0, queue 1.*\n +note: .*VIRTIO_9P_F_MULTIPLEX.*$/);
    expect(await daemon.json('plan', '--mounts', '62', '--via', 'queue', ...on)).toMatchObject({ left: 0 });
    const { mounts } = await daemon.json<{ mounts: Mount[] }>('mounts', ...on);
    expect(mounts).toMatchObject([
      { tag: 'chassis-queues', source: { type: 'queues' }, counters: { queues: { length: 64 } } },
      { tag: 'q0', via: 'queue', queue: 0, counters: { queues: [{ requests: 0 }], fids: 0 } },
      { tag: 'q1', via: 'queue', queue: 1, slot: 1, function: 0, state: 'parked' },
    ]);
    expect((await daemon.cli('tree', 'queued')).stdout).toMatch(
      /00\.0 chassis-queues \(parked\)-\+-queue 0 q0 mem: \(parked\)\n.*queue 1 q1 mem: /,
    );
    expect((await daemon.cli('show', 'queued')).stdout).toMatch(/q1 +mem: +rw +queue 1 +1 +0 +parked/);
    expect(await daemon.json('detach', 'q0', ...on)).toMatchObject({ detached: ['q0'] });
    expect(await daemon.failure('detach', 'chassis-queues', ...on)).toMatchObject({ code: 'SLOT_SHARED' });
    await daemon.json('remove', 'queued', '--force');
  });

  it('attaches a directory whose changes are watched, and shows how', async () => {
    await daemon.json('create', 'watching', '--slots', '1');
    const on = ['--chassis', 'watching'];
    const { stdout } = await daemon.cli('attach', await directory('watched'), '--watch', ...on);
    expect(stdout).toMatch(/^watched will be seen once a VM runs in the tree/);
    const { mounts } = await daemon.json<{ mounts: Mount[] }>('mounts', ...on);
    expect(mounts.find(({ tag }) => tag === 'watched')).toMatchObject({
      via: 'tree',
      watching: { directories: 0 },
    });
    expect((await daemon.cli('show', 'watching')).stdout).toMatch(/^watched is watched in 0 directories$/m);
    expect(await daemon.failure('attach', 'mem:', '--tag', 'm', '--watch', ...on)).toMatchObject({
      code: 'BAD_REQUEST',
    });
    await daemon.json('remove', 'watching', '--force');
  });

  it('detaches only what was asked for', async () => {
    expect(await daemon.failure('detach', 'nothing')).toMatchObject({ code: 'NO_MOUNT', exitCode: 4 });
    expect(await daemon.json('detach', 'b')).toMatchObject({ detached: ['b'] });
    const { mounts } = await daemon.json<{ mounts: Mount[] }>('mounts');
    expect(mounts.map(({ tag }) => tag).sort()).toEqual(['race', 'src', 'x']);
  });

  it('prints flags for a QEMU started by hand, quoted for a shell', async () => {
    const { args } = await daemon.json<{ args: string[] }>('args', '--memory', '256');
    expect(args).toContain('q35,memory-backend=chassis-mem');
    const { stdout } = await daemon.cli('args', '--memory', '256');
    const { stdout: echoed } = await execa('sh', ['-c', `printf '%s\\n' ${stdout}`]);
    expect(echoed.split('\n')).toEqual(args);
  });

  it('will not boot a QEMU that is too old, or none', async () => {
    const old = join(folder, 'old-qemu');
    await writeFile(old, '#!/bin/sh\necho QEMU emulator version 7.1.0\n', { mode: 0o755 });
    const tooOld = await daemon.cli('run', '--qemu', old);
    expect(tooOld.exitCode).toBe(6);
    expect(tooOld.stderr).toMatch(/7\.1/);
    expect((await daemon.cli('run', '--qemu', '/no/qemu')).exitCode).toBe(6);
  });

  it('removes a chassis with mounts only by force', async () => {
    expect(await daemon.failure('remove', 'dev')).toMatchObject({ code: 'CHASSIS_IN_USE', exitCode: 5 });
    expect((await daemon.cli('remove', 'dev', '--force')).exitCode).toBe(0);
    expect(await daemon.json('list')).toEqual({ chassis: [] });
    expect((await readdir(daemon.directory)).filter((name) => name === 'dev')).toEqual([]);
  });

  it('tells that a daemon is ready as JSON, for scripts that start one, and is that daemon', async () => {
    const line = [CHASSIS, 'serve', '--json', '--dir', join(folder, 'second')];
    const second = execa(process.execPath, line, { reject: false });
    const { value } = (await second.stdout[Symbol.asyncIterator]().next()) as { value: Buffer };
    expect(JSON.parse(value.toString())).toEqual({
      socket: join(folder, 'second', 'api.sock'),
      // Whoever kills the command means the daemon.
      pid: second.pid,
    });
    second.kill('SIGTERM');
    expect((await second).exitCode).toBe(0);
  });

  it('refuses a second daemon on the same directory, naming the first', async () => {
    const { exitCode, stderr } = await execa(
      process.execPath,
      [CHASSIS, 'serve', '--dir', daemon.directory],
      {
        reject: false,
      },
    );
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/pid \d+/);
    expect(stderr).not.toMatch(/\n +at /);
  });
});

describe('the command line, without a daemon', () => {
  it('says how to start one, with exit code 3', async () => {
    const line = [CHASSIS, 'list', '--dir', join(tmpdir(), 'chassis-no-such-daemon')];
    const { exitCode, stderr } = await execa(process.execPath, line, { reject: false });
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/chassis serve/);
    expect(stderr).not.toMatch(/\n +at /);
  });

  it.each([[[]], [['--json']]])('ends with 2 for a flag that there is not, %j', async (format) => {
    const line = [CHASSIS, 'list', '--no-such-flag', ...format];
    const { exitCode, stdout, stderr } = await execa(process.execPath, line, { reject: false });
    expect([exitCode, stdout + stderr]).toEqual([2, expect.stringMatching('--no-such-flag')]);
  });

  it('says which path is too long for a socket', async () => {
    const long = join(tmpdir(), 'x'.repeat(120));
    const { exitCode, stderr } = await execa(process.execPath, [CHASSIS, 'serve', '--dir', long], {
      reject: false,
    });
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/107/);
    expect(stderr).not.toMatch(/\n +at /);
  });
});
