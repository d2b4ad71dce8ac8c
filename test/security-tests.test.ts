import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';

const root = new URL('../', import.meta.url);
const NOT_YET = 'not yet';

interface Row {
  readonly tried: string;
  readonly cell: string;
  /** Tests by file and title, as they stand in the sources. */
  readonly files: readonly { readonly path: string; readonly titles: readonly string[] }[];
}

async function rows(): Promise<Row[]> {
  const text = await readFile(new URL('docs/security-tests.md', root), 'utf8');
  const [page] = text.split('\n## ');
  const lines = page.split('\n').filter((line) => line.startsWith('| ') && !line.includes('| Tests |'));
  return lines.map((line) => {
    const [tried, , cell] = line.slice(2, -2).split(' | ');
    const files = cell.split('<br>').flatMap((part) => {
      const path = /^`(.+?)`/.exec(part)?.[1];
      return path === undefined
        ? []
        : [{ path, titles: [...part.matchAll(/“(.+?)”/g)].map(([, title]) => title) }];
    });
    return { tried, cell, files };
  });
}

describe('docs/security-tests.md', () => {
  it('names tests that exist, by files and titles', async () => {
    const missing: string[] = [];
    for (const { files } of await rows()) {
      for (const { path, titles } of files) {
        const source = await readFile(new URL(path, root), 'utf8').catch(() => '');
        if (source === '') missing.push(path);
        missing.push(
          ...titles.filter((title) => !source.includes(title)).map((title) => `${path}: ${title}`),
        );
      }
    }
    expect(missing).toEqual([]);
  });

  it('has a test in each row, or says that there is none', async () => {
    const all = await rows();
    expect(all.length).toBeGreaterThan(15);
    for (const { tried, files, cell } of all)
      expect([tried, files.length > 0 || cell === NOT_YET]).toEqual([tried, true]);
  });
});
