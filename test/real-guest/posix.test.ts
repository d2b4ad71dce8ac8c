/** The suite in one guest, on this project, on QEMU's own 9p, on virtiofsd, and on a file system of the guest's own. */
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeRealGuest } from './lab.js';
import { KNOWN_LIMITS } from './posix/known-limits.js';
import { PosixLab, type CacheMode } from './posix/posix-lab.js';
import { ownPart, report, reportIn, withReport } from './posix/report.js';
import { behindOthers, parseResults, type CaseResult, type Results } from './posix/results.js';
import { SERVERS, type ServerName } from './posix/servers.js';

const PAGE = new URL('../../docs/posix.md', import.meta.url);
const SUITE_TIMEOUT_MS = 280_000;
/** What needs shared mappings, or is twice as long without a cache. */
const MAPPING_AREAS = ['mmap:', 'sqlite:', 'git:', 'stress-ng:'];
/** A case that a server does not survive, nor the guest's mount: it counts as failed without being run. */
const ENDING: Partial<Record<ServerName, string>> = { virtiofsd: 'xattr: a name of bytes that are no text' };

/** The servers act as this user, and the suite has the guest's root make files for others, and devices. */
const describeAsRoot = process.geteuid?.() === 0 ? describeRealGuest : describe.skip;

describeAsRoot('the POSIX suite in a Linux guest, with servers that run as root', () => {
  let lab: PosixLab;
  const results = {} as Record<ServerName, ReadonlyMap<string, CaseResult>>;

  beforeAll(async () => {
    lab = await PosixLab.boot('6.12');
  });
  afterAll(() => lab.stop());

  async function run(server: ServerName, cache: CacheMode, words: string): Promise<string> {
    await lab.mount(server, cache);
    return lab.inDebian(`python3.11 -m suite /mnt/${server} ${words}`, SUITE_TIMEOUT_MS);
  }

  it.each(SERVERS)('runs on %s', async (server) => {
    const ending = ENDING[server];
    const skipped = [...MAPPING_AREAS, ...(ending === undefined ? [] : [ending])];
    const uncached = await run(server, 'none', skipped.map((name) => `--skip '${name}'`).join(' '));
    const mapping = await run(server, 'mmap', MAPPING_AREAS.map((name) => `--only ${name}`).join(' '));
    const found = parseResults(uncached + mapping);
    if (ending !== undefined) found.set(ending, { name: ending, ok: false, detail: 'it ends the server' });
    results[server] = found;
    expect(found.size).toBeGreaterThan(900);
  });

  it('fails nothing here that passes on another server, save what the client makes impossible', () => {
    const known = new Set(KNOWN_LIMITS.flatMap(({ cases }) => cases));
    expect(behindOthers(results as Results).filter(({ name }) => !known.has(name))).toEqual([]);
  });

  it('fails all that is said to be impossible: a limit that is none any more is struck off the list', () => {
    const names = KNOWN_LIMITS.flatMap(({ cases }) => cases);
    expect(names.filter((name) => results.chassis.get(name)?.ok !== false)).toEqual([]);
  });

  it('comes out here as docs/posix.md says, which CHASSIS_WRITE_DOCS=1 writes anew', async () => {
    const page = await readFile(PAGE, 'utf8');
    const found = report(results, KNOWN_LIMITS);
    if (process.env.CHASSIS_WRITE_DOCS === '1') await writeFile(PAGE, withReport(page, found));
    else expect(ownPart(found)).toEqual(ownPart(reportIn(page)));
  });

  it('has every limit explained in docs/posix.md', async () => {
    const page = await readFile(PAGE, 'utf8');
    for (const { id } of KNOWN_LIMITS) expect(page).toContain(`### ${id}\n`);
  });
});
