import { readFile, rm, writeFile } from 'node:fs/promises';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';

const README = new URL('../README.md', import.meta.url);

describe('the README', () => {
  it('shows a library example that runs as it stands and prints the file', async () => {
    const text = await readFile(README, 'utf8');
    const example = /<!-- run by test\/readme\.test\.ts -->\n```ts\n([\s\S]*?)```/.exec(text)?.[1];
    // Inside the package, so that `chassis` resolves to itself as it would to an installed copy.
    const script = new URL('./readme-example.mjs', import.meta.url);
    await writeFile(script, example ?? 'throw new Error("no example")');
    try {
      const { stdout } = await execa(process.execPath, [script.pathname], { timeout: 20_000 });
      expect(stdout).toBe('hello from the host');
    } finally {
      await rm(script);
    }
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
