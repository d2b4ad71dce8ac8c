import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const IMPORTS = `import { afterAll, beforeAll, describe, it } from 'vitest';`;
const FAIL = `() => { throw new Error('no'); }`;

/** What a run of each comes to by itself. */
const FILES: Readonly<Record<string, readonly [line: string, source: string]>> = {
  plain: ['1 passed, 1 failed, 1 skipped', `it('a', () => {}); it('b', ${FAIL}); it.skip('c', () => {});`],
  fine: ['2 passed, 0 failed', `it('a', () => {}); it('b', () => {});`],
  unloadable: ['0 passed, 1 failed', `throw new Error('no');`],
  'before-all': [
    '0 passed, 1 failed, 2 skipped',
    `beforeAll(${FAIL}); it('a', () => {}); it('b', () => {});`,
  ],
  'after-all': ['1 passed, 1 failed', `afterAll(${FAIL}); it('a', () => {});`],
  suites: [
    '2 passed, 2 failed, 1 skipped',
    `describe('in', () => { beforeAll(${FAIL}); it('a', () => {}); });
     describe('out', () => { describe('deep', () => { afterAll(${FAIL}); it('b', () => {}); }); });
     it('c', () => {});`,
  ],
};
/** Says of each file what the run would have ended with if it had been the only one. */
const REPORTER = `import { basename } from 'node:path';
import { closingLine } from '../support/closing-line.js';
export default class {
  onTestRunEnd(modules) {
    for (const module of modules) console.log(basename(module.moduleId, '.test.ts') + ': ' + closingLine([module], 0));
  }
}`;

describe('the line that a run of tests ends with', () => {
  let folder: string;
  let output: readonly string[];

  beforeAll(async () => {
    folder = await mkdtemp(`${root}test/closing-line-`);
    await writeFile(`${folder}/reporter.ts`, REPORTER);
    for (const [name, [, source]] of Object.entries(FILES))
      await writeFile(`${folder}/${name}.test.ts`, `${IMPORTS}\n${source}`);
    const reporters = [`${folder}/reporter.ts`, './test/support/closing-line.ts'];
    const args = ['vitest', 'run', '--project', 'fast', ...reporters.flatMap((path) => ['--reporter', path])];
    const { stdout } = await execa('npx', [...args, folder], { cwd: root, reject: false });
    output = stdout.trimEnd().split('\n');
  });
  afterAll(() => rm(folder, { recursive: true }));

  it.each(Object.entries(FILES))('counts what a file comes to: %s', (name, [line]) => {
    expect(output).toContain(`${name}: ${line}`);
  });

  it('is the last one, and counts all files', () => {
    expect(output.at(-1)).toBe('6 passed, 6 failed, 4 skipped');
  });
});
