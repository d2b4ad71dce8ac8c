/**
 * Writes the man pages from oclif.manifest.json to man/, and their names to package.json: npm installs those that are named there, and no
 * folder (`directories.man` is expanded by none that was tried, up to 11.19). Part of the build.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from '@oclif/core';
import { commandPage, pageName, programPage } from './reference/man-page.js';
import { commandsOf } from './reference/commands.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = `${root}/man`;
const read = (name: string): unknown => JSON.parse(readFileSync(`${root}/${name}`, 'utf8'));

const packageJson = read('package.json') as { version: string; description: string; man?: string[] };
const manifest = read('oclif.manifest.json') as { commands: Record<string, Command.Cached> };
const program = { bin: 'chassis', version: packageJson.version, description: packageJson.description };
const commands = commandsOf(Object.values(manifest.commands), program.bin);

// Of commands that are no more.
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
const pages = new Map([[program.bin, programPage(program, commands)]]);
for (const command of commands)
  pages.set(pageName(program.bin, command.words), commandPage(program, command));
for (const [name, page] of pages) writeFileSync(`${folder}/${name}.1`, page);

const man = Array.from(pages.keys(), (name) => `man/${name}.1`);
if (JSON.stringify(packageJson.man) !== JSON.stringify(man))
  writeFileSync(`${root}/package.json`, `${JSON.stringify({ ...packageJson, man }, null, 2)}\n`);
