import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FAMILIES } from '../../manager/control/metrics.js';
import { CHASSIS, TestDaemon } from '../support/daemon.js';
import { askHttp, DocumentedApi, type Document } from '../support/documented-answers.js';
import { runExample } from '../support/run-example.js';

const PAGE = readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8');
const MARKED = /<!-- run by test\/cli\/api.test.ts -->\n```sh\n([\s\S]*?)```/g;
const BLOCKS = Array.from(PAGE.matchAll(MARKED), ([, text]) => text);

/** A busy machine starts the command line slowly. */
describe('docs/api.md', { timeout: 180_000 }, () => {
  let daemon: TestDaemon;
  /** Where the commands are run. */
  let path: string;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    process.env.CHASSIS_DIR = daemon.directory;
    path = mkdtempSync(join(tmpdir(), 'chassis-api-'));
    for (const name of ['bin', 'src', 'textfiles']) mkdirSync(join(path, name));
    const command = `#!/bin/sh\nexec "${process.execPath}" "${CHASSIS}" "$@"\n`;
    writeFileSync(join(path, 'bin', 'chassis'), command, { mode: 0o755 });
  });
  afterAll(async () => {
    delete process.env.CHASSIS_DIR;
    expect(await daemon.stop()).toBe(0);
    rmSync(path, { recursive: true });
  });

  async function run(script: string): Promise<string> {
    const { stdout } = await execa('bash', ['-euo', 'pipefail', '-c', script], {
      ...{ cwd: path, stripFinalNewline: false, env: { PATH: `${join(path, 'bin')}:${process.env.PATH}` } },
    });
    return stdout;
  }

  it('shows requests that are answered as it says', async () => {
    expect(BLOCKS).toHaveLength(5);
    const said = await run(BLOCKS[0]);
    expect(
      said
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as object),
    ).toMatchObject([
      { pid: expect.any(Number) as number },
      { name: 'dev', slots: 4, deviceProcess: { state: 'running', restarts: 0 } },
      [{ tag: 'src', readOnly: true, state: 'parked' }],
      { name: 'scratch', sizeBytes: 2 ** 30 },
      { name: 'lan0', network: { type: 'switch', switch: 'lan' } },
      { policy: { deny: ['**/.env'] } },
      [{ tag: 'src', policy: { deny: ['**/.env'] } }],
      { tags: ['src'] },
      { code: 'NO_MOUNT', message: expect.any(String) as string },
    ]);
  });

  it('has the same OpenAPI document of the command, of the daemon and in the package', async () => {
    await run(BLOCKS[1]);
    const [printed, served, packed] = [
      join(path, 'chassis.openapi.json'),
      join(path, 'served.openapi.json'),
      new URL('../../schemas/openapi.json', import.meta.url),
    ].map((file) => JSON.parse(readFileSync(file, 'utf8')) as Document);
    expect(served).toEqual(printed);
    expect(packed).toEqual(printed);
    expect(await daemon.json('openapi')).toEqual(printed);
  });

  it('has a document that the answers of a daemon fit', async () => {
    await daemon.json('attach', 'mem:', '--tag', 'm');
    const text = readFileSync(join(path, 'served.openapi.json'), 'utf8');
    const api = new DocumentedApi(JSON.parse(text) as Document);
    const names: Record<string, string> = { name: 'dev', tag: 'm' };
    // What happens has no end.
    const routes = api.routes.filter(({ method, path: each }) => method === 'GET' && each !== '/v1/events');
    for (const route of routes) {
      const url = route.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => names[name]);
      const answer = await askHttp(join(daemon.directory, 'api.sock'), 'GET', url);
      expect([url, answer.status, api.problemsOfAnswer(route, answer)]).toEqual([url, 200, []]);
    }
    expect(routes.length).toBeGreaterThan(10);
  });

  it('has what happened told by the daemon', async () => {
    const told = await run(BLOCKS[2]);
    expect(
      told
        .split('\n')
        .filter((line) => line.startsWith('data: '))
        .slice(0, 3),
    ).toEqual([
      expect.stringContaining('"type":"gap"'),
      expect.stringContaining('"type":"chassis.created"'),
      expect.stringContaining('"type":"process.started"'),
    ]);
  });

  it('shows a program that lists disks', async () => {
    expect(await runExample('docs/api.md', 'test/cli/api.test.ts')).toBe('dev: scratch has 1073741824 bytes');
  });

  it('names every metric', () => {
    const named = new Set(Array.from(PAGE.matchAll(/`(chassis_[a-z_]+)`/g), ([, name]) => name));
    expect([...named].sort()).toEqual(Object.keys(FAMILIES).sort());
  });

  it('has metrics written to a file, and answered to a scrape', async () => {
    const sample = /^chassis_disk_size_bytes\{chassis="dev",kind="disk",name="scratch".*\} 1073741824$/m;
    await run(BLOCKS[3]);
    expect(readFileSync(join(path, 'textfiles', 'chassis.prom'), 'utf8')).toMatch(sample);
    await run(BLOCKS[4]);
    const request = 'GET /metrics HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n';
    const scrape = (more: string) => run(`printf '${request}' | ${more} ./chassis-scrape`);
    const answer = await scrape('');
    expect(answer).toMatch(/^HTTP\/1\.0 200 OK\r\nContent-Type: text\/plain; version=0\.0\.4\r\n\r\n# HELP /);
    expect(answer).toMatch(sample);
    expect(await scrape('CHASSIS_DIR=/nosuch')).toBe('HTTP/1.0 503 Service Unavailable\r\n\r\n');
  });

  it('has them as JSON from the command', async () => {
    const { text } = await daemon.json<{ text: string }>('metrics');
    expect(text).toMatch(/^# HELP chassis_daemon_info /);
  });
});
