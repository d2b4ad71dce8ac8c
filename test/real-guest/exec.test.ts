import { mkdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Chassis } from '../../manager/control/api.js';
import { CHASSIS } from '../support/daemon.js';
import { describeRealGuest, Lab, tagSeen } from './lab.js';

const ROOT = '/run/chassis/chassis';

describeRealGuest('commands in a Linux guest', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await Lab.start('vhost-user');
    await lab.boot('6.12');
    const [mount] = await lab.daemon
      .json<{ mounts: { mountCommand?: string }[] }>(
        ...['attach', await lab.directory('shared'), '--via', 'tree'],
      )
      .then(async () => (await lab.show()).mounts);
    await lab.guest.waitFor(tagSeen('chassis'));
    await lab.guest.waitFor(mount.mountCommand ?? '');
  });
  afterAll(() => lab.stop());

  /** Starts `chassis ARGUMENTS`. */
  function start(words: string[], options: { input?: Buffer; encoding?: 'buffer' } = {}) {
    const split = words.indexOf('--');
    const at = split < 0 ? words.length : split;
    return execa(
      process.execPath,
      [CHASSIS, ...words.slice(0, at), '--dir', lab.daemon.directory, ...words.slice(at)],
      {
        reject: false,
        input: options.input ?? Buffer.alloc(0),
        encoding: 'buffer',
        stripFinalNewline: false,
      },
    );
  }

  /** How many processes of the guest were started like that. */
  async function running(line: string): Promise<number> {
    const script = `for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2>/dev/null | grep -c '^${line} '`;
    return Number((await lab.guest.sh(script)).stdout);
  }

  async function exec(...command: string[]) {
    const { exitCode, stdout, stderr } = await start(['exec', '--', ...command]);
    return { exitCode, stdout: Buffer.from(stdout).toString(), stderr: Buffer.from(stderr).toString() };
  }

  it('are refused where the guest has not chosen to run them, with what it would have to do', async () => {
    const { exitCode, stderr } = await exec('true');
    expect(exitCode).toBe(125);
    expect(stderr).toMatch(/does not run commands/);
    expect(stderr).toMatch(/guest-setup\s+--exec/);
    await lab.sh(`sh ${ROOT}/ctl/helper.sh >/dev/null 2>&1 &`);
    await expect.poll(async () => (await lab.show()).guestHelper).toBe(true);
    expect((await lab.show()).guestCommands).toBeUndefined();
    expect((await exec('true')).exitCode).toBe(125);
    await lab.sh('kill $(cat /run/chassis-helper/*/pid)');
    await lab.guest.waitFor('! ls /run/chassis-helper/*/pid 2>/dev/null');
  });

  it('run once it has, and give back what they print and their exit code', async () => {
    const { text } = await lab.daemon.json<{ text: string }>('guest-setup', '--exec');
    await lab.sh(`${text.trimEnd().split('\n').at(-1)?.replace('&', '>/tmp/helper.log 2>&1 &')}`);
    await expect.poll(async () => (await lab.daemon.json<Chassis>('show')).guestCommands).toBe(true);
    expect(await exec('sh', '-c', 'echo "$0" | tr a-z A-Z; echo bad >&2; exit 42', "it's")).toEqual({
      exitCode: 42,
      stdout: "IT'S\n",
      stderr: 'bad\n',
    });
    expect((await exec('/nowhere')).exitCode).toBe(127);
    expect((await exec('sh', '-c', 'kill -9 $$')).exitCode).toBe(137);
  });

  it('have the directory and the environment that were asked for', async () => {
    const { stdout } = await start([
      'exec',
      '--cwd',
      '/proc',
      '--env',
      'K=a b',
      '--',
      'sh',
      '-c',
      'pwd; echo "$K"',
    ]);
    expect(Buffer.from(stdout).toString()).toBe('/proc\na b\n');
  });

  it('run as the user that was asked for, with all else as without, and not as one that the guest does not know', async () => {
    await lab.sh(
      "echo 'dev:x:1234:' >> /etc/group; echo 'dev:x:1234:1234::/tmp:/bin/false' >> /etc/passwd; install -d -o 1234 /tmp/home",
    );
    const script = 'id -u; id -g; pwd; echo "$K"; cat > theirs; echo "it\'s" >&2; exit 9';
    const asDev = ['exec', '--user', 'dev', '--cwd', '/tmp/home', '--env', 'K=a b', '--', 'sh', '-c', script];
    const { exitCode, stdout, stderr } = await start(asDev, { input: Buffer.from('typed') });
    expect(Buffer.from(stdout).toString()).toBe('1234\n1234\n/tmp/home\na b\n');
    expect(Buffer.from(stderr).toString()).toBe("it's\n");
    expect(exitCode).toBe(9);
    expect(await lab.sh('stat -c %u /tmp/home/theirs; cat /tmp/home/theirs')).toBe('1234\ntyped');
    expect((await start(['exec', '--user', 'dev', '--', 'touch', '/root/mine'])).exitCode).not.toBe(0);
    const unknown = await start(['exec', '--user', 'nobody-there', '--', 'id']);
    expect(Buffer.from(unknown.stdout).toString()).toBe('');
    expect(Buffer.from(unknown.stderr).toString()).toMatch(/nobody-there/);
    expect(unknown.exitCode).toBe(1);
  });

  it('get a megabyte of any bytes, and give it back', async () => {
    const input = Buffer.from(Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 7 + (i >> 8)) & 255));
    const { exitCode, stdout } = await start(['exec', '--', 'cat'], { input });
    expect(exitCode).toBe(0);
    expect(Buffer.from(stdout).equals(input)).toBe(true);
  });

  it('run beside each other', async () => {
    const results = await Promise.all(
      [1, 2, 3].map((i) => exec('sh', '-c', `sleep 1; echo ${i}; exit ${i}`)),
    );
    expect(results.map(({ exitCode, stdout }) => [exitCode, stdout])).toEqual([
      [1, '1\n'],
      [2, '2\n'],
      [3, '3\n'],
    ]);
  });

  it('are ended with all their processes by Ctrl-C, by a timeout, and when the command line is killed', async () => {
    const sleepers = () => running('sleep 9876');
    const command = ['exec', '--', 'sh', '-c', 'sleep 9876 & wait'];
    const interrupted = start(command);
    await expect.poll(sleepers, { timeout: 30_000 }).toBeGreaterThan(0);
    interrupted.kill('SIGINT');
    expect((await interrupted).exitCode).toBe(143);
    await expect.poll(sleepers, { timeout: 30_000 }).toBe(0);
    const timed = await start(['exec', '--timeout', '1', ...command.slice(1)]);
    expect(timed.exitCode).toBe(124);
    await expect.poll(sleepers, { timeout: 30_000 }).toBe(0);
    const killed = start(command);
    await expect.poll(sleepers, { timeout: 30_000 }).toBeGreaterThan(0);
    killed.kill('SIGKILL');
    await killed;
    await expect.poll(sleepers, { timeout: 30_000 }).toBe(0);
  });

  it('that start something which stays do not wait for that', async () => {
    const { exitCode, stdout } = await exec('sh', '-c', 'setsid sleep 4321 & echo started');
    expect([exitCode, stdout]).toEqual([0, 'started\n']);
    expect(await running('sleep 4321')).toBe(1);
  });

  it('copy files and directories into the guest and back, with their modes and links', async () => {
    const from = await lab.directory('from');
    await mkdir(join(from, 'deep', 'er'), { recursive: true });
    await writeFile(join(from, 'tool'), '#!/bin/sh\necho tool\n', { mode: 0o755 });
    await writeFile(join(from, 'deep', 'er', 'bytes'), Buffer.alloc(300_000, 'ab\0\xff'));
    await symlink('../tool', join(from, 'deep', 'link'));
    await symlink('/etc/shadow', join(from, 'absolute'));
    await lab.daemon.json('cp', from, 'lab:/tmp/to');
    expect(
      await lab.sh('cd /tmp/to; ./tool; readlink deep/link; wc -c < deep/er/bytes; stat -c "%a %u" tool'),
    ).toBe('tool\n../tool\n300000\n755 0');
    await lab.daemon.json('cp', from, 'lab:/tmp/to');
    expect(await lab.sh('ls /tmp/to/from')).toBe('absolute\ndeep\ntool');
    await lab.sh('chmod 4711 /tmp/to/tool; mkfifo /tmp/to/pipe');
    const back = join(lab.folder, 'back');
    expect(await lab.daemon.json('cp', ':/tmp/to', back)).toMatchObject({ skipped: 1 });
    expect(
      (await readFile(join(back, 'deep', 'er', 'bytes'))).equals(Buffer.alloc(300_000, 'ab\0\xff')),
    ).toBe(true);
    expect((await stat(join(back, 'tool'))).mode & 0o7777).toBe(0o711);
    expect(await readlink(join(back, 'absolute'))).toBe('/etc/shadow');
    await lab.daemon.json('cp', join(from, 'tool'), ':/tmp/single');
    await lab.daemon.json('cp', ':/tmp/single', lab.folder);
    expect(await readFile(join(lab.folder, 'single'), 'utf8')).toBe('#!/bin/sh\necho tool\n');
    expect(await lab.daemon.failure('cp', ':/nowhere', lab.folder)).toMatchObject({ code: 'SOURCE_MISSING' });
    expect(await lab.daemon.failure('cp', from, ':/no/such/place')).toMatchObject({ code: 'BAD_REQUEST' });
  });

  it('are not what waiting for a guest needs: it has booted, and has mounted what it was to', async () => {
    await lab.daemon.json('wait', '--for', 'booted', '--timeout', '10');
    await lab.daemon.json('attach', await lab.directory('wanted'), '--target', '/wanted');
    await lab.daemon.json('wait', '--for', 'mounted', '--timeout', '10');
    await lab.daemon.json('wait', '--for', 'gone', '--mount', 'nothing', '--timeout', '10');
    expect(await lab.daemon.failure('wait', '--for', 'gone', '--timeout', '1')).toMatchObject({
      code: 'GUEST_TIMEOUT',
      exitCode: 7,
    });
  });

  it('keep the device process from being replaced, which goes on running them afterwards', async () => {
    const sleeping = start(['exec', '--', 'sleep', '20']);
    await expect.poll(() => running('sleep 20'), { timeout: 30_000 }).toBe(1);
    expect(await lab.daemon.failure('upgrade')).toMatchObject({ code: 'UPGRADE_REFUSED' });
    expect((await sleeping).exitCode).toBe(0);
    await lab.daemon.json('upgrade');
    expect(await exec('echo', 'after')).toMatchObject({ exitCode: 0, stdout: 'after\n' });
  });

  it('fail with their VM, and are off until the next one runs the helper', async () => {
    const sleeping = start(['exec', '--', 'sleep', '1000']);
    await expect.poll(() => running('sleep 1000'), { timeout: 30_000 }).toBe(1);
    const waiting = start(['wait', '--for', 'gone']);
    process.kill(lab.guest.pid, 'SIGKILL');
    const { exitCode, stderr } = await sleeping;
    expect(exitCode).toBe(125);
    expect(Buffer.from(stderr).toString()).toMatch(/went away|taken from the guest/);
    expect((await waiting).exitCode).toBe(0);
    expect((await exec('true')).exitCode).toBe(125);
  });
});
