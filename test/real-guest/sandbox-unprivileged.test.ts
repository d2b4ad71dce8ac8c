import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Reactor } from '../../host/index.js';
import { ChassisClient } from '../../manager/control/client.js';
import { ChassisPaths } from '../../manager/control/state-directory.js';
import { T } from '../devices/9p/server/support/wire.js';
import { BUILT_MAIN, BUILT_MOUNT_MAKER } from '../manager/built.js';
import { DaemonProcess } from '../manager/daemon-process.js';
import { MSIZE, ninePClient, Rread } from '../manager/nine-p-client.js';
import { withBubblewrap } from './support/bubblewrap.js';

const USER = { uid: 4321, gid: 4321 } as const;
const Rlerror = 7;
const Rlcreate = 15;
const O_RDWR = 2;
const LAN = { type: 'switch', switch: 'lan', isolated: false, macLock: false } as const;

/** Somebody else than root, to whom this package is to be seen. */
const canBeTried =
  process.geteuid?.() === 0 && spawnSync('test', ['-r', BUILT_MAIN], { ...USER }).status === 0;

withBubblewrap();

describe.runIf(canBeTried)('a daemon that is not root', () => {
  let folder: string;
  let shared: string;
  let daemon: DaemonProcess;
  let client: ChassisClient;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'chassis-test-'));
    chmodSync(folder, 0o755);
    shared = join(folder, 'shared');
    const directory = join(folder, 'state');
    for (const each of [shared, directory]) {
      mkdirSync(each, { mode: 0o700 });
      chownSync(each, USER.uid, USER.gid);
    }
    writeFileSync(join(shared, 'of-root'), 'hello');
    writeFileSync(join(shared, 'closed'), 'of root alone', { mode: 0o600 });
    writeFileSync(join(folder, 'secret'), 'above');
    daemon = await DaemonProcess.start(directory, [], {}, USER);
    client = new ChassisClient({ directory });
    await client.create('dev', { slots: 8 });
    await client.attach('dev', {
      mounts: [{ tag: 'a', source: { type: 'directory', path: shared } }],
      port: 'vhost-user',
    });
  });
  afterEach(async () => {
    for (const { name } of await client.list()) await client.delete(name, { force: true });
    await daemon.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** What its process has open of directories. */
  async function openDirectories(): Promise<string[]> {
    const { pid } = (await client.get('dev')).deviceProcess;
    return readdirSync(`/proc/${pid}/fd`)
      .map((fd) => `/proc/${pid}/fd/${fd}`)
      .filter((each) => statSync(each, { throwIfNoEntry: false })?.isDirectory());
  }

  it('confines its processes, as the user that it is and without any capability', async () => {
    await client.addCard('dev', { name: 'lan0', network: LAN });
    const { deviceProcess, cards } = await client.get('dev');
    const sandbox = {
      namespaces: expect.arrayContaining(['user', 'mnt', 'net', 'ipc', 'uts']) as string[],
      ...{ noNewPrivileges: true, seccomp: true, coreDumps: false },
      capabilities: '0000000000000000',
    };
    expect(deviceProcess.sandbox).toMatchObject(sandbox);
    expect(cards[0].switchSandbox).toMatchObject(sandbox);
    for (const map of ['uid_map', 'gid_map'])
      expect(readFileSync(`/proc/${deviceProcess.pid}/${map}`, 'utf8').trim().split(/\s+/)).toEqual([
        ...[String(USER.uid), String(USER.uid), '1'],
      ]);
  });

  it('gives them directories from which nothing leads up, also those that are upgraded', async () => {
    for (let time = 0; time < 2; time++) {
      const directories = await openDirectories();
      const ofShare = directories.filter((each) => statSync(each).ino === statSync(shared).ino);
      expect(ofShare.length).toBeGreaterThan(0);
      for (const each of ofShare) expect(statSync(`${each}/..`).ino).toBe(statSync(shared).ino);
      const above = directories.filter((each) => statSync(`${each}/../secret`, { throwIfNoEntry: false }));
      expect(above.map((each) => readlinkSync(each))).toEqual([]);
      await client.upgrade('dev');
    }
  });

  it('has guests read and write what its user may, and nothing else', async () => {
    const reactor = new Reactor({ onError: (error) => console.error(error) });
    reactor.start();
    const { state, slot, function: fn } = (await client.get('dev')).mounts[0];
    expect(state).toBe('parked');
    const socketPath = new ChassisPaths(join(folder, 'state'), 'dev').functionSocket(slot, fn);
    const { frontEnd, queue } = await ninePClient(reactor, socketPath);
    await queue.exchange(T.walk(1, 0, 1, 'of-root'), MSIZE);
    await queue.exchange(T.lopen(1, 1, 0), MSIZE);
    const reply = await queue.exchange(T.read(1, 1, 0, 1000), MSIZE);
    expect([reply[4], reply.subarray(11).toString()]).toEqual([Rread, 'hello']);
    await queue.exchange(T.walk(1, 0, 3, 'closed'), MSIZE);
    expect((await queue.exchange(T.lopen(1, 3, 0), MSIZE))[4]).toBe(Rlerror);
    await queue.exchange(T.walk(1, 0, 2), MSIZE);
    expect((await queue.exchange(T.lcreate(1, 2, 'new', O_RDWR, 0o600, USER.gid), MSIZE))[4]).toBe(Rlcreate);
    expect(statSync(join(shared, 'new'))).toMatchObject(USER);
    frontEnd.close();
    reactor.close();
  });
});

describe.runIf(canBeTried)('the process that makes mounts for a daemon that is not root', () => {
  it('knows those that the host has made since, where they are not shared with other namespaces', async () => {
    const late = mkdtempSync(join(tmpdir(), 'chassis-test-'));
    chmodSync(late, 0o755);
    const host = spawn('unshare', ['--mount', '--propagation', 'private', 'sleep', '600']);
    await expect
      .poll(() => readlinkSync(`/proc/${host.pid}/ns/mnt`))
      .not.toBe(readlinkSync('/proc/self/ns/mnt'));
    const inHost = ['--target', String(host.pid), '--mount', '--'];
    const script = `
      import { closeSync, readdirSync } from 'node:fs';
      import { MountMaker } from ${JSON.stringify(BUILT_MOUNT_MAKER)};
      const maker = new MountMaker();
      const look = async () => {
        const fd = await maker.clone(${JSON.stringify(late)});
        console.log(JSON.stringify(readdirSync('/proc/self/fd/' + fd)));
        closeSync(fd);
      };
      await look();
      process.stdin.once('data', () => look().then(() => process.exit()));
    `;
    const user = ['setpriv', '--reuid', String(USER.uid), '--regid', String(USER.gid), '--clear-groups'];
    const node = [process.execPath, '--input-type=module', '--eval', script];
    const asked = spawn('nsenter', [...inHost, ...user, ...node], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      const said = asked.stdout.setEncoding('utf8');
      expect(await once(said, 'data')).toEqual(['[]\n']);
      spawnSync('nsenter', [...inHost, 'mount', '-t', 'tmpfs', 'none', late]);
      spawnSync('nsenter', [...inHost, 'touch', join(late, 'seen')]);
      asked.stdin.write('again');
      expect(await once(said, 'data')).toEqual(['["seen"]\n']);
    } finally {
      asked.kill();
      host.kill();
      rmSync(late, { recursive: true, force: true });
    }
  });
});
