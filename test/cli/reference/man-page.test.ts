import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { commandPage, programPage, roff } from '../../../cli/reference/man-page.js';
import type { CommandInfo } from '../../../cli/reference/commands.js';

const PROGRAM = { bin: 'chassis', version: '1.2.3', description: 'Plugs things in.' };
const ADD: CommandInfo = {
  words: ['disk', 'add'],
  summary: 'Add a disk.',
  description: '',
  args: [{ name: 'source', description: 'FILE or mem:SIZE', required: true }],
  takesMore: false,
  flags: [
    { name: 'json', description: 'As JSON', multiple: false, required: false, isPath: false },
    {
      ...{ name: 'port', char: 'p', description: 'Over which', value: 'vhost-user|vfio-user' },
      ...{
        options: ['vhost-user', 'vfio-user'],
        multiple: true,
        required: true,
        isPath: false,
        default: 'x',
      },
    },
  ],
  examples: ["chassis disk add '\\d'", '.hidden'],
};
const built = new URL('../../../man/', import.meta.url);
const lint = (path: string) => spawnSync('mandoc', ['-T', 'lint', '-W', 'error', path], { encoding: 'utf8' });

describe('man pages', () => {
  it('say of a command how it is called, what its flags take, and show its examples', () => {
    expect(commandPage(PROGRAM, ADD).split('\n')).toEqual([
      '.TH "CHASSIS\\-DISK\\-ADD" 1 "" "chassis 1.2.3" "User Commands"',
      '.SH NAME',
      'chassis\\-disk\\-add \\- Add a disk',
      '.SH SYNOPSIS',
      '.B chassis disk add',
      '\\-\\-port vhost\\-user|vfio\\-user',
      'SOURCE',
      '[options]',
      '.SH DESCRIPTION',
      'Add a disk.',
      '.SH ARGUMENTS',
      '.TP',
      '.I SOURCE',
      'FILE or mem:SIZE',
      '.SH OPTIONS',
      '.TP',
      '\\fB\\-\\-json\\fR',
      'As JSON',
      '.TP',
      '\\fB\\-p, \\-\\-port\\fR \\fIvhost\\-user|vfio\\-user\\fR',
      'Over which (may be repeated; default x)',
      '.SH EXAMPLES',
      '.nf',
      "chassis disk add '\\ed'",
      '\\&.hidden',
      '.fi',
      '.SH EXIT STATUS',
      'Those of',
      '.BR chassis (1).',
      '',
    ]);
  });

  it('take no text for a request or an escape', () => {
    expect(roff("a\\b\n.SH x\n'quoted\n-n")).toBe("a\\eb\n\\&.SH x\n\\&'quoted\n\\-n");
  });

  it('list all commands and exit codes on the page of the program', () => {
    const text = programPage(PROGRAM, [ADD]);
    expect(text).toContain('.TP\n.BR chassis\\-disk\\-add (1)\nAdd a disk.');
    expect(text).toContain('.TP\n.B 8\nDRIFT');
  });

  it('are there, as built, for every command', () => {
    const { commands } = JSON.parse(
      readFileSync(new URL('../../../oclif.manifest.json', import.meta.url), 'utf8'),
    ) as { commands: object };
    const pages = Object.keys(commands).map((id) => `chassis-${id.replaceAll(':', '-')}.1`);
    expect(readdirSync(built).sort()).toEqual(['chassis.1', ...pages].sort());
  });

  it.runIf(spawnSync('mandoc', ['-T', 'lint', '/dev/null']).error === undefined)(
    'are ones that mandoc takes',
    () => {
      for (const name of readdirSync(built)) expect(lint(new URL(name, built).pathname).stdout).toBe('');
    },
  );
});
