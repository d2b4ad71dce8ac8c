import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { ChassisPaths, SwitchPaths } from '../../manager/control/state-directory.js';
import { readStamp } from '../../manager/process-stamp.js';
import { ConnectingQemu, DaemonProcess, processesOf } from './daemon-process.js';
import { PATIENTLY } from './patiently.js';
import { refusal } from './refusal.js';
import { temporaryFolders } from './temporary-folder.js';

const memory = { type: 'memory' } as const;
const mount = (tag: string) => ({ mounts: [{ tag, source: memory }] });
const LAN = { type: 'switch', switch: 'lan', isolated: false, macLock: false } as const;

describe('a daemon that ends', () => {
  const folder = temporaryFolders();
  let directory: string;
  let client: ChassisClient;
  let daemon: DaemonProcess;
  let qemu: ConnectingQemu;

  beforeEach(async () => {
    directory = join(folder(), 'state');
    client = new ChassisClient({ directory });
    qemu = new ConnectingQemu(6);
    daemon = await DaemonProcess.start(directory);
  });
  afterEach(async () => {
    for (const pid of processesOf(directory)) process.kill(pid, 'SIGKILL');
    await daemon.exited;
    await qemu.close();
  });

  /** A chassis with something of everything, in a VM. */
  async function populate(): Promise<void> {
    await client.create('dev', { slots: 6 });
    await boot();
    await client.attach('dev', mount('a'));
    await client.attach('dev', { ...mount('t'), via: 'tree' });
    await client.addDisk('dev', {
      name: 'd',
      source: { type: 'memory', sizeBytes: 8192 },
      port: 'vfio-user',
    });
    await client.addCard('dev', { name: 'n', network: LAN });
  }

  async function boot(): Promise<void> {
    await qemu.listen(new ChassisPaths(directory, 'dev').qmpSocket);
    await expect.poll(async () => (await client.get('dev')).vmm, PATIENTLY).toBeDefined();
  }

  async function restart(signal: NodeJS.Signals): Promise<void> {
    await daemon.stop(signal);
    daemon = await DaemonProcess.start(directory);
    await expect.poll(async () => (await client.get('dev')).vmm, PATIENTLY).toBeDefined();
    await expect.poll(async () => (await client.get('dev')).mounts[0]?.state, PATIENTLY).toBe('plugged');
  }

  const pids = () =>
    [new ChassisPaths(directory, 'dev').deviceStamp, new SwitchPaths(directory, 'lan').stamp].map(
      (stamp) => readStamp(stamp)?.pid,
    );

  /** Without what is counted. */
  async function shown() {
    const { mounts, disks, cards, deviceProcess } = await client.get('dev');
    const plain = [...mounts, ...disks, ...cards].map(
      ({ counters: _, driver: __, ...rest }: Record<string, unknown>) => rest,
    );
    return { deviceProcess, plain };
  }

  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'at %s leaves all to the next one, which finds it as it was, and VMs notice nothing',
    async (signal) => {
      await populate();
      const before = await shown();
      const processes = pids();
      const sockets = new Map(qemu.open);
      expect(sockets.size).toBe(4);
      await restart(signal);
      expect(pids()).toEqual(processes);
      await expect.poll(shown, PATIENTLY).toEqual(before);
      expect(qemu.changes.filter((change) => change.startsWith('device_add'))).toHaveLength(4);
      for (const [id, socket] of sockets) expect([id, socket.destroyed]).toEqual([id, false]);
      await client.detach('dev', 'a');
      await client.detach('dev', 't');
      await client.removeDisk('dev', 'd');
      await client.removeCard('dev', 'n');
      await client.detach('dev', 'chassis');
      await client.delete('dev');
      await expect.poll(() => processesOf(directory), PATIENTLY).toHaveLength(1);
      expect(readdirSync(directory).sort()).toEqual(['api.sock', 'daemon.lock', 'dev.vm']);
      expect(readdirSync(join(directory, 'dev.vm'))).toEqual(['qmp.sock']);
    },
  );

  it('and whose processes have died, too, has them made anew by the next one', async () => {
    await client.create('dev', { slots: 6 });
    await client.attach('dev', mount('a'));
    await client.addCard('dev', { name: 'n', network: LAN });
    const processes = pids();
    await daemon.stop('SIGKILL');
    for (const pid of processes) process.kill(pid ?? 0, 'SIGKILL');
    daemon = await DaemonProcess.start(directory);
    expect(daemon.log).toMatch(/dev: its device process is gone, and is started over/);
    expect(pids()).toEqual([expect.any(Number), expect.any(Number)]);
    expect(pids()).not.toEqual(processes);
    expect(existsSync(new ChassisPaths(directory, 'dev').functionSocket(1, 0))).toBe(true);
    expect(await client.get('dev')).toMatchObject({
      mounts: [{ tag: 'a', state: 'parked' }],
      cards: [{ name: 'n', state: 'parked' }],
    });
  });

  it('while it waits for a VM answers who waits, and the next one goes on with it', async () => {
    await client.create('dev', { slots: 6 });
    const { answer } = qemu;
    qemu.answer = (command) => (command.execute === 'device_add' ? undefined : answer(command));
    await boot();
    const attaching = expect(client.attach('dev', mount('a'))).rejects.toMatchObject(
      refusal('NO_DAEMON', /stopped before this was done/, /chassis serve/),
    );
    await expect.poll(() => qemu.changes, PATIENTLY).toEqual(['device_add chassis-slot1-fn0']);
    daemon.signal('SIGTERM');
    await attaching;
    qemu.answer = answer;
    await daemon.exited;
    daemon = await DaemonProcess.start(directory);
    await expect
      .poll(async () => (await client.get('dev')).mounts, PATIENTLY)
      .toMatchObject([{ tag: 'a', state: 'plugged' }]);
  });

  it('leaves a journal that the next one may not understand: that says so, serves the others, and tells the way out', async () => {
    await client.create('dev');
    await client.create('other');
    const { journal } = new ChassisPaths(directory, 'dev');
    await daemon.stop();
    writeFileSync(journal, readFileSync(journal, 'utf8').slice(0, -20));
    daemon = await DaemonProcess.start(directory);
    const broken = refusal(
      'JOURNAL_UNREADABLE',
      new RegExp(`${journal}: .*JSON`),
      /chassis remove dev --force/,
    );
    expect(daemon.log).toContain(journal);
    await expect(client.get('dev')).rejects.toMatchObject(broken);
    await expect(client.create('dev')).rejects.toMatchObject(broken);
    expect(await client.list()).toMatchObject([{ name: 'other' }]);
    expect(processesOf(directory)).toHaveLength(3);
    await client.delete('dev', { force: true });
    await expect.poll(() => processesOf(directory), PATIENTLY).toHaveLength(2);
    await client.create('dev');
  });

  it('while it makes a chassis or gives one up leaves nothing of it', async () => {
    await client.create('dev');
    const { journal } = new ChassisPaths(directory, 'dev');
    const text = readFileSync(journal, 'utf8');
    await daemon.stop('SIGKILL');
    // As it is before the journal is written, and after that is removed.
    const unborn = new ChassisPaths(directory, 'unborn');
    mkdirSync(unborn.vmDirectory);
    writeFileSync(`${unborn.journal}.new`, text.slice(0, 100));
    rmSync(journal);
    daemon = await DaemonProcess.start(directory);
    expect(await client.list()).toEqual([]);
    expect(readdirSync(directory).sort()).toEqual(['api.sock', 'daemon.lock']);
    await expect.poll(() => processesOf(directory), PATIENTLY).toHaveLength(1);
  });
});
