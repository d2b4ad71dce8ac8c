/** `ctl/helper.sh` by itself, in the shells that guests have: a pipe stands for the events, symbolic links for bind mounts. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HELPER_SCRIPT } from '../../../../../devices/9p/fs/mount-tree/helper-script.js';
import { POKE_SECONDS } from '../../../../../devices/9p/fs/mount-tree/poke.js';
import { escape } from '../../../../../devices/9p/fs/mount-tree/event-lines.js';

const isRoot = process.geteuid?.() === 0;

/** Busybox's shell has a mount of its own, and is for the real guests. */
const shells = [
  ['dash', ['dash']],
  ['bash', ['bash', '--posix']],
].filter(([program]) => spawnSync(program as string, ['-c', 'true']).error === undefined) as [
  string,
  string[],
][];

const MOUNT = `#!/bin/sh
[ "$1" = --bind ] || exit 32
case $3 in *refused*) echo "mount: $3: permission denied" >&2; echo more >&2; exit 32 ;; esac
rmdir "$3" && ln -s "$2" "$3"
`;
const UMOUNT = `#!/bin/sh
for target in "$@"; do :; done
rm "$target" && mkdir "$target"
`;

/** A tree that is no mount, and a helper of it. */
class Stage {
  readonly base = mkdtempSync(join(tmpdir(), 'helper-'));
  readonly root = join(this.base, 'a tree');
  readonly process: ChildProcess;
  #errors = '';
  #events: FileHandle | undefined;

