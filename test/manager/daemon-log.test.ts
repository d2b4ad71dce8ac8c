import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { ChassisPaths } from '../../manager/control/state-directory.js';
import { ConnectingQemu, DaemonProcess, processesOf } from './daemon-process.js';
import { PATIENTLY } from './patiently.js';
import { temporaryFolders } from './temporary-folder.js';

interface LogRecord {
  readonly level: string;
  readonly time: string;
  readonly msg: string;
  readonly pid: number;
  readonly chassis?: string;
  readonly event?: { readonly type: string };
}

describe('the log of a daemon', () => {
  const folder = temporaryFolders();
  let directory: string;
  let client: ChassisClient;
  let daemon: DaemonProcess;
  let qemu: ConnectingQemu;
  let paths: ChassisPaths;

  beforeEach(() => {
    directory = join(folder(), 'state');
    client = new ChassisClient({ directory });
    paths = new ChassisPaths(directory, 'dev');
    qemu = new ConnectingQemu(6);
  });
  afterEach(async () => {
    for (const pid of processesOf(directory)) process.kill(pid, 'SIGKILL');
    await daemon.exited;
    await qemu.close();
  });

  /** A VM with a mount, whose device process is ended by this signal, comes back, and is left by the mount. */
  async function run(signal: NodeJS.Signals, flags: string[]): Promise<number> {
    daemon = await DaemonProcess.start(directory, [], {}, {}, flags);
    await client.create('dev', { slots: 6 });
    await qemu.listen(paths.qmpSocket);
    await expect.poll(async () => (await client.get('dev')).vmm, PATIENTLY).toBeDefined();
    await client.attach('dev', { mounts: [{ tag: 'src', source: { type: 'memory' } }] });
    const { pid } = (await client.get('dev')).deviceProcess;
    if (pid === undefined) throw new Error('there is no device process');
    process.kill(pid, signal);
    await expect
      .poll(async () => (await client.get('dev')).deviceProcess, PATIENTLY)
      .toMatchObject({ state: 'running', restarts: 1 });
    await client.detach('dev', 'src', { force: true });
    return pid;
  }

  const recordsOf = (text: string) =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as LogRecord);

  it('is one record in JSON a line, over an attach, the end of a device process, and a detach', async () => {
    const pid = await run('SIGTERM', ['--log-format', 'json', '--log-level', 'debug']);
    const ofProcess = recordsOf(readFileSync(paths.deviceLog, 'utf8'));
    await daemon.stop();
    const records = recordsOf(daemon.log);
    for (const { time, pid: writer, msg } of records) {
      expect([typeof msg, writer > 0]).toEqual(['string', true]);
      expect(time).toMatch(/Z$/);
    }
    const happened = records.flatMap(({ chassis, event }) => (event ? [`${chassis}: ${event.type}`] : []));
    expect(happened.filter((type) => /mount|process|vm/.test(type))).toEqual([
      ...['dev: process.started', 'dev: vm.connected', 'dev: mount.attached'],
      ...['dev: process.lost', 'dev: process.started', 'dev: mount.detached'],
    ]);
    expect(records).toContainEqual(
      expect.objectContaining({
        ...{ level: 'warn', chassis: 'dev' },
        // It closes its connection first, and is killed where that is noticed sooner.
        msg: expect.stringMatching(/^the device process is lost: .*: ends: SIGTERM$/) as string,
      }),
    );
    expect(records).toContainEqual(
      expect.objectContaining({ msg: 'POST /v1/chassis/dev/attach', request: expect.anything() as unknown }),
    );
    expect(ofProcess).toContainEqual(
      expect.objectContaining({ level: 'info', chassis: 'dev', pid, msg: 'ends: SIGTERM' }),
    );
  });

  it('is lines for people without that, of which debugging is none', async () => {
    await run('SIGKILL', []);
    await daemon.stop();
    const lines = daemon.log.trimEnd().split('\n');
    expect(lines).toContain('chassis: dev: the device process is lost: it was killed by SIGKILL');
    expect(lines.filter((line) => line.includes('runs again'))).toEqual([
      expect.stringMatching(/^chassis: dev: the device process runs again, after \d+ ms$/),
    ]);
    expect(lines.filter((line) => /mount\.|POST/.test(line))).toEqual([]);
  });

  it('has no line that a device process made up', async () => {
    daemon = await DaemonProcess.start(directory);
    await client.create('dev', { slots: 6 });
    const { pid = 0 } = (await client.get('dev')).deviceProcess;
    appendFileSync(paths.deviceLog, `\u001b[2J\u2028chassis: prod: is gone${'!'.repeat(3000)}\n`);
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => daemon.log, PATIENTLY).toMatch(/runs again/);
    await daemon.stop();
    const lines = daemon.log.trimEnd().split('\n');
    expect(lines.filter((line) => !line.startsWith('chassis: dev'))).toEqual([]);
    expect(lines[0]).toMatch(/\\u001b\[2J\\u2028chassis: prod: is gone!+… \(\d+ more characters\)$/);
  });

  it('says why a daemon does not start', async () => {
    daemon = await DaemonProcess.start(directory, [], {}, {}, ['--log-level', 'loud']);
    expect(await daemon.exited).toEqual([1, null]);
    expect(daemon.log).toBe('chassis: ends: --log-level is error, warn, info, debug, not loud\n');
  });
});
