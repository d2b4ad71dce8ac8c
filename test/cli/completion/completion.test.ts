import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from '@oclif/core';
import { beforeAll, describe, expect, it } from 'vitest';
import { bashCompletion } from '../../../cli/completion/bash.js';
import { fishCompletion } from '../../../cli/completion/fish.js';
import { zshCompletion } from '../../../cli/completion/zsh.js';
import { commandsOf, type CommandInfo } from '../../../cli/reference/commands.js';
import { temporaryFolders } from '../../manager/temporary-folder.js';

const has = (program: string) => spawnSync(program, ['--version']).status === 0;

describe('completion', () => {
  const folder = temporaryFolders();
  let commands: CommandInfo[];

  beforeAll(() => {
    const { commands: all } = JSON.parse(
      readFileSync(new URL('../../../oclif.manifest.json', import.meta.url), 'utf8'),
    ) as { commands: Record<string, Command.Cached> };
    commands = commandsOf(Object.values(all), 'chassis');
  });

  /** What bash offers where the last of these words is being typed. */
  function offered(...words: string[]): string[] {
    const path = join(folder(), 'chassis.bash');
    writeFileSync(path, bashCompletion('chassis', commands));
    const line = words.map((word) => `'${word}'`).join(' ');
    const script = `source ${path}; COMP_WORDS=(chassis ${line}); COMP_CWORD=${words.length}; _chassis; printf '%s\\n' "\${COMPREPLY[@]}"`;
    // Options of the completion are set by the shell that completes.
    const text = execFileSync('bash', ['-c', `compopt() { :; }; ${script}`], { encoding: 'utf8' });
    return text.split('\n').filter((word) => word !== '');
  }

  it('in bash offers commands, and those of a topic', () => {
    expect(offered('')).toEqual(expect.arrayContaining(['attach', 'detach', 'disk', 'net', 'completion']));
    expect(offered('att')).toEqual(['attach']);
    expect(offered('disk', '')).toEqual(['add', 'list', 'remove', 'resize']);
  });

  it('in bash offers the flags of the command, and the values of a flag', () => {
    expect(offered('attach', '/src', '--re')).toEqual(['--read-only']);
    expect(offered('disk', 'add', 'file', '--over')).toEqual(['--overlay', '--overlay-dir']);
    expect(offered('args', '--format', '')).toEqual(['qemu', 'libvirt', 'cloud-hypervisor', 'systemd']);
    expect(offered('args', '-f', 'l')).toEqual(['libvirt']);
  });

  it('in bash leaves files to bash, and what is for another program to that', () => {
    expect(offered('attach', '/s')).toEqual([]);
    expect(offered('run', '--', '--me')).toEqual([]);
    expect(offered('attach', '--tag', 'x')).toEqual([]);
  });

  it('has every command and flag in each shell', () => {
    const scripts = [bashCompletion, zshCompletion, fishCompletion].map((make) => make('chassis', commands));
    for (const { words, flags } of commands) {
      for (const script of scripts) {
        expect(script).toContain(words.join(' '));
        for (const { name } of flags) expect(script).toMatch(new RegExp(`(--|-l )${name}\\b`));
      }
    }
  });

  it.runIf(has('zsh')).each([zshCompletion])('is a script that zsh takes', (make) => {
    const path = join(folder(), '_chassis');
    writeFileSync(path, make('chassis', commands));
    expect(spawnSync('zsh', ['-n', path], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
  });

  it.runIf(has('fish')).each([fishCompletion])('is a script that fish takes', (make) => {
    const path = join(folder(), 'chassis.fish');
    writeFileSync(path, make('chassis', commands));
    expect(spawnSync('fish', ['-n', path], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
  });
});