  constructor(shell: readonly string[]) {
    mkdirSync(join(this.root, 'ctl'), { recursive: true });
    spawnSync('mkfifo', [join(this.root, 'ctl', 'events')]);
    writeFileSync(join(this.root, 'ctl', 'helper.sh'), HELPER_SCRIPT);
    const bin = join(this.base, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'mount'), MOUNT, { mode: 0o755 });
    writeFileSync(join(bin, 'umount'), UMOUNT, { mode: 0o755 });
    this.process = spawn(shell[0], [...shell.slice(1), join(this.root, 'ctl', 'helper.sh')], {
      env: { PATH: `${bin}:${process.env.PATH ?? ''}` },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.process.stderr?.on('data', (bytes) => (this.#errors += String(bytes)));
  }

  get errors(): string {
    return this.#errors;
  }

  get stateFolder(): string {
    return `/run/chassis-helper/${this.root.replaceAll('/', '_')}`;
  }

  target(name: string): string {
    return join(this.base, 'targets', name);
  }

  child(name: string): string {
    const path = join(this.root, name);
    mkdirSync(path);
    return path;
  }

  async say(...lines: string[]): Promise<void> {
    this.#events ??= await open(join(this.root, 'ctl', 'events'), 'w');
    await this.#events.write(lines.map((line) => `${line}\n`).join(''));
  }

  async hangUp(): Promise<void> {
    await this.#events?.close();
    this.#events = undefined;
  }

  /** Resolved once nobody has the events open. */
  async deserted(): Promise<void> {
    const flags = constants.O_WRONLY | constants.O_NONBLOCK;
    const tryOpen = () => closeSync(openSync(join(this.root, 'ctl', 'events'), flags));
    await vi.waitFor(() => expect(tryOpen).toThrow('ENXIO'), { timeout: 20_000, interval: 20 });
  }

  acks(): string {
    const path = join(this.root, 'ctl', 'ack');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  async expectAcks(expected: string | RegExp): Promise<void> {
    await vi.waitFor(() => expect(this.acks()).toMatch(expected), { timeout: 20_000, interval: 20 });
  }

  exitCode(): Promise<number | null> {
    const { process } = this;
    if (process.exitCode !== null || process.signalCode !== null) return Promise.resolve(process.exitCode);
    return new Promise((resolve) => process.on('exit', resolve));
  }

  async close(): Promise<void> {
    this.process.kill('SIGTERM');
    await this.exitCode();
    await this.hangUp();
    for (const path of [this.base, this.stateFolder]) rmSync(path, { recursive: true, force: true });
  }
}

/** What of a folder processes have open: the paths below it, once each. */
function heldBelow(folder: string): string[] {
  const { stdout } = spawnSync('sh', ['-c', 'ls -l /proc/[0-9]*/fd/ 2>/dev/null'], { encoding: 'utf8' });
  const paths = stdout.split('\n').flatMap((text) => text.split(` -> ${folder}`).slice(1));
  return [...new Set(paths.filter((path) => path === '' || path.startsWith('/')))].sort();
}

const line = (verb: string, id: number, name: string, target: string) =>
  `${verb} ${id} ${escape(name)} ${escape(target)}`;

describe.skipIf(!isRoot).each(shells)('ctl/helper.sh in %s, as root', (_name, shell) => {
  let stage: Stage;

  beforeEach(() => {
    stage = new Stage(shell);
  });
  afterEach(() => stage.close());

  it('mounts at targets, and never evaluates what they are called', async () => {
    const odd = `$(touch ${stage.base}/x) \`touch ${stage.base}/x\` "a' \\0101 %s *\n`;
    const name = odd.replaceAll('/', '!');
    stage.child(name);
    stage.child('-n');
    await stage.say(
      'reset 1',
      line('add', 1, name, stage.target(odd)),
      line('add', 2, '-n', stage.target('b')),
      'add 3 shown -',
      'ready',
    );
    await stage.expectAcks(/^mounted 1 \nmounted 2 \n$/);
    expect(realpathSync(stage.target(odd))).toBe(join(stage.root, name));
    expect(realpathSync(stage.target('b'))).toBe(join(stage.root, '-n'));
    expect(existsSync(join(stage.base, 'x'))).toBe(false);
  });

  it('says that what is mounted is, without mounting it again, and passes over what it does not know', async () => {
    stage.child('a');
    const add = line('add', 1, 'a', stage.target('a'));
    await stage.say('reset 1', add, 'ready', 'changed a some/path', 'look', '', 'exec 7 true', add);
    await stage.expectAcks(/^mounted 1 \nmounted 1 \n$/);
  });

  it('says in one line why it could not mount', async () => {
    stage.child('a');
    await stage.say(line('add', 1, 'a', stage.target('refused')));
    await stage.expectAcks(/^failed 1 mount: \S+refused: permission denied\n$/);
  });

  it('names those who use a child, and unmounts it once they are gone', async () => {
    const child = stage.child('a');
    await stage.say(line('add', 1, 'a', stage.target('a')));
    await stage.expectAcks(/^mounted 1 \n$/);
    const user = spawn('sleep', ['60'], { cwd: child });
    await stage.say('look', line('release', 1, 'a', stage.target('a')));
    await stage.expectAcks(new RegExp(`^mounted 1 \nbusy 1 ${user.pid} sleep \\(cwd\\)\n$`));
    expect(realpathSync(stage.target('a'))).toBe(child);
    user.kill();
    await new Promise((resolve) => user.on('exit', resolve));
    await stage.say('look', line('release', 1, 'a', stage.target('a')));
    await stage.expectAcks(/\nunmounted 1 \n$/);
    expect(realpathSync(stage.target('a'))).toBe(stage.target('a'));
  });

  it('takes nobody for a user whose path only begins alike', async () => {
    stage.child('a');
    const neighbour = stage.child('ab');
    const user = spawn('sleep', ['60'], { cwd: neighbour });
    await stage.say('look', 'release 1 a -');
    await stage.expectAcks(/^unmounted 1 \n$/);
    user.kill();
  });

  it('unmounts what is gone', async () => {
    const child = stage.child('a');
    await stage.say(line('add', 1, 'a', stage.target('a')));
    await stage.expectAcks(/^mounted 1 \n$/);
    rmSync(child, { recursive: true });
    await stage.say(line('remove', 1, 'a', stage.target('a')));
    await vi.waitFor(() => expect(realpathSync(stage.target('a'))).toBe(stage.target('a')), {
      timeout: 20_000,
    });
  });

  it('pokes what has changed, and the folder of what is gone, without following links or changing anything else', async () => {
    const child = stage.child('a b');
    mkdirSync(join(child, 'src', 'sub dir'), { recursive: true });
    const outside = join(stage.base, 'outside');
    mkdirSync(outside);
    for (const path of [
      join(child, 'top'),
      join(child, 'src', 'x\\ y'),
      join(child, 'same'),
      join(outside, 'file'),
    ])
      writeFileSync(path, 'text');
    symlinkSync(outside, join(child, 'link'));
    symlinkSync(join(outside, 'file'), join(child, 'src', 'link'));
    const changed = (path: string) => `changed ${escape('a b')} ${escape(path)}`;
    await stage.say(
      changed('top'),
      changed('src/x\\ y'),
      changed('src/link'),
      changed('link/file'),
      changed('src/sub dir/gone'),
      changed('nowhere/gone'),
      'poke',
    );
    const poked = (...names: string[]) => lstatSync(join(child, ...names)).mtimeMs === POKE_SECONDS * 1000;
    await vi.waitFor(() => expect(poked('src', 'sub dir')).toBe(true), { timeout: 20_000, interval: 20 });
    expect([poked('top'), poked('src', 'x\\ y'), poked('src', 'link')]).toEqual([true, true, true]);
    expect([
      poked('same'),
      poked('src'),
      statSync(join(outside, 'file')).mtimeMs === POKE_SECONDS * 1000,
    ]).toEqual([false, false, false]);
    expect(readFileSync(join(child, 'top'), 'utf8')).toBe('text');
    expect([existsSync(join(child, 'src', 'sub dir', 'gone')), existsSync(join(child, 'nowhere'))]).toEqual([
      false,
      false,
    ]);
  });

  it('pokes the directories, and what is new in them, where too much has changed to be told', async () => {
    const child = stage.child('a');
    mkdirSync(join(child, 'src'));
    mkdirSync(join(child, 'node_modules'));
    for (const name of ['new', 'src/new', 'src/old', 'node_modules/new'])
      writeFileSync(join(child, name), '');
    utimesSync(join(child, 'src/old'), 1e9, 1e9);
    await stage.say('changed a .', 'ready');
    const mtime = (name: string) => lstatSync(join(child, name)).mtimeMs / 1000;
    await vi.waitFor(() => expect(mtime('src/new')).toBe(POKE_SECONDS), { timeout: 20_000, interval: 20 });
    expect([mtime('new'), mtime('src'), mtime('src/old')]).toEqual([POKE_SECONDS, POKE_SECONDS, 1e9]);
    expect(mtime('node_modules/new')).not.toBe(POKE_SECONDS);
  });

  it('keeps directories of a watched child open, new ones before they are poked, until it is to be released', async () => {
    const child = stage.child('a');
    mkdirSync(join(child, 'src', 'deep'), { recursive: true });
    mkdirSync(join(child, 'node_modules', 'x'), { recursive: true });
    await stage.say(`${line('add', 1, 'a', stage.target('a'))} watched`);
    await stage.expectAcks(/^mounted 1 \n$/);
    const held = () => heldBelow(child);
    await vi.waitFor(() => expect(held()).toEqual(['', '/src', '/src/deep']), {
      timeout: 20_000,
      interval: 50,
    });
    mkdirSync(join(child, 'src', 'new'));
    await stage.say('changed a src/new', 'poke');
    await vi.waitFor(() => expect(lstatSync(join(child, 'src', 'new')).mtimeMs).toBe(POKE_SECONDS * 1000), {
      timeout: 20_000,
      interval: 20,
    });
    expect(held()).toEqual(['', '/src', '/src/deep', '/src/new']);
    await stage.say('look', line('release', 1, 'a', stage.target('a')));
    await stage.expectAcks(/\nunmounted 1 \n$/);
    expect(held()).toEqual([]);
  });

  it('lets go of all directories however it ends', async () => {
    const child = stage.child('a');
    await stage.say('add 1 a - watched');
    await vi.waitFor(() => expect(heldBelow(child)).toEqual(['']), { timeout: 20_000, interval: 50 });
    stage.process.kill('SIGKILL');
    await vi.waitFor(() => expect(heldBelow(child)).toEqual([]), { timeout: 20_000, interval: 50 });
  });

  it('is alone: a second one says so and ends well', async () => {
    await stage.say('ready');
    await vi.waitFor(() => expect(existsSync(join(stage.stateFolder, 'events'))).toBe(true), {
      timeout: 20_000,
    });
    const [program, ...words] = shell;
    const second = spawnSync(program, [...words, join(stage.root, 'ctl', 'helper.sh')], { encoding: 'utf8' });
    expect([second.status, second.stderr]).toEqual([
      0,
      `chassis-helper: a helper of ${stage.root} runs already, as process ${stage.process.pid}\n`,
    ]);
  });

  it('ends on SIGTERM, and takes the place of one that was killed', async () => {
    stage.child('a');
    await stage.say(line('add', 1, 'a', stage.target('a')));
    await stage.expectAcks('mounted 1');
    stage.process.kill('SIGKILL');
    await stage.exitCode();
    await stage.hangUp();
    await stage.deserted();
    expect(existsSync(stage.stateFolder)).toBe(true);
    const [program, ...words] = shell;
    const next = spawn(program, [...words, join(stage.root, 'ctl', 'helper.sh')], { stdio: 'ignore' });
    await stage.say(line('add', 1, 'a', stage.target('a')));
    await stage.expectAcks(/^mounted 1 \nmounted 1 \n$/);
    const ended = new Promise((resolve) => next.on('exit', resolve));
    next.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(existsSync(stage.stateFolder)).toBe(false);
  });

  it('ends when the tree is gone', async () => {
    await stage.say('reset 1', 'ready');
    rmSync(join(stage.root, 'ctl'), { recursive: true });
    await stage.hangUp();
    expect(await stage.exitCode()).toBe(0);
    expect(stage.errors).toBe(`chassis-helper: ${stage.root} is gone\n`);
    expect(existsSync(stage.stateFolder)).toBe(false);
  });

  it('says what is wrong where there is no tree', () => {
    const [program, ...words] = shell;
    const { status, stderr } = spawnSync(
      program,
      [...words, join(stage.root, 'ctl', 'helper.sh'), join(stage.base, 'nothing')],
      { encoding: 'utf8' },
    );
    expect([status, stderr]).toEqual([2, expect.stringContaining('nothing is no mount tree')]);
  });
});

const shellcheck = spawnSync('shellcheck', ['--version']).error === undefined;

it.skipIf(!shellcheck)('ctl/helper.sh has nothing that shellcheck would say of a POSIX script', () => {
  const { stdout } = spawnSync('shellcheck', ['-s', 'sh', '-'], { input: HELPER_SCRIPT, encoding: 'utf8' });
  expect(stdout).toBe('');
});
