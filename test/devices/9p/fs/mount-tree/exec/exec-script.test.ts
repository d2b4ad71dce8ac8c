/** `ctl/exec.sh` by itself, in the shells that guests have: files and a pipe stand for those of the tree. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  commandScript,
  type CommandRequest,
} from '../../../../../../devices/9p/fs/mount-tree/exec/command-script.js';
import { EXEC_SCRIPT } from '../../../../../../devices/9p/fs/mount-tree/exec/exec-script.js';

const shells = [
  ['dash', ['dash']],
  ['bash', ['bash', '--posix']],
  ['busybox', ['busybox', 'sh']],
].filter(([program]) => spawnSync(program as string, ['-c', 'true']).error === undefined) as [
  string,
  string[],
][];
const PATIENCE = { timeout: 20_000, interval: 20 };

class Stage {
  readonly root = join(mkdtempSync(join(tmpdir(), 'exec-')), 'a tree');
  readonly exec = join(this.root, 'ctl', 'exec');
  readonly process: ChildProcess;
  #requests: FileHandle | undefined;

  constructor(shell: readonly string[]) {
    mkdirSync(this.exec, { recursive: true });
    spawnSync('mkfifo', [join(this.exec, 'requests')]);
    writeFileSync(join(this.root, 'ctl', 'exec.sh'), EXEC_SCRIPT);
    this.process = spawn(shell[0], [...shell.slice(1), join(this.root, 'ctl', 'exec.sh')], {
      stdio: 'ignore',
    });
  }

  async ask(line: string): Promise<void> {
    this.#requests ??= await open(join(this.exec, 'requests'), 'r+');
    await this.#requests.write(line);
  }

  async run(id: number, request: Partial<CommandRequest>, stdin = ''): Promise<void> {
    const directory = join(this.exec, String(id));
    mkdirSync(directory);
    writeFileSync(join(directory, 'script'), commandScript({ command: ['true'], env: {}, ...request }));
    writeFileSync(join(directory, 'stdin'), stdin);
    await this.ask(`run ${id}\n`);
  }

  read(id: number, name: string): string {
    const path = join(this.exec, String(id), name);
    return existsSync(path) ? readFileSync(path, 'latin1') : '';
  }

  async exited(id: number): Promise<number> {
    await vi.waitFor(() => expect(this.read(id, 'status')).toMatch(/^started \d+\nexited \d+\n$/), PATIENCE);
    return Number(this.read(id, 'status').trimEnd().split(' ').at(-1));
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill('SIGKILL');
    if (this.process.exitCode === null && this.process.signalCode === null) await ended;
    await this.#requests?.close();
    rmSync(join(this.root, '..'), { recursive: true, force: true });
  }
}

describe.each(shells)('ctl/exec.sh in %s', (_name, shell) => {
  let stage: Stage;
  beforeEach(() => {
    stage = new Stage(shell);
  });
  afterEach(() => stage.close());

  it('runs commands with their words as they are, and gives back what they print and how they end', async () => {
    const words = ["it's", '$HOME `id` \\', 'two\nlines', '', '*', 'é'];
    await stage.run(1, {
      command: ['sh', '-c', 'printf "%s|" "$@"; echo "$K" >&2; pwd; exit 3', 'sh', ...words],
      env: { K: "a 'b' $c" },
      cwd: '/usr',
    });
    expect(await stage.exited(1)).toBe(3);
    await vi.waitFor(() => expect(stage.read(1, 'stdout')).toContain('/usr\n'), PATIENCE);
    expect(Buffer.from(stage.read(1, 'stdout'), 'latin1').toString()).toBe(`${words.join('|')}|/usr\n`);
    await vi.waitFor(() => expect(stage.read(1, 'stderr')).toBe("a 'b' $c\n"), PATIENCE);
  });

  it('passes bytes of any kind through', async () => {
    const bytes = Array.from({ length: 100_000 }, (_, i) => String.fromCharCode(i % 256)).join('');
    const directory = join(stage.exec, '1');
    mkdirSync(directory);
    writeFileSync(join(directory, 'script'), commandScript({ command: ['cat'], env: {} }));
    writeFileSync(join(directory, 'stdin'), bytes, 'latin1');
    await stage.ask('run 1\n');
    expect(await stage.exited(1)).toBe(0);
    await vi.waitFor(() => expect(stage.read(1, 'stdout')).toBe(bytes), PATIENCE);
  });

  it('runs several at a time, and ends all processes of one by a signal', async () => {
    await stage.run(1, { command: ['sh', '-c', 'sleep 1000 & wait'] });
    await stage.run(2, { command: ['echo', 'quick'] });
    expect(await stage.exited(2)).toBe(0);
    const [, pid] = stage.read(1, 'status').trimEnd().split(' ');
    await stage.ask(`signal ${pid} TERM\n`);
    expect(await stage.exited(1)).toBe(128 + 15);
    // Its session is empty: sleep was ended as well.
    await vi.waitFor(() => expect(() => process.kill(-Number(pid), 0)).toThrow('ESRCH'), PATIENCE);
  });

  it('says that there is no such program or directory as shells do, and 125 for the latter', async () => {
    await stage.run(1, { command: ['/nowhere/at/all'] });
    expect(await stage.exited(1)).toBe(127);
    await stage.run(2, { command: ['true'], cwd: '/nowhere' });
    expect(await stage.exited(2)).toBe(125);
  });

  it('passes over what it does not know, and signals to nobody', async () => {
    await stage.ask(
      'what 1\nrun ../../etc\nrun \nsignal 1 KILL\nsignal -1 KILL\nsignal 0 TERM\nsignal 55 9\nsignal\n',
    );
    await stage.run(1, {});
    expect(await stage.exited(1)).toBe(0);
  });
});

describe('the script of a command', () => {
  const script = (request: Partial<CommandRequest>) =>
    Buffer.from(commandScript({ command: ['true'], env: {}, ...request })).toString();

  it('hands the whole of it to su as one word where it is for a user', () => {
    expect(script({ command: ["it's"], user: 'www-data' })).toContain("exec su -s /bin/sh www-data -c '");
  });

  it.each<[string, Partial<CommandRequest>]>([
    ['an empty command', { command: [] }],
    ['a NUL', { command: ['a\0b'] }],
    ['a variable with another name', { env: { 'A;B': '1' } }],
    ['a user that is an option', { user: '-c' }],
    ['a user that is a script', { user: 'root; reboot' }],
    ['too long a command', { command: ['x'.repeat(130_000)] }],
  ])('is refused for %s', (_what, request) => {
    expect(() => script(request)).toThrow(RangeError);
  });
});

const shellcheck = spawnSync('shellcheck', ['--version']).error === undefined;

it.skipIf(!shellcheck)('ctl/exec.sh has nothing that shellcheck would say of a POSIX script', () => {
  const { stdout } = spawnSync('shellcheck', ['-s', 'sh', '-'], { input: EXEC_SCRIPT, encoding: 'utf8' });
  expect(stdout).toBe('');
});
