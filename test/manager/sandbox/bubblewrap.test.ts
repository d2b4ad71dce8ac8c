import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bubblewrapped, identityMap } from '../../../manager/sandbox/bubblewrap.js';
import { Sandbox, SandboxMode } from '../../../manager/sandbox/sandbox.js';
import { temporaryFolders } from '../temporary-folder.js';

const folder = temporaryFolders();

function file(root: string, ...path: string[]): string {
  const at = join(root, ...path);
  mkdirSync(join(at, '..'), { recursive: true });
  writeFileSync(at, '');
  return at;
}

/** What is shown of the host, by option. */
function bound(args: readonly string[], option: string): string[] {
  return args.flatMap((arg, i) => (arg === option ? [args[i + 1]] : []));
}

describe('what a confined process sees', () => {
  it('is its package, the packages that it finds, and nothing beside them', () => {
    const root = folder();
    const script = file(root, 'dist', 'manager', 'entry.js');
    for (const name of [['package.json'], ['secrets', 'key'], ['node_modules', 'koffi', 'index.js']])
      file(root, ...name);
    const { args } = bubblewrapped([script], script, []);
    expect(bound(args, '--ro-bind').filter((path) => path.startsWith(root))).toEqual([
      join(root, 'package.json'),
      join(root, 'dist'),
      join(root, 'node_modules'),
    ]);
  });

  it('is, of a package among others, the folder of all of them', () => {
    const root = folder();
    const packages = join(root, 'node_modules');
    file(packages, 'chassis', 'package.json');
    const script = file(packages, 'chassis', 'dist', 'entry.js');
    const { args } = bubblewrapped([script], script, []);
    expect(bound(args, '--ro-bind').filter((path) => path.startsWith(root))).toEqual([packages]);
  });

  it('can be written to in its own folders alone', () => {
    const { args } = bubblewrapped(['/x/entry.js'], '/x/entry.js', ['/run/chassis/dev']);
    expect(bound(args, '--bind')).toEqual(['/run/chassis/dev']);
    expect(args.slice(args.indexOf('--'))).toEqual(['--', process.execPath, '/x/entry.js']);
    expect(args.indexOf('--remount-ro')).toBeGreaterThan(args.lastIndexOf('--bind'));
  });
});

describe('what a confined process may do', () => {
  it('is held by a filter of system calls where there is one', () => {
    const line = ['/x/entry.js'] as const;
    const filter = new Uint8Array(8);
    expect(bubblewrapped(line, line[0], [], filter)).toMatchObject({ filter });
    expect(bubblewrapped(line, line[0], [], filter).args).toContain('--seccomp');
    expect(bubblewrapped(line, line[0], []).args).not.toContain('--seccomp');
  });
});

describe('identityMap', () => {
  it('maps each user that there is to itself', () => {
    for (const line of identityMap('uid_map').trim().split('\n')) {
      const [inside, outside, count] = line.split(' ').map(Number);
      expect(inside).toBe(outside);
      expect(count).toBeGreaterThan(0);
    }
  });
});

describe('a sandbox that is off', () => {
  it('confines nothing, and says so', async () => {
    const sandbox = new Sandbox(SandboxMode.off);
    expect(await sandbox.confine(['/x/entry.js'], [])).toBeUndefined();
    expect(sandbox.reason).toBe('serve --sandbox=off');
  });
});
