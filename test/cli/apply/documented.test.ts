import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolders } from '../../manager/temporary-folder.js';
import { CHASSIS, TestDaemon } from '../../support/daemon.js';

const PAGE = readFileSync(new URL('../../../docs/manifests.md', import.meta.url), 'utf8');

/** The blocks of a language that the page says are run here. */
function blocks(language: string): string[] {
  const marked = new RegExp(
    `<!-- run by test/cli/apply/documented.test.ts -->\n\`\`\`${language}\n([\\s\\S]*?)\`\`\``,
    'g',
  );
  return [...PAGE.matchAll(marked)].map(([, text]) => text);
}

describe('docs/manifests.md', { timeout: 180_000 }, () => {
  const folder = temporaryFolders();
  let daemon: TestDaemon;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
  });
  afterAll(async () => {
    expect(await daemon.stop()).toBe(0);
  });

  it('shows a manifest and commands that do what it says of them', async () => {
    const [path, [manifest], commands] = [folder(), blocks('yaml'), blocks('sh')];
    expect(commands).toHaveLength(2);
    for (const name of ['src', 'data']) mkdirSync(join(path, name));
    writeFileSync(join(path, 'root.img'), '');
    truncateSync(join(path, 'root.img'), 2 ** 20);
    writeFileSync(join(path, 'chassis.yaml'), manifest);
    const chassis = `chassis() { ${process.execPath} ${CHASSIS} "$@"; }`;
    const { stdout } = await execa('bash', ['-euo', 'pipefail', '-c', [chassis, ...commands].join('\n')], {
      ...{ cwd: path, env: { CHASSIS_DIR: daemon.directory } },
    });
    const said = stdout.split('\n');
    expect(said.filter((line) => /(to add|as wanted)$/.test(line))).toEqual([
      ...['7 to add', '7 to add', '7 as wanted', '7 as wanted', '7 as wanted', '7 as wanted'],
      '1 to remove, 6 as wanted',
    ]);
    expect(said).toContainEqual(expect.stringMatching(/no longer in the manifest: --prune removes it/));
    expect(said).toContain('- mount scratch of dev');
    expect(JSON.parse(readFileSync(join(path, 'chassis.schema.json'), 'utf8'))).toHaveProperty('properties');
  });

  it('names every key of the schema', async () => {
    const schema = await daemon.json<object>('apply', '--schema');
    const keys = new Set<string>();
    JSON.stringify(schema, (key, value: unknown) => {
      if (key === 'properties') Object.keys(value as object).forEach((each) => keys.add(each));
      return value;
    });
    // Of networks, chassis net add has the pages.
    const ofNetworks = [
      'type',
      'switch',
      'vlan',
      'trunk',
      'isolated',
      'macLock',
      'interface',
      'hostLoopback',
      'publish',
    ];
    for (const key of [...keys].filter((each) => ![...ofNetworks, 'host', 'guest'].includes(each)))
      expect(PAGE).toContain(`\`${key}\``);
  });
});
