import { readFile, writeFile } from 'node:fs/promises';
import type { Command } from '@oclif/core';
import { expect, it } from 'vitest';
import { commandsOf } from '../../../cli/reference/commands.js';
import { commandsPage } from '../../../cli/reference/markdown.js';

const root = new URL('../../../', import.meta.url);

it('docs/commands.md says what the commands do', async () => {
  const manifest = JSON.parse(await readFile(new URL('oclif.manifest.json', root), 'utf8')) as {
    commands: Record<string, Command.Cached>;
  };
  const page = commandsPage('chassis', commandsOf(Object.values(manifest.commands), 'chassis'));
  const path = new URL('docs/commands.md', root);
  if (process.env.CHASSIS_WRITE_DOCS === '1') await writeFile(path, page);
  expect(await readFile(path, 'utf8')).toBe(page);
});
