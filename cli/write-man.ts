/** Writes the man pages from oclif.manifest.json to man/, which npm installs with the package. Part of the build. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from '@oclif/core';
import { commandPage, pageName, programPage } from './man/page.js';
import { commandsOf } from './support/manifest-commands.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = `${root}/man`;
const read = (name: string): unknown => JSON.parse(readFileSync(`${root}/${name}`, 'utf8'));

const { version, description } = read('package.json') as { version: string; description: string };
const manifest = read('oclif.manifest.json') as { commands: Record<string, Command.Cached> };
const program = { bin: 'chassis', version, description };
const commands = commandsOf(Object.values(manifest.commands), program.bin);

// Of commands that are no more.
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
writeFileSync(`${folder}/${program.bin}.1`, programPage(program, commands));
for (const command of commands)
  writeFileSync(`${folder}/${pageName(program.bin, command.words)}.1`, commandPage(program, command));
