import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { runExample } from './support/run-example.js';

const README = new URL('../README.md', import.meta.url);

describe('the README', () => {
  it('shows a library example that runs as it stands and prints the file', async () => {
    expect(await runExample('README.md', 'test/readme.test.ts')).toBe('hello from the host');
  });

  it('names every folder of sources in its table of parts', async () => {
    const text = await readFile(README, 'utf8');
    const { include } = JSON.parse(await readFile(new URL('../tsconfig.json', import.meta.url), 'utf8')) as {
      include: string[];
    };
    for (const folder of include.filter((name) => !name.includes('.')))
      expect(text).toContain(`\`${folder}/\``);
  });
});
