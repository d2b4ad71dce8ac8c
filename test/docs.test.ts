import { readdir, readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { ExitCode } from '../cli/support/exit-codes.js';

const root = new URL('../', import.meta.url);

describe('docs/cli.md', () => {
  it('lists every command', async () => {
    const text = await readFile(new URL('docs/cli.md', root), 'utf8');
    for (const file of await readdir(new URL('cli/commands', root))) {
      expect(text).toContain(`| \`chassis ${file.replace('.ts', '')}`);
    }
  });

  it('lists every exit code under its number', async () => {
    const text = await readFile(new URL('docs/cli.md', root), 'utf8');
    const rows = [...text.matchAll(/^\| (\d+) \| `(\w+)` \|/gm)].map(([, number, name]) => [
      name,
      Number(number),
    ]);
    expect(Object.fromEntries(rows)).toEqual(ExitCode);
  });
});

describe('what is committed', () => {
  it('has a licence, a changelog and the version of the package in it', async () => {
    const [licence, changelog, manifest] = await Promise.all(
      ['LICENSE', 'CHANGELOG.md', 'package.json'].map((name) => readFile(new URL(name, root), 'utf8')),
    );
    expect(licence).toContain('Apache License');
    const { version, license } = JSON.parse(manifest) as { version: string; license: string };
    expect(license).toBe('Apache-2.0');
    expect(changelog).toContain(`## ${version}`);
  });
});
