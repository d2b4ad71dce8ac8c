import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';

describe('npm run docs', () => {
  it('finds nothing undocumented, unresolved or unexported in what users get', async () => {
    const root = fileURLToPath(new URL('../..', import.meta.url));
    // Everything but writing the pages.
    const { exitCode, stdout, stderr } = await execa('npm', ['run', 'docs', '--', '--emit', 'none'], {
      cwd: root,
      reject: false,
      env: { NO_COLOR: '1' },
    });
    expect(`${stdout}${stderr}`).not.toMatch(/\[(warning|error)\]/);
    expect(exitCode).toBe(0);
  }, 120_000);
});
