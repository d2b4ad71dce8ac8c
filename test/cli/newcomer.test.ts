/** What people get wrong first: each error names its cause and the way out, and shows no stack. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '@oclif/core';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { CHASSIS, TestDaemon } from '../support/daemon.js';
import { loadConfig, runInProcess } from './json/in-process.js';

interface Told {
  readonly exitCode: number;
  readonly error: { readonly code: string; readonly message: string; readonly suggestion?: string };
}

describe('a newcomer', { timeout: 120_000 }, () => {
  let root: string;
  let daemon: TestDaemon;
  let config: Config;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'chassis-new-'));
    for (const name of ['src', 'open', 'long']) mkdirSync(join(root, name));
    chmodSync(join(root, 'open'), 0o755);
    writeFileSync(join(root, 'file'), 'text');
    writeFileSync(join(root, 'old-qemu'), '#!/bin/sh\necho QEMU emulator version 7.1.0\n', { mode: 0o755 });
    symlinkSync(join(root, 'nowhere'), join(root, 'dangling'));
    config = await loadConfig();
    daemon = await TestDaemon.start();
    const client = new ChassisClient({ directory: daemon.directory });
    await client.create('dev', { slots: 1 });
    await client.attach('dev', {
      mounts: [{ tag: 'src', source: { type: 'memory' } }],
      via: 'function',
      slot: 1,
    });
  }, 60_000);
  afterAll(async () => {
    await daemon.stop();
    rmSync(root, { recursive: true, force: true });
  });

  async function told(id: string, words: string, directory = daemon.directory): Promise<Told> {
    const line = words.split(' ').map((word) => word.replace('ROOT', root));
    const { exitCode, stdout } = await runInProcess(
      ...([config, id, [...line.filter((word) => word !== ''), '--json', '--dir', directory]] as const),
    );
    return { exitCode, ...(JSON.parse(stdout) as Omit<Told, 'exitCode'>) };
  }

  it.each<[mistake: string, id: string, words: string, exitCode: number, cause: RegExp, cure: RegExp]>([
    [
      'misspells a directory',
      'attach',
      'ROOT/scr',
      4,
      /there is no .*\/scr/,
      /create it, or check the spelling/,
    ],
    ['gives a file', 'attach', 'ROOT/file', 2, /is not a directory/, /./],
    ['gives a link to nowhere', 'attach', 'ROOT/dangling', 4, /there is no /, /check the spelling/],
    ['takes a tag that is taken', 'attach', 'ROOT/src', 5, /"src" is in use/, /another tag, or detach/],
    ['fills all slots', 'attach', 'ROOT/open --via function', 5, /slots? .*(taken|free)/, /share a slot/],
    ['names a slot beyond the last', 'attach', 'ROOT/open --slot 2', 4, /no slot 2/, /numbered 1 to 1/],
    ['misspells a chassis', 'show', 'dve', 4, /no chassis "dve"/, /there are: dev/],
    ['detaches what is not there', 'detach', 'scr', 4, /no mount has the tag "scr"/, /chassis mounts/],
    ['misspells a flag', 'attach', 'ROOT/src --readonly', 2, /Nonexistent flag: --readonly/, /attach --help/],
    ['forgets what is needed', 'create', '', 2, /Missing 1 required arg/, /create --help/],
    ['takes a name that is taken', 'create', 'dev', 5, /there is a chassis dev already/, /another name/],
    ['has no QEMU', 'run', '--qemu qemu-system-nope', 6, /is not a QEMU that runs here/, /install QEMU/],
    ['has an old QEMU', 'run', '--qemu ROOT/old-qemu', 6, /7\.1/, /./],
    ['runs commands before there is a helper', 'exec', '-c dev -- true', 125, /./, /guest-setup --exec/],
    [
      'waits for a guest without a VM',
      'wait',
      '--for booted --timeout 1',
      7,
      /not booted after 1 s/,
      /chassis show dev/,
    ],
    ['takes a TAP that is not there', 'net:add', 'lan --tap nosuchtap0', 5, /./, /./],
    ['removes what is in use', 'remove', 'dev', 5, /dev is not empty: src/, /--force/],
    [
      'misspells a manifest',
      'apply',
      '-f ROOT/chassis.yml',
      4,
      /there is no .*chassis\.yml/,
      /spelling of -f/,
    ],
    ['applies what is no manifest', 'apply', '-f ROOT/file', 2, /file:1:1: /, /docs\/manifests\.md/],
  ])('who %s hears what is wrong and what to do', async (_, id, words, exitCode, cause, cure) => {
    const line = id === 'exec' ? ['-c', 'dev'] : undefined;
    const heard = line ? await exec() : await told(id, words);
    expect(heard.exitCode).toBe(exitCode);
    expect(heard.error.message).toMatch(cause);
    expect(heard.error.suggestion ?? '').toMatch(cure);
    expect(heard.error.message).not.toMatch(/\n +at |Error:/);
  });

  async function exec(): Promise<Told> {
    const { exitCode, stdout } = await runInProcess(config, 'exec', [
      ...['-c', 'dev', '--json', '--dir', daemon.directory, '--', 'true'],
    ]);
    return { exitCode, ...(JSON.parse(stdout) as Omit<Told, 'exitCode'>) };
  }

  it('who starts no daemon, or looks elsewhere, hears how to start one', async () => {
    const { exitCode, error } = await told('list', '', join(root, 'elsewhere'));
    expect([exitCode, error.code]).toEqual([3, 'NO_DAEMON']);
    expect(error.suggestion).toMatch(/chassis serve/);
  });

  it('whose state directory is open to others hears how to close it', async () => {
    const line = [CHASSIS, 'serve', '--dir', join(root, 'open'), '--json'];
    const { exitCode, stdout } = await execa(process.execPath, line, { reject: false });
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      error: { code: 'STATE_UNWRITABLE', suggestion: expect.stringContaining('chmod 700') as string },
    });
  });

  it.each([
    [['atach', 'x'], 'there is no command "atach" of chassis', 'did you mean "attach"?'],
    [['disk', 'ad', 'x'], 'there is no command "ad" of chassis disk', 'did you mean "add"?'],
    [['frobnicate'], 'there is no command "frobnicate" of chassis', 'see what there is: chassis --help'],
  ])('who types %j is told the command that may be meant', async (words, message, suggestion) => {
    const { exitCode, stdout } = await execa(process.execPath, [CHASSIS, ...words, '--json'], {
      reject: false,
    });
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout)).toEqual({ error: { code: 'USAGE', message, suggestion } });
  });
});
