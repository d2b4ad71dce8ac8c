/** The package as users get it: packed, installed into an empty prefix, and used from there without the repository. */
import { access, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');

describe('the packed package', () => {
  let folder: string;
  /** `npm install --global` puts it there. */
  let prefix: string;
  /** A project that depends on it. */
  let project: string;
  let files: string[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'chassis-packed-'));
    [prefix, project] = [join(folder, 'prefix'), join(folder, 'project')];
    const tarball = await pack();
    const given = ['--global', '--prefix', prefix, '--prefer-offline', '--no-audit', '--no-fund', tarball];
    await execa('npm', ['install', ...given], { cwd: folder });
    await mkdir(join(project, 'node_modules'), { recursive: true });
    await symlink(installed(), join(project, 'node_modules/chassis'));
    await cp(join(ROOT, 'examples/library'), project, { recursive: true });
    await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'consumer', type: 'module' }));
  }, 300_000);
  afterAll(() => rm(folder, { recursive: true }), 60_000);

  /** What the build has made is packed; it is not made again. */
  async function pack(): Promise<string> {
    const { stdout } = await execa(
      'npm',
      ['pack', '--json', '--ignore-scripts', '--pack-destination', folder],
      { cwd: ROOT },
    );
    const [packed] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
    files = packed.files.map(({ path }) => path);
    return join(folder, packed.filename);
  }

  function installed(): string {
    return join(prefix, 'lib/node_modules/chassis');
  }

  /** Runs the installed command as a user's shell would. */
  function chassis(...words: string[]) {
    return execa(join(prefix, 'bin/chassis'), words, { cwd: folder, reject: false, stdin: 'ignore' });
  }

  async function manifest(): Promise<Record<string, unknown>> {
    return JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as Record<string, unknown>;
  }

  it('has no tests, sources or source maps in it', () => {
    expect(files.filter((path) => /^(dist\/)?(test|testbed|bench|demo)\/|\.map$/.test(path))).toEqual([]);
    const sources = files.filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));
    expect(sources.every((path) => path.startsWith('examples/'))).toBe(true);
  });

  it('has every file that its package.json names', async () => {
    const { exports, bin, man } = (await manifest()) as {
      exports: Record<string, Record<string, string>>;
      bin: Record<string, string>;
      man: string[];
    };
    const named = [...Object.values(exports).flatMap((entry) => Object.values(entry)), ...Object.values(bin)];
    for (const path of [...named, ...man]) await access(join(installed(), path));
  });

  it('puts man pages where man finds them, and has the units of its daemon', async () => {
    const pages = await readdir(join(prefix, 'share/man/man1'));
    expect(pages).toEqual(expect.arrayContaining(['chassis.1', 'chassis-attach.1', 'chassis-disk-add.1']));
    await access(join(installed(), 'packaging/systemd/user/chassis.service'));
  });

  it('runs the command: a daemon, a chassis and a mount', async () => {
    const directory = join(folder, 'state');
    const daemon = execa(join(prefix, 'bin/chassis'), ['serve', '--end', '--json', '--dir', directory], {
      cwd: folder,
      reject: false,
      stdin: 'ignore',
    });
    try {
      const first = await daemon.stdout[Symbol.asyncIterator]().next();
      expect(JSON.parse(String(first.value))).toMatchObject({ socket: join(directory, 'api.sock') });
      expect((await chassis('create', 'dev', '--dir', directory)).stdout).toMatch(/^chassis dev: 8 slots/);
      expect(await chassis('attach', project, '--tag', 'work', '--dir', directory)).toMatchObject({
        exitCode: 0,
      });
      const { version } = await manifest();
      expect((await chassis('--version')).stdout).toContain(`chassis/${String(version)} `);
      await compile();
      const { stdout } = await execa('node', ['out/client.js', directory], { cwd: project });
      expect(stdout).toBe('work 1.0 parked');
    } finally {
      daemon.kill('SIGTERM');
      await daemon;
    }
    expect(await readdir(directory)).toEqual([]);
  }, 120_000);

  it('serves a file system of one’s own to a guest in the same process', async () => {
    await compile();
    const { stdout } = await execa('node', ['out/main.js'], { cwd: project });
    const text = await readFile(join(project, 'README.md'), 'utf8');
    expect(stdout).toBe(/prints:\n\n```\n([^`]*)\n```/.exec(text)?.[1]);
  }, 120_000);

  it.each(['nodenext', 'bundler'] as const)(
    'has types for a project with %s resolution, each entry its own',
    async (moduleResolution) => {
      expect(await typeErrors(moduleResolution)).toEqual(['wrong.ts(4', 'wrong.ts(5', 'wrong.ts(6']);
    },
    120_000,
  );

  let compiled: Promise<unknown> | undefined;
  function compile(): Promise<unknown> {
    return (compiled ??= typeErrors('nodenext'));
  }

  /** Compiles the project, and answers file and line of each error. */
  async function typeErrors(moduleResolution: 'nodenext' | 'bundler'): Promise<string[]> {
    const own = JSON.parse(await readFile(join(ROOT, 'examples/library/tsconfig.json'), 'utf8')) as {
      compilerOptions: object;
    };
    const compilerOptions = {
      ...own.compilerOptions,
      ...(moduleResolution === 'bundler' ? { module: 'esnext', noEmit: true } : { module: 'nodenext' }),
      ...{ moduleResolution, skipLibCheck: true, typeRoots: [join(ROOT, 'node_modules/@types')] },
    };
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
    // Types that cannot be found are `any`, and then nothing is wrong.
    await writeFile(join(project, 'wrong.ts'), WRONG);
    const { stdout } = await execa('node', [TSC, '-p', project], { cwd: project, reject: false });
    return [...stdout.matchAll(/^(\S+\(\d+),\d+\): error/gm)].map(([, place]) => place);
  }
});

/** A mistake in the use of each entry. */
const WRONG = `import { Chassis } from 'chassis';
import { Guest } from 'chassis/guest';
import { ChassisClient } from 'chassis/client';
void new Chassis().attach(1, {});
void Guest.boot('no chassis');
void new ChassisClient().create(1);
`;
