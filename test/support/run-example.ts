/** Runs an example of the documentation as a reader would: as it stands, against the package. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { execa } from 'execa';

const root = new URL('../../', import.meta.url);

/** What the example in `document` says that is marked as run by `test` (paths in the package). Rejects where it fails. */
export async function runExample(document: string, test: string): Promise<string> {
  const text = await readFile(new URL(document, root), 'utf8');
  const start = text.indexOf(`<!-- run by ${test} -->`);
  const example = start < 0 ? undefined : /```ts\n([\s\S]*?)```/.exec(text.slice(start))?.[1];
  if (example === undefined) throw new Error(`${document} has no example that is run by ${test}`);
  // Inside the package, so that `chassis` resolves to itself as it would to an installed copy.
  const script = new URL(`test/example-of-${document.replace(/\W/g, '-')}.mjs`, root);
  await writeFile(script, example);
  try {
    const { stdout } = await execa(process.execPath, [script.pathname], { timeout: 20_000 });
    return stdout;
  } finally {
    await rm(script);
  }
}
