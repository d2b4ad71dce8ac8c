/**
 * What every command prints with `--json`, success and failure, against committed snapshots: scripts rely on it. A command without a
 * scenario fails. `npx vitest run test/cli/json -u` writes the snapshots anew.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '@oclif/core';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Mount } from '../../../manager/control/api.js';
import { ChassisClient } from '../../../manager/control/client.js';
import { CHASSIS, TestDaemon } from '../../support/daemon.js';
import { asEver, named } from './as-ever.js';
import { loadConfig, runInProcess, type Ended } from './in-process.js';
import { OwnGuest } from './own-guest.js';
import { SCENARIOS, type Case } from './scenarios.js';

const SNAPSHOTS = new URL('snapshots/', import.meta.url);
const QEMU = `#!/bin/sh
case "$1" in
  --version) echo "QEMU emulator version 10.1.0";;
  -device) echo 'name "vfio-user-pci"'; echo 'name "vhost-user-test-device-pci"';;
esac
`;
const MANIFESTS = {
  GOOD: 'name: lab\nchassis: {dev: {mounts: {m: {source: "mem:"}}}}\n',
  BAD: 'name: lab\nchassis:\n  dev: {slot: 3, mounts: {a: {source: 7}}}\n',
  BLOCKED: 'name: other\nchassis: {dev: {slots: 3, mounts: {m: {source: src}}}}\n',
  FAILING:
    'name: lab\nchassis: {dev: {mounts: {m: {source: "mem:"}, n: {source: "mem:", via: tree}}, disks: {d: {source: src}}}}\n',
};

describe('with --json', { timeout: 120_000 }, () => {
  let root: string;
  let daemon: TestDaemon;
  let guest: OwnGuest;
  let config: Config;
  let paths: Record<string, string>;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'chassis-json-'));
    for (const name of ['src', 'work', 'guest']) mkdirSync(join(root, name));
    writeFileSync(join(root, 'work', 'file'), 'text');
    const files = ['QEMU', 'SAVED', 'CAPTURE', 'EXPORT', ...Object.keys(MANIFESTS)];
    paths = {
      ...{ SRC: join(root, 'src'), WORK: join(root, 'work'), GUEST: join(root, 'guest') },
      ...Object.fromEntries(files.map((name) => [name, join(root, name.toLowerCase())])),
    };
    writeFileSync(paths.QEMU, QEMU, { mode: 0o755 });
    for (const [name, text] of Object.entries(MANIFESTS)) writeFileSync(paths[name], text);
    config = await loadConfig();
    guest = await OwnGuest.start(join(root, 'own'));
    daemon = await TestDaemon.start();
  }, 60_000);
  afterAll(async () => {
    await guest.stop();
    await daemon.stop();
    rmSync(root, { recursive: true, force: true });
  });

  it('every command has a scenario, and every snapshot a command', () => {
    const aliases = config.commands.flatMap(({ aliases }) => aliases);
    const commands = config.commands.map(({ id }) => id).filter((id) => !aliases.includes(id));
    expect(Object.keys(SCENARIOS).sort()).toEqual(commands.sort());
    const there = readdirSync(SNAPSHOTS).map((name) => name.replace('.snap', '').replace('-', ':'));
    expect(there.filter((id) => !(id in SCENARIOS) && !(id.replace(':', '-') in SCENARIOS))).toEqual([]);
  });

  it.each(Object.entries(SCENARIOS))('%s prints what it printed before', async (id, cases) => {
    const said: string[] = [];
    for (const each of cases) {
      said.push(await told(id, each));
      if (id === 'attach')
        changeOverlay(await new ChassisClient({ directory: daemon.directory }).mounts('dev'));
    }
    if (!cases.some(({ anyExit }) => anyExit)) expect(said.join('\n')).toContain('\nexit code 0\n');
    await expect(`${said.join('\n\n')}\n`).toMatchFileSnapshot(
      new URL(`${id.replace(':', '-')}.snap`, SNAPSHOTS).pathname,
    );
  });

  /** As a guest would, so that there is something to review. */
  function changeOverlay(mounts: readonly Mount[]): void {
    const overlay = mounts.find(({ tag }) => tag === 'src')?.overlay;
    if (!overlay || !('path' in overlay)) return;
    for (const name of ['added', 'other']) writeFileSync(join(overlay.path, name), 'new');
  }

  async function told(id: string, { words, shown, anyExit, on, lines }: Case): Promise<string> {
    const directory = directoryFor(id, on);
    const given = words.map((word) =>
      word.replace(/(?<=^|:)[A-Z]{3,}(?=$|\/)/g, (name) => paths[name] ?? name),
    );
    const at = given.indexOf('--') < 0 ? given.length : given.indexOf('--');
    const place = id === 'export' ? [] : ['--dir', directory];
    const line = [...given.slice(0, at), '--json', ...place, ...given.slice(at)];
    const { exitCode, stdout } =
      lines === undefined && id !== 'serve'
        ? await runInProcess(config, id, line)
        : await runApart(id, line, lines ?? 0);
    const printed = stdout.trimEnd().split('\n');
    const documents = lines === undefined ? [stdout.trim()] : printed.slice(0, lines);
    const folders = [
      [directory, 'DIR'],
      [daemon.directory, 'DIR'],
      ...Object.entries(paths).map(([name, path]) => [path, name] as const),
      [root, 'ROOT'],
    ] as const;
    const json = documents.map((text) => {
      const parsed = parse(text, stdout);
      const isError = typeof parsed === 'object' && parsed !== null && 'error' in parsed;
      return JSON.stringify(asEver(shown && !isError ? shown(parsed as never) : parsed, folders), null, 2);
    });
    const command = named(['chassis', ...id.split(':'), ...words, '--json'].join(' '), folders);
    return [`$ ${command}`, `exit code ${anyExit ? 'of its own' : exitCode}`, ...json].join('\n');
  }

  function directoryFor(id: string, on: Case['on']): string {
    if (on === 'guest') return join(root, 'own');
    if (on === 'nobody') return join(root, 'nobody');
    return id === 'serve' && on !== 'daemon' ? join(root, 'second') : daemon.directory;
  }
});

function parse(text: string, all: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`no JSON: ${all}`);
  }
}

/** Interrupted as by Ctrl-C after so many lines; by itself where that is none. */
async function runApart(id: string, words: readonly string[], lines: number): Promise<Ended> {
  const process = execa(globalThis.process.execPath, [CHASSIS, ...id.split(':'), ...words], {
    ...{ reject: false, stdin: 'ignore' },
  });
  let stdout = '';
  let seen = 0;
  for await (const line of process) {
    stdout += `${line}\n`;
    if (++seen === lines) process.kill('SIGINT');
  }
  const { exitCode = -1 } = await process;
  return { exitCode, stdout };
}
