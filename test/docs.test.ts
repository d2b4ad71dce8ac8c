import { access, readdir, readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { ExitCode, exitCodes } from '../cli/support/exit-codes.js';

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

  it('lists every code of an error with the exit code that it has', async () => {
    const text = await readFile(new URL('docs/cli.md', root), 'utf8');
    const said = [...text.matchAll(/^\| (\d+) \| `\w+` \|.*\| (.*) \|$/gm)].flatMap(([, number, codes]) =>
      [...codes.matchAll(/`(\w+)`/g)].map(([, code]) => [code, Number(number)]),
    );
    // What oclif finds wrong with a command line is no error of the API.
    expect(Object.fromEntries(said)).toEqual({ ...exitCodes, USAGE: ExitCode.USAGE });
  });
});

/** All pages, by their names from the root on. */
async function pages(): Promise<Map<string, string>> {
  const names = (await readdir(new URL('docs', root))).filter((name) => name.endsWith('.md'));
  const paths = ['README.md', 'CHANGELOG.md', ...names.map((name) => `docs/${name}`)];
  const texts = await Promise.all(paths.map((path) => readFile(new URL(path, root), 'utf8')));
  return new Map(paths.map((path, i) => [path, texts[i]]));
}

/** What GitHub calls a heading in links. */
function anchorsOf(text: string): string[] {
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading);
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

describe('the documents', () => {
  it('link to pages and headings that are there', async () => {
    const texts = await pages();
    for (const [from, text] of texts) {
      for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(target)) continue;
        const { pathname, hash } = new URL(target, new URL(from, 'file:///'));
        const page = texts.get(pathname.slice(1));
        if (page === undefined) await access(new URL(`.${pathname}`, root));
        else if (hash !== '') expect(anchorsOf(page), `${from}: ${target}`).toContain(hash.slice(1));
      }
    }
  });

  it('quote errors that the code has', async () => {
    const sources = await sourcesOf('manager', 'cli');
    const text = (await pages()).get('docs/troubleshooting.md') ?? '';
    const rows = [...text.matchAll(/^\| (?!you see|---|in the guest)(.*?) \|/gm)].map(([, cell]) => cell);
    const quoted = rows.flatMap((cell) => [...cell.matchAll(/`([^`]{10,})`/g)].map(([, words]) => words));
    const ours = quoted.filter((words) => !FOREIGN.includes(words));
    expect(ours.length).toBeGreaterThan(15);
    expect(ours.filter((words) => !sources.includes(words))).toEqual([]);
  });
});

/** Words of the guest's system, in tables that quote those too. */
const FOREIGN = [
  'Stale file handle',
  'Permission denied',
  'No space left on device',
  'Too many open files',
  'disk I/O error',
];

async function sourcesOf(...folders: string[]): Promise<string> {
  const texts: Promise<string>[] = [];
  for (const folder of folders) {
    for (const name of await readdir(new URL(folder, root), { recursive: true }))
      if (name.endsWith('.ts')) texts.push(readFile(new URL(`${folder}/${name}`, root), 'utf8'));
  }
  return (await Promise.all(texts)).join('\n');
}

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
